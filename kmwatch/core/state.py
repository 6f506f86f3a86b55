"""The engine's memory as rows: what changed since the last commit, and the way back.

A commit writes only what changed. Open requests, lines and waiting records are written when a batch ends with them
still open or waiting; most are gone before that and are never written at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct, field, msgpack

from kmwatch.core.account import Account
from kmwatch.core.feed import Feed
from kmwatch.core.lines import Line
from kmwatch.core.model import Micros
from kmwatch.core.order import Waiting
from kmwatch.core.request import OpenRequest
from kmwatch.core.skew import Skews
from kmwatch.core.step import Engine

_OPEN, _LINE, _WAIT, _CLOSED, _META = "open", "line", "wait", "closed", "meta"
_open = msgpack.Decoder(OpenRequest).decode
_line = msgpack.Decoder(Line).decode
_waiting = msgpack.Decoder(list[Waiting]).decode


class Row(Struct, frozen=True, gc=False):
    """One piece of state; `value` None deletes it."""

    kind: str
    key: str
    value: bytes | None


class _Meta(Struct):
    frontier: Micros
    watermark: Micros | None
    seen: dict[str, Micros | None]
    account: Account
    segments: int = 0  # rows of waiting records and closed keys ever written
    line: int = 0  # number of the latest line of a proxy or web server
    skews: Skews = field(default_factory=Skews)
    feed: Feed = field(default_factory=Feed)


_meta = msgpack.Decoder(_Meta).decode


class Memory:
    """Knows which of an engine's state is written, so that it can tell what is to be written next."""

    def __init__(self, engine: Engine) -> None:
        """Watch over an engine that is new, or about to be restored."""
        self._engine = engine
        self._written_open: set[str] = set()
        self._written_lines: set[int] = set()
        self._wait_segments: dict[str, Micros] = {}  # key of a row -> the latest place in it
        self._segments = 0
        self._young: list[str] = []
        self._old: list[str] = []

    def changes(self) -> list[Row]:
        """The rows that bring the stored state up to the engine's; call once for each commit."""
        rows = [*self._opens(), *self._lines(), *self._waits(), *self._closed()]
        for keyed in self._engine.states():
            rows.extend(Row(keyed.name, key, value) for key, value in keyed.take_changes())
        rows.append(Row(_META, "engine", self._encoded_meta()))
        return rows

    def restore(self, rows: Iterable[Row]) -> None:
        """Bring a new engine to the stored state. Rows of one kind come in the order they were last written."""
        keyed = {state.name: state for state in self._engine.states()}
        opens: dict[str, OpenRequest] = {}
        lines: list[Line] = []
        waits: list[Waiting] = []
        meta: _Meta | None = None
        for row in rows:
            value = row.value or b""
            if row.kind == _OPEN:
                opens[row.key] = _open(value)
            elif row.kind == _LINE:
                lines.append(_line(value))
            elif row.kind == _WAIT:
                waiting = _waiting(value)
                self._wait_segments[row.key] = max(item[0] for item in waiting)
                waits += waiting
            elif row.kind == _CLOSED:
                self._restore_closed(row.key, value)
            elif row.kind == _META:
                meta = _meta(value)
            elif row.kind in keyed:  # state of a rule that is off now stays stored, unread
                keyed[row.kind].restore(row.key, value)
        self._written_open, self._written_lines = set(opens), {line.number for line in lines}
        if meta is not None:
            self._restore_meta(meta, waits)
        self._engine.join.restore(opens.items(), lines, 0 if meta is None else meta.line)
        self._engine.restored()

    def _opens(self) -> Iterator[Row]:
        join, written = self._engine.join, self._written_open
        now = {**join.open, **join.lingering} if join.lingering else join.open
        for key in written - now.keys():
            yield Row(_OPEN, key, None)
        for key in (now.keys() - written) | (join.grown & now.keys()):
            yield Row(_OPEN, key, msgpack.encode(now[key]))
        self._written_open = set(now)
        join.grown.clear()

    def _lines(self) -> Iterator[Row]:
        """Lines never change while they wait."""
        now = {line.number: line for line in self._engine.join.finder.waiting()}
        for number in self._written_lines - now.keys():
            yield Row(_LINE, f"{number:012d}", None)
        for number in now.keys() - self._written_lines:
            yield Row(_LINE, f"{number:012d}", msgpack.encode(now[number]))
        self._written_lines = set(now)

    def _waits(self) -> Iterator[Row]:
        """What began to wait since the last commit is one row; it goes when the last of its events has gone."""
        frontier = self._engine.order.frontier
        for segment, last in list(self._wait_segments.items()):
            if last <= frontier:
                del self._wait_segments[segment]
                yield Row(_WAIT, segment, None)
        fresh = self._engine.order.take_fresh()
        if fresh:
            self._segments += 1
            segment = f"{self._segments:012d}"
            self._wait_segments[segment] = max(item[0] for item in fresh)
            yield Row(_WAIT, segment, msgpack.encode(fresh))

    def _closed(self) -> Iterator[Row]:
        closed = self._engine.join.closed
        if closed.turned:
            yield from (Row(_CLOSED, segment, None) for segment in self._old)
            self._old, self._young, closed.turned = self._young, [], False
        if closed.fresh:
            self._segments += 1
            key = f"{self._segments:012d}"
            self._young.append(key)
            yield Row(_CLOSED, key, bytes(closed.fresh))
            closed.fresh.clear()

    def _restore_closed(self, key: str, packed: bytes) -> None:
        closed = self._engine.join.closed
        closed.restore(packed)
        if closed.turned:
            self._old, self._young, closed.turned = self._young, [], False
        self._young.append(key)  # it may hold the end of one generation and the beginning of the next

    def _encoded_meta(self) -> bytes:
        engine = self._engine
        meta = _Meta(
            engine.order.frontier,
            engine.watermark.value,
            engine.watermark.seen,
            engine.account,
            self._segments,
            engine.join.number,
            engine.join.skews,
            engine.feed,
        )
        return msgpack.encode(meta)

    def _restore_meta(self, meta: _Meta, waits: list[Waiting]) -> None:
        engine = self._engine
        engine.order.restore(waits, meta.frontier)
        engine.watermark.value, engine.watermark.seen = meta.watermark, meta.seen
        engine.join.skews.samples, engine.join.skews.estimates = meta.skews.samples, meta.skews.estimates
        engine.feed = meta.feed
        self._segments = meta.segments
        for name in engine.account.__struct_fields__:  # the detector writes to this very object
            setattr(engine.account, name, getattr(meta.account, name))
