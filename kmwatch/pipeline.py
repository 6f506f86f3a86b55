"""The path of every record, from the source to the durable outbox.

Read it downwards:

    read -> decode -> step (join, order, match, detect) -> commit (state, offsets, outbox) -> tell the source

While one batch is computed, the one before it is committed and the one after it is fetched. Whoever loses the claim
on the store, or its partitions, throws its memory away and begins again from the store: nothing in here is worth
more than that.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from msgspec import MsgspecError

from kmwatch.core.ledger import Rows, note
from kmwatch.core.model import Finding, Mode, Severity
from kmwatch.core.record import Rejected
from kmwatch.core.state import Memory
from kmwatch.core.step import Engine, Output
from kmwatch.ports import (
    INVENTORY,
    Batch,
    Begun,
    Claim,
    Commit,
    Decode,
    Entry,
    Fenced,
    Inventory,
    Move,
    News,
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

SLICE = 200  # records computed, at most, between two chances for the event loop: heartbeats, deliveries, HTTP
TURN = 0.01  # seconds, about, between two of them
_stream = attrgetter("stream")
_detect = Reader().decode
_RETRY_SECONDS = 1.0
_CROWDED_SECONDS = 0.2
LOW_WATER = 0.8  # of the bounds

T = TypeVar("T")


class Observer(Protocol):
    """Who counts and tells; called once a batch, never for a record."""

    def began(self, engine: Engine) -> None:
        """A claim was taken; the engine holds what the store held."""

    def stepped(self, out: Output, engine: Engine) -> None:
        """A batch was computed."""

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


class Bounds(NamedTuple):
    """High water of the outbox, all sinks together: above it reading pauses, and goes on below LOW_WATER of it."""

    lines: int = sys.maxsize
    octets: int = sys.maxsize


class Wants(NamedTuple):
    """What a sink wants of the findings."""

    floor: Severity = Severity.INFORMATIONAL
    only: frozenset[str] | None = None  # rules; None: all
    without: frozenset[str] = frozenset()

    def takes(self, finding: Finding) -> bool:
        """Whether it wants this one."""
        rule = finding.rule
        return finding.severity >= self.floor and rule not in self.without and (self.only is None or rule in self.only)


class Router:
    """Which sinks a finding goes to: all that want its severity and rule, none in shadow mode."""

    def __init__(self, wants: Mapping[str, Wants]) -> None:
        """Take what each sink wants, by name."""
        self._wants = dict(wants)

    def route(self, finding: Finding) -> Routed:
        """A finding with its sinks."""
        if finding.mode is not Mode.ENFORCE:
            return Routed(finding, ())
        return Routed(finding, tuple([name for name, wants in self._wants.items() if wants.takes(finding)]))


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
        bounds: Bounds,
        committed: Callable[[], None],
        notices: Callable[[], list[Finding]] = list,
        inventory: Inventory | None = None,
    ) -> None:
        """Take the parts.

        Args:
            source: where records come from.
            store: where everything goes.
            make_engine: makes an engine without memory.
            router: decides on sinks.
            observer: counts and tells.
            bounds: of what may wait for delivery before reading pauses.
            committed: called after each commit that put something into the outbox, and when the store works again.
            notices: what the shell has found about itself since it was last asked, to go the way of all findings.
            inventory: tells what secrets there are.
        """
        self._source, self._store, self._make_engine = source, store, make_engine
        self._router, self._observer = router, observer
        self._bounds, self._committed, self._notices = bounds, committed, notices
        self._inventory = inventory
        self._slice = SLICE
        self._stopping = asyncio.Event()
        self._renew = False
        self.active = False
        self.standing_by = False  # everything is at hand but the claim
        self.trouble: str | None = None  # why nothing moves, for whoever asks whether we are ready
        self.engine = make_engine()

    def stop(self) -> None:
        """Finish the batch in hand, then end `run`."""
        self._stopping.set()

    def renew(self, make_engine: Callable[[], Engine], router: Router, bounds: Bounds) -> None:
        """After the batch in hand go on with other declarations, rules, sinks or bounds, and the same memory."""
        self._make_engine, self._router, self._bounds, self._renew = make_engine, router, bounds, True

    async def run(self) -> None:
        """Read until the end. Raises what the source or the store cannot get over."""
        with suppress(_Stopped):
            while not self._stopping.is_set():
                streams = await self._or_stop(self._source.assigned())
                self.standing_by = True
                claim = await self._or_stop(self._persist(self._store.claim))
                self.standing_by = False
                self._source.claimed(claim.number)
                self._committed()  # an earlier claimant may have left lines undelivered
                try:
                    await self._begin(claim, await self._or_stop(self._source.seek(claim.positions)))
                    if await self._session(streams, claim):
                        return
                except (Reassigned, Fenced) as lost:
                    self._observer.lost(str(lost) or "partitions were reassigned")
                    await self._store.resign()  # until there are partitions again, another instance may have some
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
        if self._inventory is not None:
            self._inventory.began(session.engine.secrets_told(), begun=INVENTORY in claim.positions)
        self.engine = session.engine
        self._observer.began(session.engine)
        self.active, self._renew = True, False
        writing: asyncio.Task[None] | None = None
        reading = self._read(session)
        try:
            while not (self._stopping.is_set() or self._renew):
                batch = await reading
                self._store.check()  # a fence must be heard of in quiet hours too
                if not batch.ended:
                    reading = self._read(session)  # the next batch comes while this one is computed
                commit, crowded = await self._compute(session, batch), not self._has_room(1.0)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._write(session, commit)) if commit is not None else None
                if batch.ended:
                    return True
                if crowded:
                    await self._wait_for_room(reading)
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
        engine, rejects, reads, news = session.engine, list[Reject](), Rows(), self._news(session)
        decode = batch.decode or _detect
        for start in range(0, len(batch.records), SLICE):
            rejects += self._decode(engine, decode, batch.records[start : start + SLICE])
            await asyncio.sleep(0)
        engine.advance(batch.at_end, batch.elapsed)
        notices = self._notices()
        if notices:
            engine.tell(notices)
        out = await self._work(engine)
        if batch.ended:
            engine.flush(out)
        routed = [self._router.route(finding) for finding in out.findings]
        note(reads, out.judged)
        self._observer.stepped(out, engine)
        await asyncio.sleep(0)
        if not (batch.records or news.kept or out.judged or out.findings):
            return None
        return Commit(
            session.moves(batch.records, news.kept), session.memory.changes(), routed, rejects, reads, news.kept
        )

    async def _work(self, engine: Engine) -> Output:
        """Work on what is due, in slices of about TURN: what a record costs depends on how many logs tell of it."""
        out, over, time = Output(), False, asyncio.get_running_loop().time
        while not over:
            began = time()
            _, over = engine.work(self._slice, out)
            self._slice = max(min(int(self._slice * TURN / max(time() - began, TURN / SLICE)), SLICE), 1)
            await asyncio.sleep(0)
        return out

    def _news(self, session: _Session) -> News:
        """Take what the inventory tells, at this place in event time."""
        if self._inventory is None:
            return News([], [])
        engine = session.engine
        news = self._inventory.take(engine.moment(), session.next(INVENTORY), waited_for=engine.parked > 0)
        engine.stock(INVENTORY, news.records)
        return news

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
        told = {move.stream: move.next for move in commit.moves if move.stream != INVENTORY}  # no source's
        if told:
            await self._source.committed(told)

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have the store do it, however long it is in trouble; raises StoreError only where we are to stop."""
        told: str | None = None
        try:
            while True:
                try:
                    result = await work()
                except StoreError as error:
                    told = self.trouble = str(error)
                    self._observer.store_failed(told)
                    if self._stopping.is_set():
                        raise
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    if told is not None:
                        self._committed()  # the store works again, and deliveries may wait for that
                    return result
        finally:
            if told is not None and self.trouble == told:
                self.trouble = None

    def _has_room(self, part: float) -> bool:
        """Whether less than that part of the bounds is taken."""
        lines, octets = self._store.backlog(), self._store.backlog_octets()
        return lines < part * self._bounds.lines and octets < part * self._bounds.octets

    async def _wait_for_room(self, reading: asyncio.Future[Batch]) -> None:
        """Hold the source until the outbox is below its low water.

        Raises Fenced: whoever is fenced delivers nothing, so waits in vain.
        """
        self._observer.crowded(self._store.backlog())
        await asyncio.wait({reading})  # a source does one thing at a time; what it brings waits with us
        while not self._has_room(LOW_WATER) and not self._stopping.is_set():
            self.trouble = (
                f"outbox full: {self._store.backlog()} lines of {self._store.backlog_octets()} octets wait for sinks"
                f" (limits.outbox {self._bounds.lines}, limits.outbox_bytes {self._bounds.octets}); reading pauses"
                f" until {LOW_WATER:.0%} of that"
            )
            await self._persist(lambda: self._store.commit(Commit([], [], [], [])))  # changes nothing: asks the fence
            await self._or_stop(self._source.hold(_CROWDED_SECONDS))
        self.trouble = None

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

    def next(self, stream: str) -> int:
        """The offset that comes next."""
        return self._positions.get(stream, 0)

    def moves(self, records: Sequence[Record], entries: Sequence[Entry]) -> list[Move]:
        """How a batch, with what the inventory told beside it, moves the positions of its streams."""
        nexts: dict[str, int] = {}
        for record in records:
            nexts[record.stream] = record.offset + 1
        for entry in entries:
            nexts[entry.stream] = entry.number + 1
        moves = [Move(stream, self._positions.get(stream), offset) for stream, offset in nexts.items()]
        self._positions.update(nexts)
        return moves


def _reject(record: Record, result: Rejected) -> Reject:
    return Reject(record.stream, record.offset, result.reason.value, result.detail, redacted(record.value))
