"""Reads of secrets that the inventory does not know yet: they wait for it, up to a bound, before they are judged.

The audit trail's creations carry no id, so a fresh secret is the normal case, and whoever declared "what its caller
created" would hear of every one of them. A read waits here only if nothing but the missing secret keeps it from being
judged. It leaves when a reading tells of the secret, with the first reading that began after it and does not, or when
its time is over; what is still unknown then is told as `secret_unknown`.

Only successful reads by declared callers get here, but whoever may create secrets can make them: beyond the limit the
oldest is judged at once, counted, and said (KMW-046).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from kmwatch.core.join import Ready
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import AuditEvent, Micros
from kmwatch.core.record import StockRecord

NAME = "inventory/parked"


class Parked(Struct, frozen=True):
    """A request that is not judged yet, as the join told it, and when it is at the latest."""

    event: AuditEvent
    before: AuditEvent | None
    again: bool
    until: Micros


class Parking:
    """Requests that wait for the inventory, by event id, in the order in which they came."""

    def __init__(self, span: Micros, limit: int, lacks: Callable[[AuditEvent], bool]) -> None:
        """Keep no request longer than `span`, and at most `limit` of them; `lacks` says which are to wait."""
        self.kept: Keyed[Parked] = Keyed(NAME, Parked, limit, lambda _, parked: self._out.append(parked))
        self._span, self._lacks = span, lacks
        self._out: list[Parked] = []  # made room

    def __len__(self) -> int:
        """How many wait."""
        return len(self.kept)

    def fresh(self) -> int:
        """How many of them were never judged: a request that is told again was."""
        return sum(not parked.again for _, parked in self.kept.items())

    def admit(self, told: Ready) -> list[Ready]:
        """What is to be judged now that the join has told a request: that, or whoever had to make room for it."""
        event, before, again = told.event, told.before, told.again
        now = event.observed_time
        until = now + self._span
        if before is not None and (parked := self.kept.pop(event.event_id)) is not None:
            before, again, until = parked.before, parked.again, parked.until  # more is known of it now
        if not self._lacks(event):
            return [Ready(event, (), before=before, again=again)]
        self.kept.put(event.event_id, Parked(event, before, again, until))
        out, self._out = self._out, []
        return [_ready(parked, now) for parked in out]

    def leave_for(self, record: StockRecord, now: Micros) -> list[Ready]:
        """What a line of the journal decides: the secret is known now, or a later reading did not show it."""
        if not len(self.kept):
            return []
        told, read = {secret.id for secret in record.secrets}, record.read
        return self._leave(
            lambda parked: parked.event.target.id in told or (read is not None and parked.event.observed_time <= read),
            now,
        )

    def leave_by(self, minute: Micros) -> list[Ready]:
        """Whose time is over at this minute; called once for each, before anything of it."""
        return self._leave(lambda parked: parked.until <= minute, minute - 1) if len(self.kept) else []

    def flush(self, now: Micros) -> list[Ready]:
        """All: the input has ended."""
        return self._leave(lambda _: True, now)

    def _leave(self, goes: Callable[[Parked], bool], now: Micros) -> list[Ready]:
        leaving = [(key, parked) for key, parked in self.kept.items() if goes(parked)]
        for key, _ in leaving:
            self.kept.pop(key)
        return [_ready(parked, now) for _, parked in leaving]


def _ready(parked: Parked, now: Micros) -> Ready:
    """Its place among events is where the last thing that it takes to judge it became known."""
    return Ready(replace(parked.event, observed_time=now), (), before=parked.before, again=parked.again)
