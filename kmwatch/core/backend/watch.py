"""The witness `backend`: halves become operations, operations cases for the rules, and points for the account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct, field

from kmwatch.core.backend.client import Clients
from kmwatch.core.backend.keys import Inventory
from kmwatch.core.backend.ledger import POOL_OF, Ledger, Verdict
from kmwatch.core.backend.setup import SetUp
from kmwatch.core.behind import Behind
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import SECOND, AuditEvent, Micros
from kmwatch.core.record import BackendRecord, Deed, Result
from kmwatch.core.rules.backed import BackendCase

_HALF_WAITS: Final[Micros] = 10 * SECOND  # for its response: a seal, or an audit device that goes off, has none
_NEVER: Micros = 2**62
_REMEMBERED: Final = 100_000


class Half(Struct):
    """A request whose response has not come."""

    record: BackendRecord
    at: Micros
    streams: list[str] = field(default_factory=list)


class BackendWatch:
    """Bounded; all of it is remembered across restarts."""

    def __init__(self, behind: Behind, inventory: Inventory, ledger: Ledger, limit: int) -> None:
        """Know what is declared, and the account."""
        self.ledger = ledger
        self._behind, self._clients, self._inventory = behind, Clients(behind), inventory
        self._early: list[Half] = []  # halves that had to make room
        self._halves: Keyed[Half] = Keyed("backend/halves", Half, limit, lambda _, half: self._early.append(half))
        self._told: Keyed[int] = Keyed("backend/told", int, min(limit, _REMEMBERED))
        self._next_half: Micros = _NEVER
        self._set_up = SetUp()

    @property
    def next(self) -> Micros:
        """Nothing is due before this."""
        return min(self.ledger.next, self._next_half)

    @property
    def is_crowded(self) -> bool:
        """Whether something has had to make room, and is due now."""
        return bool(self._early) or self.ledger.is_crowded

    def hear(self, event: AuditEvent) -> None:
        """Take an API request as it is told."""
        self.ledger.hear(event)

    def add(self, record: BackendRecord, stream: str, now: Micros) -> tuple[bool, BackendCase | None, list[str]]:
        """Take a record, in the order of time.

        Returns:
            Whether it is new; the operation it completes, if any; and the streams of records that are settled by that.
        """
        key = f"{record.key} {record.observed_time}"
        half = self._halves.get(record.event_id)
        if self._told.get(key) is not None or (half is not None and record == half.record):
            return False, None, []
        self._told.put(key, 1)
        if record.half == "request":
            if self._told.get(record.event_id) is not None:  # its response came before it
                return True, None, [stream]
            self._halves.put(record.event_id, Half(record, now, [stream]))
            self._next_half = min(self._next_half, now + _HALF_WAITS)
            return True, None, []
        streams = [stream]
        if record.half is not None:
            self._told.put(record.event_id, 1)
            found = self._halves.pop(record.event_id)
            streams += found.streams if found is not None else []
        return True, *self._operation(record, streams, now)

    def due(self, now: Micros) -> Iterator[tuple[BackendCase | None, Verdict | None, list[str]]]:
        """Operations without an end, and what the account says, up to now."""
        while self._early:
            half = self._early.pop(0)
            case, streams = self._operation(half.record, half.streams, now)
            yield case, None, streams
        if now >= self._next_half:
            over = [half for _, half in self._halves.items() if half.at + _HALF_WAITS <= now]
            for half in over:
                self._halves.pop(half.record.event_id)
                case, streams = self._operation(half.record, half.streams, now)
                yield case, None, streams
            self._index_halves()
        for streams, verdict in self.ledger.due(now):
            yield None, verdict, streams

    def case_of(self, record: BackendRecord) -> BackendCase:
        """A record held against what is declared."""
        ours = self._inventory.is_ours(record)
        if record.deed is Deed.LOGIN and record.mount is not None:
            ours = self._clients.logs_in_to(record.role, self._inventory.is_mount)
        return BackendCase(record, self._clients, self._behind, ours=ours, secret=self._inventory.secret_at(record))

    def end(self) -> Micros:
        """When all that waits now is due: the input has ended."""
        halves = max((half.at for _, half in self._halves.items()), default=0) + _HALF_WAITS
        return max(self.ledger.end(), halves)

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (*self.ledger.states(), self._halves, self._told, self._inventory.learned, *self._set_up.states())

    def streams(self) -> list[str]:
        """The stream of each record that waits."""
        return [*self.ledger.streams(), *(stream for _, half in self._halves.items() for stream in half.streams)]

    def restored(self) -> None:
        """Find derived state again."""
        self.ledger.restored()
        self._index_halves()

    def _operation(self, record: BackendRecord, streams: list[str], now: Micros) -> tuple[BackendCase, list[str]]:
        """An operation is whole: it waits for the account, unless no API request can have asked for it."""
        case = self.case_of(record)
        case.set_up = self._set_up.covers(record, ours=case.ours)
        if case.ours and not case.barred and (record.deed in POOL_OF or record.result is Result.REFUSED):
            self.ledger.add(record, streams, now)
            return case, []
        return case, streams

    def _index_halves(self) -> None:
        self._next_half = min((half.at for _, half in self._halves.items()), default=_NEVER - _HALF_WAITS) + _HALF_WAITS
