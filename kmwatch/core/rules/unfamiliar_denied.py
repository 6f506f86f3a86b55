"""KMW-016: a caller that the map does not know is refused.

The first refusal of such a caller within 30 days is told; on later days theirs are counted as information, so that a
tenant whose script fails every night alarms once. Refused more often, or elsewhere, it is another detection's
(KMW-013, 014, 015).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing

META = Meta(
    "KMW-016",
    1,
    "unfamiliar-caller-denied",
    ("T1078.004",),
    Settings(1, 0, Severity.LOW, Mode.ENFORCE, DAY),
    counts=False,
    matched=True,
)
_REMEMBERED: Final[Micros] = 30 * DAY
_GRAIN: Final[Micros] = HOUR  # how exactly the latest refusal is kept


class Refused(Struct, frozen=True, gc=False):
    """A caller's refusals, one after the other, none 30 days after another."""

    first: Micros
    last: Micros


class UnfamiliarDenied:
    """One finding a caller and day: typing errors and curiosity are common, a first look around is telling."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Remember at most `limit` callers; one that had to go is new again."""
        self._day = settings.rollup
        self._callers: Keyed[Refused] = Keyed("KMW-016/refused", Refused, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Whatever was refused with 403."""
        return failure is Failure.DENIED

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when no caller of the map has this identity."""
        event = case.event
        if case.declarations.is_declared(event.initiator):
            return ()
        message = f"{person(event)}, whom the caller map does not know, was refused: {event.kind} on {thing(case)}"
        known = Severity.INFORMATIONAL if self._is_known(case.caller, event.event_time) else None
        return (Hit(case.caller, (case.citation,), message, reason=Failure.DENIED, severity=known),)

    def _is_known(self, caller: str, at: Micros) -> bool:
        """Whether this caller was refused on an earlier day; the refusal is noted."""
        known = self._callers.get(caller)
        if known is None or at - known.last > _REMEMBERED:
            self._callers.put(caller, Refused(at, at))
            return False
        if at - known.last >= _GRAIN:
            self._callers.put(caller, Refused(known.first, at))
        return at - known.first >= self._day

    def states(self) -> Iterable[Keyed[Any]]:
        """Who was refused."""
        return (self._callers,)

    def forget(self, now: Micros) -> None:
        """Let go of callers who were not refused for long."""
        self._callers.forget_while(lambda refused: refused.last < now - _REMEMBERED)
