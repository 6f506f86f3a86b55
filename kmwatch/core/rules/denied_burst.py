"""KMW-013: one caller is refused again and again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person
from kmwatch.core.window import Sliding

META = Meta(
    "KMW-013",
    1,
    "denied-burst",
    ("T1580",),
    Settings(10, 5 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=True,
)


class DeniedBurst:
    """Counts 403s of any kind of request."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` callers."""
        self._denials = Sliding("KMW-013/denials", settings.threshold, settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Whatever was refused with 403."""
        return failure is Failure.DENIED

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count the refusals of this caller."""
        denials = self._denials.add(case.caller, case.event.event_id, case.citation)
        if not denials:
            return ()
        span = (denials[-1].event_time - denials[0].event_time) / 1e6
        message = f"{person(case.event)} was refused at least {len(denials)} times within {span:.0f} s"
        return (Hit(case.caller, denials, message, reason=Failure.DENIED),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The windows of callers."""
        return (self._denials.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        self._denials.forget(now)
