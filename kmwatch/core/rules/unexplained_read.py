"""KMW-001: a payload was read and no declaration allows it. Deny by default."""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Reason, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta(
    "KMW-001",
    1,
    "unexplained-read",
    ("T1555.006",),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
    matched=True,
)
# These say that caller and secret are declared and a constraint is broken: KMW-002 tells of them.
CONSTRAINTS = frozenset({Reason.NETWORK, Reason.AGENT, Reason.HOURS, Reason.ACTION, Reason.RATE})
_WHY = {
    Reason.NO_DECLARATION: "no declaration allows it",
    Reason.EXPIRED: "the declaration that allowed it has expired",
    Reason.SECRET_UNKNOWN: "the inventory does not know the secret, so no declaration can be shown to allow it",
    Reason.IDENTITY_UNRESOLVED: "a name in the caller map cannot be resolved; no declaration can be shown to allow it",
    Reason.EVIDENCE_MISSING: "the evidence to decide is missing",
}


class UnexplainedRead(Stateless):
    """Immediate. What the evidence cannot decide is told too, at most at medium: silence would be an invitation."""

    meta = META
    forgives = True

    def __init__(self, settings: Settings) -> None:
        """Take the severity of certain cases."""
        self._undecided = min(settings.severity, Severity.MEDIUM)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit unless the match explains the read or a constraint is what failed."""
        match = case.match
        if match is None or match.explained or match.reason in CONSTRAINTS:
            return ()
        message = f"{person(case.event)} read the payload of {thing(case)}: {_WHY.get(match.reason, match.reason)}"
        severity = self._undecided if match.explained is None else None
        return (Hit(case.caller, (case.citation,), message, match, match.reason, severity),)
