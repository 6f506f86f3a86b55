"""Lines of proxies and web servers that name no request id, while they wait for the request they tell of.

A line fits a request if method, path and status agree and the moment of the answer does: the proxy's timers tell
within a millisecond or two when the server answered, and the Key Manager's own records lie just before that. Nothing
that a client can write beside method and path has a say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from kmwatch.core import pairing
from kmwatch.core.expected import Expected
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, Slot
from kmwatch.core.request import OpenRequest, place_of_line
from kmwatch.core.skew import Skews

NEAR: Micros = SECOND // 40  # an answer's way through a proxy's timers, clocks agreeing
FAR: Micros = SECOND // 4
WIDE: Micros = 2 * SECOND  # clocks that may disagree


class Line(Struct):
    """A line that waits."""

    record: AccessRecord
    stream: str
    number: int
    arrived: Micros
    place: str = ""


_NONE: dict[int, Line] = {}


class Lines:
    """The waiting lines of one kind of witness, and the answered requests that lack one."""

    def __init__(self, slot: int, skews: Skews) -> None:
        """Hold lines of this slot."""
        self.slot = slot
        self.skews = skews
        self.waiting: dict[int, Line] = {}  # by number: the order of arrival
        self._at: dict[str, dict[int, Line]] = {}
        self._cut: dict[int, Line] = {}
        self._requests: dict[str, list[OpenRequest]] = {}
        self._ids: dict[str, list[Line]] = {}  # by the request id that a declared proxy made

    def put(self, line: Line) -> None:
        """Let a line wait."""
        line.place = place_of_line(line.record)
        self.waiting[line.number] = line
        self._at.setdefault(line.place, {})[line.number] = line
        if line.record.cut:
            self._cut[line.number] = line
        if line.record.global_request_id:
            self._ids.setdefault(line.record.global_request_id, []).append(line)

    def take(self, line: Line) -> None:
        """A line has found its request, or waits no longer."""
        del self.waiting[line.number]
        self._cut.pop(line.number, None)
        here = self._at[line.place]
        if len(here) == 1:
            del self._at[line.place]
        else:
            del here[line.number]
        self._ids.pop(line.record.global_request_id or "", None)

    def expect(self, request: OpenRequest) -> None:
        """An answered request waits for its line."""
        self._requests.setdefault(request.place, []).append(request)

    def forget(self, request: OpenRequest) -> None:
        """A request waits no longer."""
        here = self._requests.get(request.place)
        if here is None:
            return
        left = [other for other in here if other is not request]
        if left:
            self._requests[request.place] = left
        else:
            del self._requests[request.place]

    def expecting(self, line: Line) -> list[OpenRequest]:
        """The answered requests that a line may tell of."""
        return list(self._requests_for(line, FAR))

    def with_id(self, made: str) -> Line | None:
        """The one line that shows this id."""
        lines = self._ids.get(made, [])
        return lines[0] if len(lines) == 1 else None

    def like(self, record: AccessRecord, expected: Expected) -> Line | None:
        """The first line of this kind of witness that tells of the same request as one of the other kind.

        Web servers behind a proxy all see the same peer, so that which of several it is makes no difference.
        """
        for line in self._at.get(place_of_line(record), _NONE).values():
            web, proxy = (line.record, record) if self.slot == Slot.ACCESS else (record, line.record)
            apart = web.ended - proxy.ended + (self.skews.of(proxy.host or "") or 0)
            if expected.is_proxy(web.peer) and -WIDE - web.precision <= apart <= WIDE + web.precision:
                return line
        return None

    def seek(self, request: OpenRequest, *, last: bool) -> list[tuple[OpenRequest, Line]] | None:
        """The line of a request, and those of the requests that compete with it for lines.

        Args:
            request: one that is answered and lacks a line.
            last: it waits no longer, so that a clock which disagrees is thought of too.

        Returns:
            Pairs beyond doubt; empty if nothing fits; None if what fits may as well be another's.
        """
        widths = (NEAR, FAR, WIDE) if last else (NEAR, FAR)
        for width in widths:
            found = self._component(request, width)
            if found is None:
                return None
            if found[id(request)][1]:
                return pairing.unique(found)
        return []

    def rivals(self, request: OpenRequest) -> tuple[list[OpenRequest], list[Line]]:
        """What cannot be told apart: the requests and the lines that fit them, each in the order of time."""
        for width in (NEAR, FAR, WIDE):
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

    def _component(self, request: OpenRequest, width: Micros) -> dict[int, tuple[OpenRequest, dict[int, Line]]] | None:
        fits_of: Callable[[OpenRequest], Iterator[Line]] = lambda one: self._lines_for(one, width)  # noqa: E731
        return pairing.component(request, fits_of, lambda line: self._requests_for(line, width))

    def _lines_for(self, request: OpenRequest, width: Micros) -> Iterator[Line]:
        for line in self._at.get(request.place, _NONE).values():
            if self._fits(request, line, width):
                yield line
        for line in self._cut.values():
            if line.place != request.place and _may_be_cut(request, line) and self._fits(request, line, width):
                yield line

    def _requests_for(self, line: Line, width: Micros) -> Iterator[OpenRequest]:
        for request in self._requests.get(line.place, ()):
            if self._fits(request, line, width):
                yield request
        if line.record.cut:
            for place, requests in self._requests.items():
                if place != line.place:
                    yield from (r for r in requests if _may_be_cut(r, line) and self._fits(r, line, width))

    def _fits(self, request: OpenRequest, line: Line, width: Micros) -> bool:
        record = line.record
        skew = self.skews.of(record.host or "")
        if record.precision >= SECOND:
            skew = skew or 0  # the web server's clock is the Key Manager's own
        elif skew is None:
            skew, width = 0, WIDE
        after = record.ended - skew - request.answered
        return -width - record.precision <= after <= width + record.precision


def _may_be_cut(request: OpenRequest, line: Line) -> bool:
    """Whether a line whose path was cut may tell of this request."""
    head, _, path = request.place.partition("\n")
    mine, _, cut = line.place.partition("\n")
    return head == mine and path.startswith(cut.rstrip("/"))
