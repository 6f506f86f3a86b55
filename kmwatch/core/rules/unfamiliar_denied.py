"""KMW-016: a caller that the map does not know is refused."""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import DAY, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta(
    "KMW-016",
    1,
    "unfamiliar-caller-denied",
    ("T1078.004",),
    Settings(1, 0, Severity.LOW, Mode.ENFORCE, DAY),
    counts=False,
    matched=True,
)


class UnfamiliarDenied(Stateless):
    """One finding a caller and day: typing errors and curiosity are common, a first look around is telling."""

    meta = META

    def __init__(self, settings: Settings) -> None:
        """Need no setting of its own."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Whatever was refused with 403."""
        return failure is Failure.DENIED

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when no caller of the map has this identity."""
        event = case.event
        if case.declarations.is_declared(event.initiator):
            return ()
        message = f"{person(event)}, whom the caller map does not know, was refused: {event.kind} on {thing(case)}"
        return (Hit(case.caller, (case.citation,), message, reason=Failure.DENIED),)
