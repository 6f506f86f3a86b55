"""KMW-022: somebody touched a secret that exists only to be touched."""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta(
    "KMW-022",
    1,
    "decoy-touched",
    ("T1555.006",),
    Settings(1, 0, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=False,
)


class DecoyTouched(Stateless):
    """Any request counts, granted or not: nobody has a reason to name a decoy."""

    meta = META

    def __init__(self, settings: Settings, declarations: Declarations) -> None:  # noqa: ARG002
        """Need no setting of its own."""
        self.targets = declarations.decoys()

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """All classes, but of the targets only."""
        return True

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when the target is a declared decoy."""
        event = case.event
        target = event.target.id
        decoy = None if target is None else case.declarations.decoy(target)
        if decoy is None:
            return ()
        message = f"{person(event)} touched the decoy {decoy}, {thing(case)}: {event.kind}, {event.outcome}"
        return (Hit(case.caller, (case.citation,), message, case.match, event.kind),)
