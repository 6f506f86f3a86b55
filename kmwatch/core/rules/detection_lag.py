"""KMW-029: findings reach their sinks too late.

How long a delivery took only the shell knows: it feeds this rule with what sinks acknowledged, by the clock. So it is
no part of the engine, and a replay, which delivers nothing, stays exact.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from kmwatch.core.model import MINUTE, SECOND, Micros, Mode, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings

META = Meta(
    "KMW-029",
    1,
    "detection-lag",
    (),
    Settings(60, 5 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, 24 * 60 * MINUTE),
    counts=True,
    early=False,
)
TOLERATED: Final = 100  # one delivery in so many may be slower: p99
_KEY = "lag"


class DetectionLag:
    """`threshold` is the objective in seconds, from event time to acknowledgement; `window` how long it must be missed.

    All times are those of the caller's clock.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the objective and the window."""
        self._objective, self._window = settings.threshold * SECOND, settings.window
        self._minutes: deque[tuple[int, int, int]] = deque()  # minute, deliveries, slow ones
        self._open = False

    def delivered(self, now: Micros, lags: list[Micros]) -> None:
        """Note what one sink acknowledged at once: how long after its event each line was."""
        slow = sum(lag > self._objective for lag in lags)
        minute, total = now // MINUTE, len(lags)
        if self._minutes and self._minutes[-1][0] == minute:
            _, before, slow_before = self._minutes.pop()
            total, slow = total + before, slow + slow_before
        self._minutes.append((minute, total, slow))

    def judge(self, now: Micros) -> Hit | None:
        """What there is to say at this time: the objective was missed for a whole window, or is met again."""
        since = (now - self._window) // MINUTE
        while self._minutes and self._minutes[0][0] < since:
            self._minutes.popleft()
        bad = [minute for minute, total, slow in self._minutes if slow * TOLERATED > total]
        missed = len(bad) == len(self._minutes) and bool(bad) and (bad[-1] - bad[0] + 1) * MINUTE >= self._window
        if missed == self._open or (self._open and bad):
            return None
        self._open = missed
        seconds, minutes = self._objective // SECOND, self._window // MINUTE
        if not missed:
            message = f"alerts reach their sinks within {seconds} s again"
            return Hit(_KEY, (), message, None, "lag", time=now, subject="delivery", closes=True)
        slow = sum(n for _, _, n in self._minutes)
        total = sum(n for _, n, _ in self._minutes)
        message = (
            f"{slow} of {total} alert lines reached a sink later than {seconds} s after their event, for {minutes} min"
        )
        return Hit(_KEY, (), message, None, "lag", time=now, subject="delivery")
