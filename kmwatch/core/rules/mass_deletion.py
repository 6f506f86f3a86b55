"""KMW-019: one caller deletes many secrets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person
from kmwatch.core.window import Sliding

META = Meta(
    "KMW-019",
    1,
    "mass-deletion",
    ("T1485",),
    Settings(10, HOUR, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)


class MassDeletion:
    """A declaration whose actions include delete names a clean-up job; what it covers does not count."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` callers."""
        self._deletions = Sliding("KMW-019/deletions", settings.threshold, settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful deletions of secrets."""
        return kind is Kind.DELETE and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count the undeclared deletions of this caller."""
        if case.match is not None and case.match.explained:
            return ()
        deletions = self._deletions.add(case.caller, case.event.event_id, case.citation)
        if not deletions:
            return ()
        span = (deletions[-1].event_time - deletions[0].event_time) / 1e6
        message = f"{person(case.event)} deleted at least {len(deletions)} secrets within {span:.0f} s"
        return (Hit(case.caller, deletions, message, reason="threshold"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The windows of callers."""
        return (self._deletions.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        self._deletions.forget(now)
