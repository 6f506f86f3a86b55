"""The join: the records that tell of one request become one event.

Records come in any order, on any partition, late, twice, or never. A request is open from its first record until
every expected slot is filled, or until the watermark passes its settle time. Keys of closed requests are
remembered for a while, so that a record that comes again is a duplicate, and one that completes a request that
was closed without it still counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from kmwatch.core.closed import ClosedKeys
from kmwatch.core.event import audit_event
from kmwatch.core.model import AuditEvent, Micros
from kmwatch.core.record import AuditRecord, Slot

_MOST_COPIES = 8  # contradicting copies kept of one request; whoever writes more adds nothing


class Joined(Enum):
    """What became of a record that was handed to the join."""

    WAITING = "waiting"  # it opened or joined a request that is not complete
    COMPLETE = "complete"  # it closed its request
    DUPLICATE = "duplicate"  # the very same had been seen
    LATE_PART = "late_part"  # its request was closed without it; a response makes the event anew, flagged late


class OpenRequest(Struct):
    """A request that still waits for records. `streams[i]` is where `records[i]` came from, for the account."""

    records: list[AuditRecord]
    streams: list[str]
    slots: int
    began: Micros  # least event time of its records: later events may not overtake it
    deadline: Micros
    late: bool = False


class Closed(Struct, frozen=True, gc=False):
    """An event and the streams of its records."""

    event: AuditEvent
    streams: tuple[str, ...]
    timed_out: bool


class Join:
    """Open requests, bounded. State that must outlive the process: `open`, `closed` (see state.py)."""

    def __init__(self, expected: Slot, settle: Micros, limit: int, *, proxy_expected: bool = False) -> None:
        """Set the slots that complete a request, how long to wait for them, and how many may be open."""
        self.open: dict[str, OpenRequest] = {}
        self.closed = ClosedKeys()
        self.evicted = 0
        self._expected = int(expected)
        self._settle = settle
        self._limit = limit
        self._proxy_expected = proxy_expected
        self._next_deadline: Micros | None = None
        self.changed: set[str] = set()  # keys opened, changed or closed since the last commit

    def add(self, record: AuditRecord, stream: str, *, late: bool) -> tuple[Joined, Closed | None]:
        """Take one record.

        Returns:
            What became of it, and the event if it closed its request.
        """
        key = record.key
        request = self.open.get(key)
        if request is None:
            return self._first(record, stream, late)
        slot = int(record.slot)
        if slot & request.slots and (record in request.records or len(request.records) >= _MOST_COPIES):
            return Joined.DUPLICATE, None
        request.records.append(record)
        request.streams.append(stream)
        request.slots |= slot
        request.late = request.late or late
        request.began = min(request.began, record.event_time)
        self.changed.add(key)
        if request.slots & self._expected != self._expected:
            return Joined.WAITING, None
        return Joined.COMPLETE, self._close(key, timed_out=False)

    def _first(self, record: AuditRecord, stream: str, late: bool) -> tuple[Joined, Closed | None]:  # noqa: FBT001
        key, slot = record.key, int(record.slot)
        seen = self.closed.slots(key)
        if seen & slot == slot:
            return Joined.DUPLICATE, None
        if seen and Slot.CADF_RESPONSE not in record.slot:
            self.closed.add(key, seen | slot, complete=False)  # it adds nothing to what the response said
            return Joined.LATE_PART, None
        deadline = record.observed_time + self._settle
        request = OpenRequest([record], [stream], slot, record.event_time, deadline, late or bool(seen))
        self.open[key] = request
        self.changed.add(key)
        if seen:
            return Joined.LATE_PART, self._close(key, timed_out=False)
        if slot & self._expected == self._expected:
            return Joined.COMPLETE, self._close(key, timed_out=False)
        if self._next_deadline is None or deadline < self._next_deadline:
            self._next_deadline = deadline
        return Joined.WAITING, None

    def expire(self, watermark: Micros) -> list[Closed]:
        """Close the requests whose settle time is over, and the oldest of too many."""
        out: list[Closed] = []
        if self._next_deadline is not None and self._next_deadline <= watermark:
            due = [key for key, request in self.open.items() if request.deadline <= watermark]
            out = [self._close(key, timed_out=True) for key in due]
            self._next_deadline = min((r.deadline for r in self.open.values()), default=None)
        excess = len(self.open) - self._limit
        if excess > 0:
            oldest = sorted(self.open, key=lambda key: (self.open[key].began, key))[:excess]
            self.evicted += excess
            out.extend(self._close(key, timed_out=True) for key in oldest)
        return out

    def flush(self) -> list[Closed]:
        """Close everything that is open: the input has ended."""
        return [self._close(key, timed_out=True) for key in list(self.open)]

    def oldest(self) -> Micros | None:
        """The least event time of an open request."""
        return min((request.began for request in self.open.values()), default=None)

    def restore(self, requests: Iterable[tuple[str, OpenRequest]]) -> None:
        """Take back what was open when the last commit was written."""
        self.open = dict(requests)
        self._next_deadline = min((r.deadline for r in self.open.values()), default=None)

    def _close(self, key: str, *, timed_out: bool) -> Closed:
        request = self.open.pop(key)
        self.changed.add(key)
        self.closed.add(key, request.slots, complete=request.slots & self._expected == self._expected)
        event = audit_event(request.records, proxy_expected=self._proxy_expected, late=request.late)
        return Closed(event, tuple(request.streams), timed_out)
