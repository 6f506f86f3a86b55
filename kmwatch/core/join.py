"""The join: the records that tell of one request become one event.

Records come in any order, on any partition, late, twice, or never. A request is open from its first record until
every expected slot is filled, or until the watermark passes its settle time. Keys of closed requests are
remembered for a while, so that a record that comes again is a duplicate, and one that completes a request that
was closed without it still counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kmwatch.core.closed import ClosedKeys, digest_of
from kmwatch.core.event import audit_event
from kmwatch.core.model import AuditEvent, Micros, Word
from kmwatch.core.record import AuditRecord, Slot

_MOST_COPIES = 8  # contradicting copies kept of one request; whoever writes more adds nothing


class Joined(Word):
    """What became of a record that was handed to the join."""

    WAITING = "waiting"  # it opened or joined a request that is not complete
    COMPLETE = "complete"  # it closed its request
    DUPLICATE = "duplicate"  # the very same had been seen
    LATE_PART = "late_part"  # its request was closed without it; a response makes the event anew, flagged late


# Looking a member up in its enum takes longer than most of what the join does with a record.
_WAITING, _COMPLETE, _DUPLICATE, _LATE_PART = Joined.WAITING, Joined.COMPLETE, Joined.DUPLICATE, Joined.LATE_PART


class OpenRequest(Struct):
    """A request that still waits for records. `streams[i]` is where `records[i]` came from, for the account.

    Most requests are open with one record and close with their second, so the first needs no list.
    """

    first: AuditRecord
    first_stream: str
    digest: bytes  # of the join key
    slots: int
    began: Micros  # when the first of its records was made: later events may not overtake it
    deadline: Micros
    late: bool = False
    others: tuple[AuditRecord, ...] = ()
    other_streams: tuple[str, ...] = ()

    @property
    def records(self) -> list[AuditRecord]:
        """All that was seen of it."""
        return [self.first, *self.others]

    @property
    def streams(self) -> tuple[str, ...]:
        """Where it was seen."""
        return self.first_stream, *self.other_streams


class Closed(Struct, frozen=True, gc=False):
    """An event and the streams of its records."""

    event: AuditEvent
    streams: tuple[str, ...]


class Join:
    """Open requests, bounded. State that must outlive the process: `open` and `closed` (see state.py)."""

    def __init__(self, expected: int, settle: Micros, limit: int, *, proxy_expected: bool = False) -> None:
        """Set the slots that complete a request, how long to wait for them, and how many may be open."""
        self.open: dict[str, OpenRequest] = {}
        self.closed = ClosedKeys()
        self.evicted = 0
        self.grown: set[str] = set()  # keys that got another record since the last commit and are still open
        self._expected = expected
        self._settle = settle
        self._limit = limit
        self._proxy_expected = proxy_expected
        self._next_deadline: Micros | None = None
        self._overdue: list[Closed] = []  # handed out by the next `expire`, within the same step

    def add(self, record: AuditRecord, stream: str, *, late: bool) -> tuple[Joined, Closed | None]:
        """Take one record.

        Returns:
            What became of it, and the event if it closed its request.
        """
        key = record.key
        request = self.open.get(key)
        if request is None:
            return self._first(record, stream, late=late)
        if record.observed_time > request.deadline:  # too late by its own time, whether or not we have closed it yet
            self._overdue.append(self._close(self.open.pop(key)))
            return self._first(record, stream, late=late)
        slot = record.slot
        if slot & request.slots and (record in request.records or len(request.others) >= _MOST_COPIES - 1):
            return _DUPLICATE, None
        request.others += (record,)
        request.other_streams += (stream,)
        request.slots |= slot
        if late:
            request.late = True
        if request.slots & self._expected == self._expected:
            del self.open[key]
            return _COMPLETE, self._close(request)
        if record.observed_time < request.began:  # noqa: PLR1730  (a call costs more)
            request.began = record.observed_time
        self.grown.add(key)
        return _WAITING, None

    def _first(self, record: AuditRecord, stream: str, *, late: bool) -> tuple[Joined, Closed | None]:
        key, slot = record.key, record.slot
        digest = digest_of(key)
        seen = self.closed.slots(digest)
        if seen & slot == slot:
            return _DUPLICATE, None
        if seen and not slot & Slot.CADF_RESPONSE:
            self.closed.add(digest, seen | slot)  # it adds nothing to what the response said
            return _LATE_PART, None
        began, deadline = record.observed_time, record.observed_time + self._settle
        request = OpenRequest(record, stream, digest, slot | seen, began, deadline, late or seen != 0)
        if seen:
            return _LATE_PART, self._close(request)
        if slot & self._expected == self._expected:
            return _COMPLETE, self._close(request)
        self.open[key] = request
        if self._next_deadline is None or deadline < self._next_deadline:
            self._next_deadline = deadline
        return _WAITING, None

    def expire(self, watermark: Micros | None) -> list[Closed]:
        """Close the requests whose settle time is over, and the oldest of too many."""
        out, self._overdue = self._overdue, []
        if watermark is not None and self._next_deadline is not None and self._next_deadline <= watermark:
            due = [key for key, request in self.open.items() if request.deadline <= watermark]
            out.extend(self._close(self.open.pop(key)) for key in due)
            self._next_deadline = min((r.deadline for r in self.open.values()), default=None)
        excess = len(self.open) - self._limit
        if excess > 0:
            oldest = sorted(self.open, key=lambda key: (self.open[key].began, key))[:excess]
            self.evicted += excess
            out.extend(self._close(self.open.pop(key)) for key in oldest)
        return out

    def flush(self) -> list[Closed]:
        """Close everything that is open: the input has ended."""
        return [self._close(self.open.pop(key)) for key in list(self.open)]

    def oldest(self) -> Micros | None:
        """When the first record of any open request was made."""
        return min((request.began for request in self.open.values()), default=None)

    def restore(self, requests: Iterable[tuple[str, OpenRequest]]) -> None:
        """Take back what was open when the last commit was written."""
        self.open = dict(requests)
        self._next_deadline = min((r.deadline for r in self.open.values()), default=None)

    def _close(self, request: OpenRequest) -> Closed:
        slots = request.slots
        self.closed.add(request.digest, -1 if slots & self._expected == self._expected else slots)
        event = audit_event(request.records, slots, proxy_expected=self._proxy_expected, late=request.late)
        return Closed(event, request.streams)
