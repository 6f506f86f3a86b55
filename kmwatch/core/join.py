"""The join: what several witnesses tell of one request becomes one event.

Records come sorted by time (order.py). Those that carry the Key Manager's request id meet under it; the lines of
proxies and web servers that carry none are given to the request they fit, one to one, where there is no doubt
(finder.py, lines.py). A request is told to the detections

- at once, when all that is expected of it is there;
- early, by identity alone, when something is still missing a moment after the answer;
- at last, when its settle time is over, with what there is. Then it stays for a while, so that what comes later
  still finds it and tells it again.

Keys of requests told in full are remembered, so that a record which comes again is a duplicate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice, takewhile
from typing import TypeVar

from msgspec import Struct

from kmwatch.core.closed import ClosedKeys, digest_of
from kmwatch.core.event import audit_event, event_of_lines, pair_event
from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.finder import Finder
from kmwatch.core.lines import WIDE, Line, Lines
from kmwatch.core.model import MINUTE, AuditEvent, Micros, Word
from kmwatch.core.record import AccessRecord, Sighting, Slot
from kmwatch.core.request import OpenRequest, Told, is_answer, own_words

_MOST_COPIES = 8  # contradicting copies kept of one request; whoever writes more adds nothing
_MOST_NOTES = 16  # records kept of one request in all
_LINGER: Micros = 10 * MINUTE  # what comes later than settle, and by less than this, still finds its request
_NEVER: Micros = 2**62
_NOTE = Slot.SERVICE_NOTE
_RESPONSE = Slot.CADF_RESPONSE
_ANSWERS = Slot.CADF_RESPONSE | Slot.SERVICE_END

K = TypeVar("K")
V = TypeVar("V")


class Joined(Word):
    """What became of a record that was handed to the join."""

    WAITING = "waiting"  # it opened or joined a request that is not complete
    COMPLETE = "complete"  # it closed its request
    DUPLICATE = "duplicate"  # the very same had been seen
    LATE_PART = "late_part"  # its request was told without it
    UNWANTED = "unwanted"  # it tells of no request by id, and the configuration says that there is no such log


# Looking a member up in its enum takes longer than most of what the join does with a record.
_WAITING, _COMPLETE, _DUPLICATE = Joined.WAITING, Joined.COMPLETE, Joined.DUPLICATE
_LATE_PART, _UNWANTED = Joined.LATE_PART, Joined.UNWANTED


class Ready(Struct, frozen=True, gc=False):
    """A request as it is told to the detections.

    `early`: by identity alone, more will come. `before` is how it was told last, if it was. `again`: it had been told
    at last already.
    """

    event: AuditEvent
    streams: tuple[str, ...]  # of the records that this telling closes, for the account
    early: bool = False
    before: AuditEvent | None = None
    again: bool = False


class Join:
    """Open requests and waiting lines, bounded. What must outlive the process, state.py writes."""

    def __init__(self, expected: Expected, limit: int) -> None:
        """Know what completes a request, and how many requests and lines may wait."""
        self.open: dict[str, OpenRequest] = {}  # in the order in which they began
        self.closed = ClosedKeys()
        self.evicted = 0
        self.timed_out = 0
        self.unanswered = 0
        self.grown: set[str] = set()  # keys whose request changed since the last commit
        self.finder = Finder(expected)
        self.lines, self.skews = self.finder.kinds, self.finder.skews
        self.next: Micros = _NEVER  # nothing is due before this
        self._expected = expected
        self._only_audited = expected.slots == AUDITED
        self.limit = limit
        self.settle = expected.settle
        self._tries: list[tuple[Micros, str]] = []  # a heap
        self.lingering: dict[str, OpenRequest] = {}  # told at last, and not in full
        self.number = 0  # of the latest line
        self.heard: Callable[[AuditEvent, Sequence[Sighting]], None] | None = None  # who wants to know what made it

    def add(self, key: str, record: Sighting, stream: str, now: Micros, ready: Callable[[Ready], None]) -> Joined:
        """Take one record, in the order of time.

        Args:
            key: its join key, "" for a line that has none.
            record: what it says.
            stream: where it stood.
            now: its place in time; later than its own time if it came late.
            ready: called with what is told.
        """
        if not key:
            return self._line(record, stream, now)
        request = self.open.get(key)
        if request is None:
            request = self.lingering.get(key)
            if request is None:
                return self._first(key, record, stream, now, ready)
        slot, slots = record.slot, request.slots
        if slots + slot == AUDITED and self._only_audited and not request.others and request.told == Told.NOT:
            return self._pair(key, request, record, stream, now, ready)
        if slot & slots and _is_copy(record, request, slot):
            return _DUPLICATE
        request.others += (record,)
        request.other_streams += (stream,)
        request.slots = slots = slots | slot
        if isinstance(record, AccessRecord):
            self.finder.named(request, slot)
        elif now > record.observed_time:
            request.late = True
        wanted = self._expected.slots
        if slots & wanted == wanted and request.told == Told.NOT:
            del self.open[key]
            if request.answered:
                self.finder.forget(request)
            ready(self._close(request, now))
            return _COMPLETE
        self.grown.add(key)
        return self._changed(key, request, slot, stream, now, ready)

    def due(self, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Do what time alone brings, up to and including `now`."""
        while self.next <= now:
            at = self.next
            while self._tries and self._tries[0][0] <= at:
                self._try(heappop(self._tries)[1], at, ready)
            self._end_overdue(at, ready)
            self._end_lines(at, ready)
            self._end_lingering(at)
            self._look_ahead()

    def crowd(self, now: Micros, ready: Callable[[Ready], None]) -> None:
        """End the oldest of too many."""
        for key in _oldest(self.open, self.limit):
            self.evicted += 1
            self._end(key, now, ready)
        for key in _oldest(self.lingering, self.limit):
            self.evicted += 1
            self._drop(key)
        for lines in self.lines.values():
            for number in _oldest(lines.waiting, self.limit):
                self.evicted += 1
                self._end_line(lines, number, now, ready)

    def flush(self, now: Micros, ready: Callable[[Ready], None]) -> None:
        """The input has ended: tell everything."""
        while self._tries:
            at, key = heappop(self._tries)
            self._try(key, max(at, now), ready)
        for key in list(self.open):
            self._end(key, now, ready)
        for lines in self.lines.values():
            for number in list(lines.waiting):
                self._end_line(lines, number, now, ready)
        for key in list(self.lingering):
            self._drop(key)
        self._look_ahead()

    def restore(self, requests: Iterable[tuple[str, OpenRequest]], lines: Iterable[Line], number: int) -> None:
        """Take back what was open when the last commit was written."""
        self.number = number
        for line in sorted(lines, key=lambda line: line.number):
            if line.record.slot in self.lines:  # else the configuration no longer knows of such a log
                self.lines[line.record.slot].put(line)
        for key, request in sorted(requests, key=lambda item: (item[1].began, item[0])):
            held = self.lingering if request.told == Told.FULLY else self.open
            held[key] = request
            if request.answered:
                self.finder.expect(request)
        known = (*self.open.items(), *self.lingering.items())
        self._tries = sorted((request.try_at, key) for key, request in known if request.try_at)
        self._look_ahead()

    def _first(self, key: str, record: Sighting, stream: str, now: Micros, ready: Callable[[Ready], None]) -> Joined:
        slot, wanted = record.slot, self._expected.slots
        digest = digest_of(key)
        seen = self.closed.slots(digest)
        if seen & slot == slot:
            return _DUPLICATE
        late = now > record.observed_time
        if seen and not slot & _ANSWERS:
            self.closed.add(digest, seen | slot)  # it adds nothing to what the answer said
            return _DUPLICATE
        request = OpenRequest(key, record, stream, digest, slot | seen, now, late or seen != 0)
        if seen or slot & wanted == wanted:
            ready(self._close(request, now))
            return _LATE_PART if seen else _COMPLETE
        self.open[key] = request
        at = now + self._expected.settle
        if at < self.next:  # noqa: PLR1730  (a call costs more)
            self.next = at
        if slot & _ANSWERS:
            self._answered(key, request, now)
        return _WAITING

    def _pair(
        self, key: str, request: OpenRequest, record: Sighting, stream: str, now: Micros, ready: Callable[[Ready], None]
    ) -> Joined:
        """The other half of a request, where nothing else is expected: by far the most common case."""
        del self.open[key]
        self.closed.complete(request.digest)
        first, late = request.first, request.late or now > record.observed_time
        halves = (first, record) if record.slot == _RESPONSE else (record, first)
        event = pair_event(*halves, now, late=late)  # type: ignore[arg-type]  # the slots say what they are
        if self.heard is not None:
            self.heard(event, halves)
        ready(Ready(event, (request.first_stream, stream)))
        return _COMPLETE

    def _changed(
        self, key: str, request: OpenRequest, slot: int, stream: str, now: Micros, ready: Callable[[Ready], None]
    ) -> Joined:
        """A request has got one more record, and is still not told in full, or was told already."""
        if request.told == Told.FULLY:
            self._tell_again(request, (stream,), now, ready)
            return _LATE_PART
        if slot & _ANSWERS and not request.answered:
            self._answered(key, request, now)
        if request.told != Told.NOT and self._is_complete(request):
            self._end(key, now, ready)
            return _COMPLETE
        return _WAITING

    def _tell_again(
        self, request: OpenRequest, streams: tuple[str, ...], now: Micros, ready: Callable[[Ready], None]
    ) -> None:
        """More is known of a request that was told at last; `streams` are those of what came."""
        request.late = True
        before, told = request.before, self._close(request, now)
        request.before = told.event
        self.grown.add(request.key)
        ready(Ready(told.event, streams, before=before, again=True))
        if self._is_complete(request):
            self._drop(request.key)

    def _answered(self, key: str, request: OpenRequest, now: Micros) -> None:
        """The Key Manager is done with it: lines that tell of it can be looked for."""
        request.answered = min(record.observed_time for record in request.records if is_answer(record.slot))
        if self._expected.slots & ~(AUDITED | request.slots):
            self._try_later(key, request, now + WIDE)
        self.finder.expect(request)

    def _try_later(self, key: str, request: OpenRequest, at: Micros) -> None:
        request.try_at = at
        heappush(self._tries, (at, key))
        if request.try_at < self.next:  # noqa: PLR1730  (a call costs more)
            self.next = request.try_at

    def _line(self, record: Sighting, stream: str, now: Micros) -> Joined:
        lines = self.lines.get(record.slot)
        if lines is None or not isinstance(record, AccessRecord):
            return _UNWANTED
        if record.serial is not None:
            digest = digest_of(own_words(record))
            if self.closed.slots(digest):
                return _DUPLICATE
            self.closed.add(digest, record.slot)
        self.number += 1
        line = Line(record, stream, self.number, now)
        lines.put(line)
        for request in lines.expecting(line):
            if request.told != Told.NOT and not request.try_at:
                self._try_later(request.key, request, now + WIDE)
                self.grown.add(request.key)
        at = now + self._expected.settle + WIDE
        if at < self.next:  # noqa: PLR1730  (a call costs more)
            self.next = at
        return _WAITING

    def _try(self, key: str, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Look for the lines of an answered request; tell it, in full or by identity alone."""
        request = self.open.get(key)
        if request is None:
            self._try_lingering(key, now, ready)
            return
        patient = request.answered + 2 * WIDE  # no rival for a line that fits can come any more, whatever the clocks
        request.try_at = 0
        others = self.finder.seek(request, patient=now >= patient)
        self.grown.add(key)
        if self._is_complete(request):
            self._end(key, now, ready)
        else:
            self._go_on(key, request, patient, now, ready)
        self._end_complete(others, now, ready)

    def _try_lingering(self, key: str, now: Micros, ready: Callable[[Ready], None]) -> None:
        """A line has come that may be of a request which was told at last without it."""
        request = self.lingering.get(key)
        if request is None:
            return
        request.try_at, had = 0, len(request.other_streams)
        self.grown.add(key)
        others = self.finder.seek(request, patient=True)
        if len(request.other_streams) > had:
            self._tell_again(request, request.other_streams[had:], now, ready)
        self._end_complete(others, now, ready)

    def _go_on(
        self, key: str, request: OpenRequest, patient: Micros, now: Micros, ready: Callable[[Ready], None]
    ) -> None:
        """Something is missing still: tell by identity alone, and look again when no rival can come."""
        if now < patient:
            self._try_later(key, request, patient)
        if request.told == Told.NOT:
            request.told = Told.EARLY
            if request.slots & AUDITED or not self._expected.slots & AUDITED:
                request.before = self._event(request, now, early=True)
                ready(Ready(request.before, (), early=True))

    def _end_complete(self, others: list[OpenRequest], now: Micros, ready: Callable[[Ready], None]) -> None:
        """Tell those that a line found on the way has completed, and those that were told without it."""
        for one in others:
            self.grown.add(one.key)
            if one.key in self.lingering:
                self._tell_again(one, one.other_streams[-1:], now, ready)
            elif one.key in self.open and self._is_complete(one):
                self._end(one.key, now, ready)

    def _is_complete(self, request: OpenRequest) -> bool:
        """Whether nothing more is expected: who came past the proxy has no line of it."""
        wanted, slots = self._expected.slots, request.slots
        if wanted & Slot.PROXY and self._expected.proxies and not request.ambiguous:
            for record in request.others:
                if record.slot == Slot.ACCESS and isinstance(record, AccessRecord):
                    direct = not self._expected.is_proxy(record.peer)
                    wanted = wanted & ~Slot.PROXY if direct else wanted
        return slots & wanted == wanted

    def _end_overdue(self, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Tell those whose settle time is over. They stand in the order in which they began."""
        over = now - self._expected.settle
        for key in _until(self.open, lambda request: request.began <= over):
            self.timed_out += 1
            self._end(key, now, ready)

    def _end(self, key: str, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Tell a request at last, unless a line found for another has told it meanwhile."""
        request = self.open.pop(key, None)
        if request is None:
            return
        others = [] if self._is_complete(request) else self.finder.seek(request, patient=True, last=True)
        told = self._close(request, now)
        ready(told)
        if self._is_complete(request):
            self.finder.forget(request)
        else:
            if not request.slots & _ANSWERS:
                self.unanswered += 1
            request.told, request.before = Told.FULLY, told.event
            self.lingering[key] = request
            self.grown.add(key)
            self.next = min(self.next, request.began + self._expected.settle + _LINGER)
        self._end_complete(others, now, ready)

    def _close(self, request: OpenRequest, now: Micros) -> Ready:
        slots = request.slots
        complete = slots & self._expected.slots == self._expected.slots
        self.closed.add(request.digest, -1 if complete else slots & ~_NOTE)
        return Ready(self._event(request, now), request.streams, before=request.before)

    def _event(self, request: OpenRequest, now: Micros, *, early: bool = False) -> AuditEvent:
        records = request.records
        event = audit_event(
            records,
            request.slots,
            self._expected,
            now,
            late=request.late,
            early=early,
            ambiguous=request.ambiguous,
        )
        if self.heard is not None and not early:
            self.heard(event, records)
        return event

    def _end_lines(self, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Tell of the lines that no request has claimed: a request may end that much later than its line."""
        over = now - self._expected.settle - WIDE
        for slot in (Slot.PROXY, Slot.ACCESS):  # what the proxy shows claims the web server's word of it
            lines = self.lines.get(slot)
            if lines is not None:
                for number in _until(lines.waiting, lambda line: line.arrived <= over):
                    self._end_line(lines, number, now, ready)

    def _end_line(self, lines: Lines, number: int, now: Micros, ready: Callable[[Ready], None]) -> None:
        """Tell of a line alone; what the proxy and the web server say of the same request is one event."""
        told = self.finder.alone(lines, number)
        if not told:
            return
        records = [one.record for one in told]
        event = event_of_lines(records, self._expected, now)
        if self.heard is not None:
            self.heard(event, records)
        ready(Ready(event, tuple(one.stream for one in told)))

    def _end_lingering(self, now: Micros) -> None:
        over = now - self._expected.settle - _LINGER
        for key in _until(self.lingering, lambda request: request.began <= over):
            self._drop(key)

    def _drop(self, key: str) -> None:
        """Forget a request that was told."""
        request = self.lingering.pop(key, None)
        if request is not None:
            self.finder.forget(request)
            self.grown.add(key)

    def _look_ahead(self) -> None:
        """Find out when something is due next."""
        settle = self._expected.settle
        times = [self._tries[0][0]] if self._tries else []
        if self.open:
            times.append(next(iter(self.open.values())).began + settle)
        held = (lines.waiting for lines in self.lines.values() if lines.waiting)
        times += [next(iter(waiting.values())).arrived + settle + WIDE for waiting in held]
        if self.lingering:
            times.append(next(iter(self.lingering.values())).began + settle + _LINGER)
        self.next = min(times, default=_NEVER)


def _is_copy(record: Sighting, request: OpenRequest, slot: int) -> bool:
    """Whether a record for a slot that is filled adds nothing."""
    records = request.records
    most = _MOST_NOTES if slot == _NOTE else _MOST_COPIES
    return record in records or len(records) >= most


def _until(items: Mapping[K, V], holds: Callable[[V], bool]) -> list[K]:
    """The keys up to the first whose value does not hold."""
    return [key for key, _ in takewhile(lambda item: holds(item[1]), items.items())]


def _oldest(items: Mapping[K, V], limit: int) -> list[K]:
    """The keys of the oldest of too many."""
    return list(islice(items, max(len(items) - limit, 0)))
