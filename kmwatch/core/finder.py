"""Which lines without a request id are a request's own: all kinds of witnesses that write such lines, held together.

lines.py knows one kind and says what is beyond doubt; here lines are given out, and what stays in doubt is shared out.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmwatch.core.expected import Expected
from kmwatch.core.lines import Line, Lines
from kmwatch.core.record import AccessRecord, AuditRecord, Slot
from kmwatch.core.request import OpenRequest, place_of_request
from kmwatch.core.skew import Skews


class Finder:
    """The waiting lines of every kind, and the answered requests that lack one."""

    def __init__(self, expected: Expected) -> None:
        """Know which kinds there are."""
        self.skews = Skews()
        self.kinds = {  # the proxy's first: what it tells decides which of the web server's fit
            slot: Lines(slot, self.skews, expected) for slot in (Slot.PROXY, Slot.ACCESS) if slot & expected.slots
        }
        self._trusted_ids = expected.trusted_ids

    def expect(self, request: OpenRequest) -> None:
        """An answered request waits for the lines that it lacks."""
        if not self.kinds:
            return
        request.place = place_of_request(request)
        request.asked = min((r.event_time for r in request.records if isinstance(r, AuditRecord)), default=0)
        for slot, lines in self.kinds.items():
            if not request.slots & slot:
                lines.expect(request)

    def forget(self, request: OpenRequest) -> None:
        """A request waits for no line any more."""
        for lines in self.kinds.values():
            lines.forget(request)

    def named(self, request: OpenRequest, slot: int) -> None:
        """A line that shows the request's id has come: it competes for none of its kind any more."""
        lines = self.kinds.get(slot)
        if lines is not None and request.answered:
            lines.forget(request)

    def seek(self, request: OpenRequest, *, patient: bool, last: bool = False) -> list[OpenRequest]:
        """Give a request its lines, and those that compete with it theirs.

        Args:
            request: one that lacks a line.
            patient: no rival can come any more (see `Lines.seek`).
            last: it waits no longer: what stays in doubt is shared out.

        Returns:
            The others that got something.
        """
        others: list[OpenRequest] = []
        for slot, lines in self.kinds.items():
            if request.slots & slot:
                continue
            if request.answered:
                given = self._found(request, lines, patient=patient or last, last=last)
                others += [one for one, _ in given if one is not request]
            elif last:
                self._seek_alike(request, lines)
        return others

    def alone(self, lines: Lines, number: int) -> list[Line]:
        """Let go of a line that no request has claimed, and of what the other kind says of the same request."""
        line = lines.waiting.get(number)
        if line is None:
            return []
        lines.learn_from(line)
        lines.take(line)
        told = [line]
        for across in self.kinds.values():
            other = None if across is lines else across.like(line.record)
            if other is not None:
                across.take(other)
                told.append(other)
        return told

    def waiting(self) -> Iterator[Line]:
        """All lines that wait."""
        for lines in self.kinds.values():
            yield from lines.waiting.values()

    def _found(
        self, request: OpenRequest, lines: Lines, *, patient: bool, last: bool
    ) -> list[tuple[OpenRequest, Line]]:
        """Give out the lines of one kind; returns who got what."""
        by_id = self._by_id(request, lines) if self._trusted_ids else None
        pairs = [(request, by_id)] if by_id else lines.seek(request, patient=patient, last=last)
        if pairs is None:
            return self._share_out(lines, request) if last else []
        for one, line in pairs:
            lines.learn(one, line.record)
            _give(lines, one, line)
        return pairs

    def _seek_alike(self, request: OpenRequest, lines: Lines) -> None:
        """Of a request that only a line with its id tells of: the other kind's line."""
        first = request.first
        line = lines.like(first) if isinstance(first, AccessRecord) and not request.others else None
        if line is not None:
            _give(lines, request, line)

    def _by_id(self, request: OpenRequest, lines: Lines) -> Line | None:
        """The line that shows the id which a declared proxy gave to this request."""
        told = {r.global_request_id or "" for r in request.records if not isinstance(r, AccessRecord)} - {""}
        return lines.with_id(told.pop(), request) if len(told) == 1 else None

    def _share_out(self, lines: Lines, request: OpenRequest) -> list[tuple[OpenRequest, Line]]:
        """Give what cannot be told apart to those it may belong to, so that each line counts once.

        Where all lines show the same peer, it makes no difference which is whose.
        """
        requests, fitting = lines.rivals(request)
        alike = len(fitting) >= len(requests) and len({line.record.peer for line in fitting}) == 1
        given = list(zip(requests, fitting, strict=False))
        for one, line in given:
            _give(lines, one, line)
        for one in (*requests, request):
            one.ambiguous = one.ambiguous or not alike
        return given


def _give(lines: Lines, request: OpenRequest, line: Line) -> None:
    lines.take(line)
    lines.forget(request)
    request.others += (line.record,)
    request.other_streams += (line.stream,)
    request.slots |= lines.slot
