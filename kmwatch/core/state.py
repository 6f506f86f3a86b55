"""The engine's memory as rows: what changed since the last commit, and the way back.

A commit writes only what changed. Open requests and waiting events are written when a batch ends with them still
open or waiting; most are gone before that and are never written at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct, field, msgpack

from kmwatch.core.account import Account
from kmwatch.core.join import OpenRequest
from kmwatch.core.model import Micros
from kmwatch.core.order import Waiting
from kmwatch.core.step import Engine

_OPEN, _WAIT, _CLOSED, _META = "open", "wait", "closed", "meta"
_open = msgpack.Decoder(OpenRequest).decode
_waiting = msgpack.Decoder(Waiting).decode


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
    segments: int = 0
    evicted: dict[str, int] = field(default_factory=dict)


_meta = msgpack.Decoder(_Meta).decode


class Memory:
    """Knows which of an engine's state is written, so that it can tell what is to be written next."""

    def __init__(self, engine: Engine) -> None:
        """Watch over an engine that is new, or about to be restored."""
        self._engine = engine
        self._written_open: set[str] = set()
        self._written_wait: set[str] = set()
        self._segments = 0
        self._young: list[str] = []
        self._old: list[str] = []

    def changes(self) -> list[Row]:
        """The rows that bring the stored state up to the engine's; call once for each commit."""
        rows = [*self._opens(), *self._waits(), *self._closed()]
        for keyed in self._engine.detector.states():
            rows.extend(Row(keyed.name, key, value) for key, value in keyed.take_changes())
        rows.append(Row(_META, "engine", self._encoded_meta()))
        return rows

    def restore(self, rows: Iterable[Row]) -> None:
        """Bring a new engine to the stored state. Rows of one kind come in the order they were last written."""
        keyed = {state.name: state for state in self._engine.detector.states()}
        opens: dict[str, OpenRequest] = {}
        waits: list[Waiting] = []
        meta: _Meta | None = None
        for row in rows:
            value = row.value or b""
            if row.kind == _OPEN:
                opens[row.key] = _open(value)
            elif row.kind == _WAIT:
                waits.append(_waiting(value))
                self._written_wait.add(row.key)
            elif row.kind == _CLOSED:
                self._restore_closed(row.key, value)
            elif row.kind == _META:
                meta = _meta(value)
            elif row.kind in keyed:  # state of a rule that is off now stays stored, unread
                keyed[row.kind].restore(row.key, value)
        self._written_open = set(opens)
        self._engine.join.restore(opens.items())
        if meta is not None:
            self._restore_meta(meta, waits)
        self._engine.detector.restored()

    def _opens(self) -> Iterator[Row]:
        join = self._engine.join
        for key in join.changed:
            request = join.open.get(key)
            if request is not None:
                self._written_open.add(key)
                yield Row(_OPEN, key, msgpack.encode(request))
            elif key in self._written_open:
                self._written_open.discard(key)
                yield Row(_OPEN, key, None)
        join.changed.clear()

    def _waits(self) -> Iterator[Row]:
        now = {f"{item.event_time:020d} {item.event_id}": item for item in self._engine.order.waiting}
        for key in self._written_wait - now.keys():
            yield Row(_WAIT, key, None)
        for key in now.keys() - self._written_wait:
            yield Row(_WAIT, key, msgpack.encode(now[key]))
        self._written_wait = set(now)

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
        self._young.append(key)
        closed.restore(packed)
        if closed.turned:
            self._old, self._young, closed.turned = self._young, [], False

    def _encoded_meta(self) -> bytes:
        engine = self._engine
        meta = _Meta(
            engine.order.frontier,
            engine.watermark.value,
            engine.watermark.seen,
            engine.account,
            self._segments,
        )
        return msgpack.encode(meta)

    def _restore_meta(self, meta: _Meta, waits: list[Waiting]) -> None:
        engine = self._engine
        engine.order.restore(waits, meta.frontier)
        engine.watermark.value, engine.watermark.seen = meta.watermark, meta.seen
        self._segments = meta.segments
        for name in engine.account.__struct_fields__:  # the detector writes to this very object
            setattr(engine.account, name, getattr(meta.account, name))
