"""KMW-020: a secret was deleted that somebody read a short while ago: what depends on it fails at its next start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing
from kmwatch.core.rules.history import Reads

META = Meta(
    "KMW-020",
    1,
    "in-use-secret-deleted",
    ("T1485", "T1489"),
    Settings(1, 7 * DAY, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
    matched=True,
)


class InUseDeleted:
    """A declared clean-up is left alone, and so is a rotation: the inventory knows a newer sibling.

    Where nobody but the deleter read it, it is low: they may know that it is not in use any more.
    """

    meta = META

    def __init__(self, settings: Settings, reads: Reads) -> None:
        """Take the window: how long a read shows that a secret is in use."""
        self.shared = (reads,)
        self._window, self._reads = settings.window, reads
        self._own = min(settings.severity, Severity.LOW)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful deletions; the reads before them are remembered for several rules."""
        return kind is Kind.DELETE and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hold a deletion against the latest read."""
        event, match = case.event, case.match
        secret = event.target.id
        read = None if secret is None else self._reads.last(secret)
        if secret is None or read is None or event.event_time - read.at > self._window:
            return ()
        if (match is not None and match.explained is True) or case.declarations.has_newer(secret):
            return ()
        others = read.at if read.by != case.caller else read.other
        foreign = others > 0 and event.event_time - others <= self._window
        who = "somebody else" if foreign else "nobody but they"
        message = f"{person(event)} deleted {thing(case)}, which {who} read within {self._window // DAY} days"
        return (Hit(case.caller, (case.citation,), message, match, "in_use", None if foreign else self._own),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Reads by secret."""
        return (self._reads.state,)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._reads.forget(now)
