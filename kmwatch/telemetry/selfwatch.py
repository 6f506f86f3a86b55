"""KMW-029 in the shell: how long findings took to reach their sinks, by the clock, becomes a finding of its own."""

from __future__ import annotations

from collections.abc import Sequence

from kmwatch.clock import Clock
from kmwatch.core.declaration import Declarations
from kmwatch.core.model import SECOND, Activity, Finding, Micros, Mode
from kmwatch.core.rollup import RollUp
from kmwatch.core.rules.base import Settings
from kmwatch.core.rules.detection_lag import META, DetectionLag

_OPEN = 4  # findings at once; there is one


class SelfWatch:
    """Fed by deliveries, asked by the pipeline. An open finding does not outlive the process."""

    def __init__(self, settings: Settings, declarations: Declarations, clock: Clock) -> None:
        """Run KMW-029 as configured."""
        self._clock = clock
        self._lag = DetectionLag(settings)
        self._rollup = None if settings.mode is Mode.OFF else RollUp(META, settings, declarations, _OPEN)

    def delivered(self, findings: Sequence[Finding]) -> None:
        """Note what a sink has acknowledged. Its own findings, and ends that only time brought, say nothing of lag."""
        now = self._now()
        lags = [now - f.time for f in findings if f.activity is not Activity.CLOSE and f.rule != META.id]
        if lags:
            self._lag.delivered(now, lags)

    def notices(self) -> list[Finding]:
        """What there is to say since the last call."""
        if self._rollup is None:
            return []
        now = self._now()
        hit, lines = self._lag.judge(now), self._rollup.close_due(now)
        return lines if hit is None else [*lines, *self._rollup.hit(hit)]

    def _now(self) -> Micros:
        return int(self._clock.now() * SECOND)
