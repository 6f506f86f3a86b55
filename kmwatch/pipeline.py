"""The path of every record, from the source to the durable outbox.

Read it downwards:

    read -> decode -> step (join, order, match, detect) -> commit (state, offsets, outbox) -> tell the source

While one batch is computed, the one before it is committed and the one after it is fetched. Whoever loses the claim
on the store, or its partitions, throws its memory away and begins again from the store: nothing in here is worth
more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import Protocol, TypeVar

from msgspec import MsgspecError

from kmwatch.core.model import Finding, Mode, Severity
from kmwatch.core.record import Rejected
from kmwatch.core.state import Memory
from kmwatch.core.step import Engine, Output
from kmwatch.ports import (
    Batch,
    Begun,
    Claim,
    Commit,
    Decode,
    Fenced,
    Move,
    Reassigned,
    Record,
    Reject,
    Routed,
    Source,
    StateError,
    Store,
    StoreError,
)
from kmwatch.store.redact import redacted
from kmwatch.wire.decode import Reader

SLICE = 500  # records computed between two chances for the event loop: heartbeats, deliveries, HTTP
_stream = attrgetter("stream")
_detect = Reader().decode
_RETRY_SECONDS = 1.0
_CROWDED_SECONDS = 0.2

T = TypeVar("T")


class Observer(Protocol):
    """Who counts and tells; called once a batch, never for a record."""

    def began(self, engine: Engine) -> None:
        """A claim was taken; the engine holds what the store held."""

    def stepped(self, out: Output, engine: Engine) -> None:
        """A slice of a batch was computed."""

    def committed(self, engine: Engine) -> None:
        """A batch is durable."""

    def lost(self, why: str) -> None:
        """The claim or the partitions went to another instance."""

    def store_failed(self, error: str) -> None:
        """A commit failed and will be tried again."""

    def gaps(self, gaps: Mapping[str, int]) -> None:
        """Records are missing before the start, and the operator has accepted it."""

    def crowded(self, waiting: int) -> None:
        """The outbox is full; reading pauses until sinks have taken some."""


class Router:
    """Which sinks a finding goes to: all that want its severity, none in shadow mode."""

    def __init__(self, floors: Mapping[str, Severity]) -> None:
        """Take the least severity of each sink, by name."""
        self._floors = dict(floors)

    def route(self, finding: Finding) -> Routed:
        """A finding with its sinks."""
        if finding.mode is not Mode.ENFORCE:
            return Routed(finding, ())
        return Routed(finding, tuple(name for name, floor in self._floors.items() if finding.severity >= floor))


class Pipeline:
    """Runs until its source ends or `stop` is called."""

    def __init__(  # noqa: PLR0913  (this is where it is put together)
        self,
        source: Source,
        store: Store,
        make_engine: Callable[[], Engine],
        router: Router,
        observer: Observer,
        *,
        crowded: int,
        committed: Callable[[], None],
        notices: Callable[[], list[Finding]] = list,
    ) -> None:
        """Take the parts.

        Args:
            source: where records come from.
            store: where everything goes.
            make_engine: makes an engine without memory.
            router: decides on sinks.
            observer: counts and tells.
            crowded: pause reading while this many lines wait for delivery.
            committed: called after each commit that put something into the outbox.
            notices: what the shell has found about itself since it was last asked, to go the way of all findings.
        """
        self._source, self._store, self._make_engine = source, store, make_engine
        self._router, self._observer = router, observer
        self._crowded, self._committed, self._notices = crowded, committed, notices
        self._stopping = asyncio.Event()
        self._renew = False
        self.active = False
        self.engine = make_engine()

    def stop(self) -> None:
        """Finish the batch in hand, then end `run`."""
        self._stopping.set()

    def renew(self, make_engine: Callable[[], Engine], router: Router) -> None:
        """After the batch in hand go on with other declarations, rules or sinks, and the same memory."""
        self._make_engine, self._router, self._renew = make_engine, router, True

    async def run(self) -> None:
        """Read until the end. Raises what the source or the store cannot get over."""
        with suppress(_Stopped):
            while not self._stopping.is_set():
                streams = await self._or_stop(self._source.assigned())
                claim = await self._persist(self._store.claim)
                self._source.claimed(claim.number)
                self._committed()  # an earlier claimant may have left lines undelivered
                try:
                    await self._begin(claim, await self._or_stop(self._source.seek(claim.positions)))
                    if await self._session(streams, claim):
                        return
                except (Reassigned, Fenced) as lost:
                    self._observer.lost(str(lost) or "partitions were reassigned")
                finally:
                    self.active = False

    async def _begin(self, claim: Claim, begun: Begun) -> None:
        """Store where streams begin, if the source has chosen that: the next start must not choose again.

        Otherwise a topic read from its latest record on would lose what comes while kmwatch is down, and one of
        its partitions that has had no record yet would be read from its first.
        """
        if begun.gaps:
            self._observer.gaps(begun.gaps)
        known = claim.positions
        moves = [Move(stream, known.get(stream), at) for stream, at in begun.starts.items() if known.get(stream) != at]
        if moves:
            await self._persist(lambda: self._store.commit(Commit(moves, [], [], [])))
            known.update({move.stream: move.next for move in moves})

    async def _session(self, streams: Sequence[str], claim: Claim) -> bool:
        """Read with one claim; returns whether the input has ended."""
        session = _Session(self._make_engine(), claim)
        session.engine.watermark.expect(streams)
        self.engine = session.engine
        self._observer.began(session.engine)
        self.active, self._renew = True, False
        writing: asyncio.Task[None] | None = None
        reading = self._read(session)
        try:
            while not (self._stopping.is_set() or self._renew):
                batch = await reading
                if not batch.ended:
                    reading = self._read(session)  # the next batch comes while this one is computed
                commit, crowded = await self._compute(session, batch), self._store.backlog() >= self._crowded
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(session, commit)) if commit is not None else None
                if batch.ended:
                    return True
                if crowded:
                    await self._wait_for_room()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # its failure is heard of, or no longer matters
            if writing is not None:
                await writing
        return False

    def _read(self, session: _Session) -> asyncio.Future[Batch]:
        return asyncio.ensure_future(self._or_stop(self._source.read(session.engine.watermark.seen)))

    async def _compute(self, session: _Session, batch: Batch) -> Commit | None:
        """Decode a batch, put it in order, and work on what is due, in slices; returns what to write, if anything."""
        engine, rejects, routed = session.engine, list[Reject](), list[Routed]()
        changed, decode = bool(batch.records), batch.decode or _detect
        for start in range(0, len(batch.records), SLICE):
            rejects += self._decode(engine, decode, batch.records[start : start + SLICE])
            await asyncio.sleep(0)
        engine.advance(batch.at_end, batch.elapsed)
        over, notices = False, self._notices()
        if notices:
            engine.tell(notices)
        while not over:
            out, over = engine.work(SLICE)
            outputs = [out, engine.flush()] if over and batch.ended else [out]
            for output in outputs:
                changed = changed or bool(output.judged or output.findings)
                routed += [self._router.route(finding) for finding in output.findings]
                self._observer.stepped(output, engine)
            await asyncio.sleep(0)
        if not changed:
            return None
        return Commit(session.moves(batch.records), session.memory.changes(), routed, rejects)

    def _decode(self, engine: Engine, decode: Decode, records: Sequence[Record]) -> list[Reject]:
        """Decode a slice, stream by stream; returns what could not be read."""
        rejects = []
        for stream, of_stream in groupby(records, key=_stream):
            part = list(of_stream)
            decoded = [decode(record.value, record.timestamp) for record in part]
            stamps = [record.timestamp for record in part]
            rejects += [_reject(part[number], why) for number, why in engine.take(stream, decoded, stamps)]
        return rejects

    async def _write(self, session: _Session, commit: Commit) -> None:
        await self._persist(lambda: self._store.commit(commit))
        self._observer.committed(session.engine)
        if commit.routed:
            self._committed()
        if commit.moves:
            await self._source.committed({move.stream: move.next for move in commit.moves})

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have the store do it, however long it is in trouble; raises StoreError only where we are to stop."""
        while True:
            try:
                return await work()
            except StoreError as error:
                self._observer.store_failed(str(error))
                if self._stopping.is_set():
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def _wait_for_room(self) -> None:
        """Hold back while the outbox is full. Raises Fenced: whoever is fenced delivers nothing, so waits in vain."""
        self._observer.crowded(self._store.backlog())
        while self._store.backlog() >= self._crowded and not self._stopping.is_set():
            await self._persist(lambda: self._store.commit(Commit([], [], [], [])))  # changes nothing: asks the fence
            await asyncio.sleep(_CROWDED_SECONDS)

    async def _or_stop(self, wanted: Awaitable[T]) -> T:
        """What the source answers; raises _Stopped if we are to stop before it does."""
        work = asyncio.ensure_future(wanted)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise _Stopped
        finally:
            stop.cancel()
            work.cancel()
            await asyncio.wait({work, stop})


class _Stopped(Exception):  # noqa: N818  (an event, not a failure)
    """We were told to stop while we waited."""


class _Session:
    """What one claim on the store holds in memory."""

    def __init__(self, engine: Engine, claim: Claim) -> None:
        self.engine = engine
        self.memory = Memory(engine)
        try:
            self.memory.restore(claim.rows)
        except (MsgspecError, ValueError) as error:
            message = f"the store's state cannot be read: {error}. Another release has written it, or it is damaged"
            raise StateError(f"{message}; run the release that wrote it, or restore a backup") from error
        self._positions = dict(claim.positions)

    def moves(self, records: Sequence[Record]) -> list[Move]:
        """How a batch moves the positions of its streams."""
        nexts: dict[str, int] = {}
        for record in records:
            nexts[record.stream] = record.offset + 1
        moves = [Move(stream, self._positions.get(stream), offset) for stream, offset in nexts.items()]
        self._positions.update(nexts)
        return moves


def _reject(record: Record, result: Rejected) -> Reject:
    return Reject(record.stream, record.offset, result.reason.value, result.detail, redacted(record.value))
