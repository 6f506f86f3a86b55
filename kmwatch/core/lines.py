"""Lines of proxies and web servers that name no request id, while they wait for the request they tell of.

A line fits a request if method, path and status agree and so do the moments: the proxy's timers tell within a
millisecond or two when the server answered, and the Key Manager's own records lie just before that. Nothing that a
client can write beside method and path has a say.

A line is given to a request only where every way of sharing out lines and requests gives it to that one. Narrow widths
come first: what is beyond doubt within milliseconds is not put in doubt by what happened in the same second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from msgspec import Struct

from kmwatch.core import pairing
from kmwatch.core.expected import Expected
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, Slot
from kmwatch.core.request import OpenRequest, is_whole, place_of_line
from kmwatch.core.shelf import Shelf
from kmwatch.core.skew import Skews

TIGHT: Micros = SECOND // 500  # an answer's way through a proxy's timers on a calm machine, clocks agreeing
NEAR: Micros = SECOND // 40
FAR: Micros = SECOND // 4
WIDE: Micros = 2 * SECOND  # clocks that may disagree
_WIDTHS = (TIGHT, NEAR, FAR)


class Line(Struct):
    """A line that waits."""

    record: AccessRecord
    stream: str
    number: int
    arrived: Micros
    place: str = ""

    @property
    def host(self) -> str:
        """Whose clock it is."""
        return self.record.host or ""


class Lines:
    """The waiting lines of one kind of witness, and the answered requests that lack one."""

    def __init__(self, slot: int, skews: Skews, expected: Expected) -> None:
        """Hold lines of this slot."""
        self.slot = slot
        self.skews = skews
        self.waiting: dict[int, Line] = {}  # by number: the order of arrival
        self._expected = expected
        self._shelves: dict[str, Shelf[Line]] = {}  # by host
        self._coarsest: Micros = 0  # of the lines' precisions
        self._cut: dict[int, Line] = {}  # those whose place is shorter than their request's may be
        self._requests: Shelf[OpenRequest] = Shelf()
        self._ids: dict[str, list[Line]] = {}  # by the request id that a declared proxy made
        self._patient = False  # lines of clocks that are not known yet are thought of

    def put(self, line: Line) -> None:
        """Let a line wait."""
        line.place = place_of_line(line.record)
        self.waiting[line.number] = line
        shelf = self._shelves.get(line.host)
        if shelf is None:
            shelf = self._shelves[line.host] = Shelf()
        shelf.put(line.place, line.record.ended, line.number, line)
        self._coarsest = max(self._coarsest, line.record.precision)
        if line.record.cut and not is_whole(line.place):
            self._cut[line.number] = line
        if line.record.global_request_id:
            self._ids.setdefault(line.record.global_request_id, []).append(line)

    def take(self, line: Line) -> None:
        """A line has found its request, or waits no longer."""
        del self.waiting[line.number]
        self._cut.pop(line.number, None)
        self._shelves[line.host].take(line.place, line.record.ended, line.number)
        self._ids.pop(line.record.global_request_id or "", None)

    def expect(self, request: OpenRequest) -> None:
        """An answered request waits for its line."""
        self._requests.put(request.place, request.answered, id(request), request)

    def forget(self, request: OpenRequest) -> None:
        """A request waits no longer."""
        self._requests.take(request.place, request.answered, id(request))

    def expecting(self, line: Line) -> list[OpenRequest]:
        """The answered requests that a line may tell of and that were looked for in vain, because it comes late."""
        ended = line.record.ended - self._ahead(line.host)
        if line.arrived < ended + WIDE - FAR - line.record.precision:
            return []  # whoever waits for it is not looked for yet
        return list(self._requests_for(line, FAR))

    def with_id(self, made: str, request: OpenRequest) -> Line | None:
        """The one line that shows this id, which a declared proxy made.

        Who comes past the proxy may send the id of a request that came through it: the line must fit all the same,
        and no other request that shows the id.
        """
        lines = self._ids.get(made, [])
        if len(lines) != 1 or not self._fits(request, lines[0], WIDE) or lines[0].place != request.place:
            return None
        rivals = [other for other in self._requests_for(lines[0], WIDE) if other is not request and _shows(other, made)]
        return None if rivals else lines[0]

    def like(self, record: AccessRecord) -> Line | None:
        """The line of this kind of witness that tells of the same request as one of the other kind: the nearest.

        Web servers behind a proxy all see the same peer, so that which of several it is makes no difference.
        """
        place, fitting = place_of_line(record), list[tuple[Micros, int, Line]]()
        for host, shelf in self._shelves.items():
            at = record.ended + self._ahead(host) - self._ahead(record.host or "")
            reach = WIDE + self._coarsest + record.precision
            for line in shelf.between(place, at - reach, at + reach):
                web = line.record if self.slot == Slot.ACCESS else record
                apart = max(abs(line.record.ended - at) - line.record.precision - record.precision, 0)
                if apart <= WIDE and self._expected.is_proxy(web.peer):
                    fitting.append((apart, line.number, line))
        return min(fitting)[2] if fitting else None

    def seek(self, request: OpenRequest, *, patient: bool, last: bool) -> list[tuple[OpenRequest, Line]] | None:
        """The line of a request, and those of the requests that compete with it for lines.

        Args:
            request: one that is answered and lacks a line.
            patient: no rival can come any more, so that a clock which may disagree by WIDE is thought of too.
            last: it waits no longer, so that clocks far off are learned from it.

        Returns:
            Pairs beyond doubt; empty if nothing fits; None if what fits may as well be another's.
        """
        widths = (*_WIDTHS, WIDE) if patient else _WIDTHS
        self._patient = patient
        if self._is_alike(request):
            line = next(self._lines_for(request, widths[-1]), None)
            return [] if line is None else [(request, line)]
        for width in widths:
            near = list(islice(self._lines_for(request, width), 2))
            if len(near) == 1 and self._is_alone(request, near[0], width):
                return [(request, near[0])]
            if near:
                found = self._component(request, width)
                return None if found is None else pairing.unique(found)
        if last:
            self._learn_afar(request)
        return []

    def rivals(self, request: OpenRequest) -> tuple[list[OpenRequest], list[Line]]:
        """What cannot be told apart: the requests and the lines that fit them, each in the order of time."""
        for width in (*_WIDTHS, WIDE):
            found = self._component(request, width)
            if found is None:
                return [request], []
            if found[id(request)][1]:
                requests = sorted((one for one, _ in found.values()), key=lambda one: (one.answered, one.digest))
                lines = {line.number: line for _, fitting in found.values() for line in fitting.values()}
                return requests, sorted(lines.values(), key=lambda line: (line.record.ended, line.number))
        return [request], []

    def learn(self, request: OpenRequest, record: AccessRecord) -> None:
        """A pair beyond doubt tells how the clocks stand to each other."""
        if record.precision < SECOND:
            self.skews.learn(record.host or "", record.ended - request.answered)

    def _is_alike(self, request: OpenRequest) -> bool:
        """Whether all lines that may be its own say the same: a web server sees but the proxy as the peer."""
        return self.slot == Slot.ACCESS and bool(request.slots & Slot.PROXY)

    def _is_alone(self, request: OpenRequest, line: Line, width: Micros) -> bool:
        """Whether nothing else competes for a line: the common case, for which no graph is needed."""
        return all(other is request for other in self._requests_for(line, width))

    def _learn_afar(self, request: OpenRequest) -> None:
        """Learn of a clock that is far off: from a line that is the only one for its request within the settle time.

        That is not enough to join the two; but several such pairs that agree tell where to look for the next ones.
        """
        afar = self._expected.settle
        found = self._component(request, afar)
        if found is None or len(found) != 1 or len(found[id(request)][1]) != 1:
            return
        (line,) = found[id(request)][1].values()
        if self.skews.of(line.host) is None:
            self.learn(request, line.record)

    def learn_from(self, line: Line) -> None:
        """The same, of a line that waits no longer because its clock is behind."""
        if self.slot != Slot.PROXY or line.record.precision >= SECOND or self.skews.of(line.host) is not None:
            return
        self._patient = True
        near = list(islice(self._requests_for(line, self._expected.settle), 2))
        if len(near) == 1:
            self._learn_afar(near[0])

    def _component(self, request: OpenRequest, width: Micros) -> dict[int, tuple[OpenRequest, dict[int, Line]]] | None:
        fits_of: Callable[[OpenRequest], Iterator[Line]] = lambda one: self._lines_for(one, width)  # noqa: E731
        return pairing.component(request, fits_of, lambda line: self._requests_for(line, width))

    def _lines_for(self, request: OpenRequest, width: Micros) -> Iterator[Line]:
        for host, shelf in self._shelves.items():
            if not self._patient and self._coarsest < SECOND and self.skews.of(host) is None:
                continue  # a rival may still come
            ahead, reach = self._clock(host, self._coarsest, width)
            at = request.answered + ahead
            for line in shelf.between(request.place, at - reach, at + reach):
                if self._fits(request, line, width):
                    yield line
        for line in self._cut.values():
            if line.place != request.place and _may_be_cut(request.place, line) and self._fits(request, line, width):
                yield line

    def _requests_for(self, line: Line, width: Micros) -> Iterator[OpenRequest]:
        ahead, reach = self._clock(line.host, line.record.precision, width)
        at = line.record.ended - ahead
        places = [line.place]
        if line.number in self._cut:
            places += [place for place in self._requests.places() if place != line.place and _may_be_cut(place, line)]
        for place in places:
            for request in self._requests.between(place, at - reach, at + reach):
                if self._fits(request, line, width):
                    yield request

    def _ahead(self, host: str) -> Micros:
        return self.skews.of(host) or 0

    def _clock(self, host: str, precision: Micros, width: Micros) -> tuple[Micros, Micros]:
        """By how much a host's clock is ahead, and how far from that a line may lie."""
        ahead = self.skews.of(host)
        if ahead is None and precision < SECOND:  # a web server's clock, of whole seconds, is the Key Manager's own
            width = max(width, WIDE)
        return ahead or 0, width + precision

    def _fits(self, request: OpenRequest, line: Line, width: Micros) -> bool:
        record = line.record
        ahead, reach = self._clock(line.host, record.precision, width)
        if not -reach <= record.ended - ahead - request.answered <= reach:
            return False
        if request.asked and not record.began - ahead - reach <= request.asked <= record.ended - ahead + reach:
            return False
        return self.slot == Slot.PROXY or self._came_this_way(request, record)

    def _came_this_way(self, request: OpenRequest, record: AccessRecord) -> bool:
        """Whether the web server's peer is who it must be: the proxy, where the proxy has told of the request."""
        if not self._expected.slots & Slot.PROXY or not self._expected.proxies:
            return True  # nobody has said who the proxy is
        return self._expected.is_proxy(record.peer) == bool(request.slots & Slot.PROXY)


def _shows(request: OpenRequest, made: str) -> bool:
    return any(not isinstance(r, AccessRecord) and r.global_request_id == made for r in request.records)


def _may_be_cut(place: str, line: Line) -> bool:
    """Whether a line whose path was cut may tell of a request at this place."""
    head, _, path = place.partition("\n")
    mine, _, cut = line.place.partition("\n")
    return head == mine and path.startswith(cut.rstrip("/"))
