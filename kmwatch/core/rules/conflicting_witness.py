"""KMW-027: two records of one request contradict each other.

A replayed record is the same as the first. One with the same id and other content, or a witness that tells another
story, means that somebody wrote into a log, or into its transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, AuditEvent, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing
from kmwatch.core.rules.counting import MOST_CITED, Sparing

META = Meta(
    "KMW-027",
    1,
    "conflicting-duplicate",
    ("T1565.001",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    early=False,
)
_TOLD = {  # the gravest first
    "identity_disagrees": "audit event and service log name different users",
    "conflicting_duplicate": "two audit events of one phase differ",
    "phases_disagree": "the two audit events of it differ",
    "path_disagrees": "audit event and service log name different paths",
    "status_disagrees": "its witnesses name different outcomes",
}
_ODD = frozenset({"OPTIONS", "TRACE"})  # a web server may answer these itself, otherwise than the Key Manager


class ConflictingWitness:
    """One finding a caller."""

    meta = META
    flags = frozenset(_TOLD)

    def __init__(self, limit: int) -> None:
        """Be sparing with at most `limit` callers."""
        self._told = Sparing("KMW-027/told", MOST_CITED, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Everything."""
        return True

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when the witnesses of this request contradict each other."""
        event = case.event
        found = _contradictions(event)
        if not found or not self._told.allows(case.caller, event.observed_time):
            return ()
        how = "; ".join(_TOLD[flag] for flag in found)
        message = f"the records of a request of {person(event)} on {thing(case)} contradict each other: {how}"
        return (Hit(case.caller, (case.citation,), message, case.match, found[0]),)

    def states(self) -> Iterable[Keyed[Any]]:
        """How often each caller was told of."""
        return (self._told.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        self._told.forget(now)


def _contradictions(event: AuditEvent) -> list[str]:
    found = [flag for flag in _TOLD if flag in event.flags]
    if event.method in _ODD and "status_disagrees" in found:
        found.remove("status_disagrees")
    return found
