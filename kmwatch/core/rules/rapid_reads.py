"""KMW-005: one caller reads many distinct secrets in a short time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person
from kmwatch.core.window import Sliding

META = Meta(
    "KMW-005",
    1,
    "rapid-distinct-reads",
    ("T1555.006", "T1119"),
    Settings(20, 5 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=True,
    matched=True,
)


class RapidReads:
    """Reads under a declaration with a rate are held to that rate instead (KMW-002)."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` callers."""
        self._reads = Sliding("KMW-005/reads", settings.threshold, settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count the distinct secrets of this caller."""
        if case.match is not None and case.match.rate is not None:
            return ()
        secret = brief(case.event.target.id or case.event.path)
        reads = self._reads.add(case.caller, secret, case.citation)
        if not reads:
            return ()
        span = (reads[-1].event_time - reads[0].event_time) / 1e6
        message = f"{person(case.event)} read at least {len(reads)} distinct secrets within {span:.0f} s"
        return (Hit(case.caller, reads, message, reason="threshold"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The windows of callers."""
        return (self._reads.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        self._reads.forget(now)
