"""KMW-002: caller and secret are declared, but network, agent, hours, action or rate is not."""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing
from kmwatch.core.rules.unexplained_read import CONSTRAINTS

META = Meta(
    "KMW-002",
    1,
    "declaration-constraint-broken",
    ("T1078.004",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    matched=True,
)


class BrokenConstraint(Stateless):
    """The mark of a stolen credential: the right identity from the wrong place, at the wrong time, too often."""

    meta = META
    forgives = True

    def __init__(self, settings: Settings) -> None:
        """Need no setting of its own."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when a constraint of an otherwise fitting declaration failed."""
        match = case.match
        if match is None or match.explained is not False or match.reason not in CONSTRAINTS:
            return ()
        near = match.nearest
        saw = f": {near.failed_field} shows {near.actual}, declared is {near.expected}" if near else ""
        message = f"{person(case.event)} read the payload of {thing(case)} against declaration {match.declaration}{saw}"
        return (Hit(case.caller, (case.citation,), message, match, match.reason),)
