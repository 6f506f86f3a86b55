"""Kafka through aiokafka. The store owns the offsets; the group only says who reads, and shows lag to other tools.

What aiokafka does by itself and would lose data is off: no auto-commit, no offset reset, no positions from the
group. After each assignment the partitions are paused until `seek` has set every position and checked it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from kmwatch.clock import Clock
from kmwatch.core.model import SECOND, Micros
from kmwatch.kafka.trouble import PASSED_ON, diagnose, explained
from kmwatch.ports import Batch, Begun, Decode, PositionError, Reassigned, Record, SourceError
from kmwatch.sources.assignor import SingleActive
from kmwatch.sources.pace import Pace
from kmwatch.sources.positions import Known, decide, partition_of, stream_of

_FUTURE_MS = 60_000  # a stamp further ahead of our clock than this is clamped to it; -1 means there is none
_READ_MS = 200
# A broker answers when it has so much, or after so long: each batch costs a commit, and one of five records nearly as
# much as one of fifty. At 1000 records/s this halves the processor's load, and findings come no later.
_GATHER_BYTES, _GATHER_MS = 65_536, 50
_FOREVER_MS = 86_400_000
_METADATA_MS = 10_000  # how soon a new partition, or a topic that is made at last, is noticed
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 1.0
_QUIET_SECONDS = 0.5  # a partition that was at its end only this moment ago still has something to say
_COMMIT_SECONDS = 5.0  # the group's offsets are for others to look at: no reason to wait long for them
_CLOSE_SECONDS = 10.0
_INSECURE = {"security_protocol": "PLAINTEXT", "sasl_mechanism": "PLAIN"}  # aiokafka's own defaults, else None


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Pauses what is assigned before a record of it can be fetched; everything else is done in our own loop."""

    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002
        self._source.changed(())

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._source.changed(assigned)


class KafkaSource:
    """See `ports.Source`. Streams are named topic/partition."""

    def __init__(  # noqa: PLR0913  (independent settings, by keyword)
        self,
        *,
        bootstrap: list[str],
        topics: list[str],
        group: str,
        start: str,
        clock: Clock,
        session_timeout: Micros = 45 * SECOND,
        security: Mapping[str, object] | None = None,
        max_records: int = 5000,
        stuck_after: float = 300.0,
        accept_gap: bool = False,
        decode: Decode | None = None,
    ) -> None:
        """Describe the consumer; `assigned` connects it.

        Args:
            bootstrap: host:port of brokers.
            topics: what to read, all partitions of it.
            group: the consumer group.
            start: "earliest" or "latest": where a topic begins that the store has never seen.
            clock: for idle time and for clamping stamps of the future.
            session_timeout: how long the group waits for a silent member.
            security: aiokafka's own security arguments.
            max_records: most records of one read.
            stuck_after: seconds without progress in spite of lag after which `read` gives up (known in aiokafka
                after broker restarts); whoever supervises the process starts it again.
            accept_gap: go on where records are missing, and count them, instead of refusing.
            decode: how records are read; see `ports.Batch`.
        """
        self._decode = decode
        self._assignor = SingleActive.for_consumer()
        self._consumer: AIOKafkaConsumer | None = None
        self._arguments = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "session_timeout_ms": session_timeout // 1000,
            "heartbeat_interval_ms": max(session_timeout // 15_000, 500),
            "metadata_max_age_ms": _METADATA_MS,
            "fetch_min_bytes": _GATHER_BYTES,
            "fetch_max_wait_ms": _GATHER_MS,
            "max_poll_interval_ms": _FOREVER_MS,  # back-pressure may hold us; the watchdog is our own
            "partition_assignment_strategy": [self._assignor],
            "client_id": "kmwatch",
            **(security or {}),
        }
        self._bootstrap, self._topics, self._group, self._start = bootstrap, topics, group, start
        self._clock, self._max_records = clock, max_records
        self._stuck_after, self._session_timeout = stuck_after, session_timeout
        self._accept_gap = accept_gap
        self._pace: Pace[TopicPartition] = Pace()
        self._untold: dict[TopicPartition, int] = {}
        self._told = 0.0
        self._assignment = asyncio.Event()
        self._parts: list[TopicPartition] = []
        self._sought = self._held = False
        self._at_end: frozenset[str] = frozenset()
        self._moved = clock.monotonic()
        self._spoke: dict[TopicPartition, float] = {}  # when each partition last gave a record

    def changed(self, assigned: Iterable[TopicPartition]) -> None:
        """Note a rebalance; called by aiokafka between two awaits of ours."""
        self._parts = sorted(assigned)
        self._sought, self._held, self._untold = False, False, {}
        if self._consumer is not None and self._parts:
            self._consumer.pause(*self._parts)
        if self._parts:
            self._assignment.set()
        else:
            self._assignment.clear()

    def secure(self, security: Mapping[str, object]) -> None:
        """Log in with this from the next connection on; those that are open stay open.

        Args:
            security: aiokafka's own security arguments, complete.
        """
        self._arguments = {name: value for name, value in self._arguments.items() if name not in PASSED_ON}
        self._arguments |= security
        if self._consumer is not None:
            for name in PASSED_ON:  # aiokafka has no public way; it reads them anew for each connection
                setattr(self._consumer._client, f"_{name}", security.get(name, _INSECURE.get(name)))  # noqa: SLF001

    def claimed(self, number: int) -> None:
        """This member holds the store's claim of that number: it should keep the partitions."""
        self._assignor.claim = number

    async def assigned(self) -> list[str]:
        """Connect if need be, and wait until this member is the active one.

        The group is asked once more before the answer: whoever slept past its session still believes in its old
        partitions, and would take the store away from the member that replaced it.
        """
        if self._consumer is None:
            await self._connect()
        try:
            while not (self._assignment.is_set() and await self._is_member()):
                self._connected()._coordinator.check_errors()  # noqa: SLF001  (or a refusal would be waited out)
                self._check_topics()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._reassignment()
        except KafkaError as error:
            raise self._refusal(error) from error
        return [stream_of(part) for part in self._parts]

    async def seek(self, positions: Mapping[str, int]) -> Begun:
        """Set and check the position of every partition, then let them be fetched."""
        consumer, parts = self._connected(), list(self._parts)
        try:
            first = await consumer.beginning_offsets(parts)
            last = await consumer.end_offsets(parts)
            known = {
                stream_of(part): Known(
                    positions.get(stream_of(part)), await consumer.committed(part), first[part], last[part]
                )
                for part in parts
            }
            begun = Begun(*decide(known, self._start, accept_gap=self._accept_gap))
            for stream, offset in begun.starts.items():
                consumer.seek(partition_of(stream), offset)
        except (IllegalStateError, KafkaError) as error:
            if isinstance(error, IllegalStateError) or parts != self._parts:
                raise Reassigned from error
            raise self._refusal(error) from error
        if parts != self._parts:
            raise Reassigned
        consumer.resume(*parts)
        self._sought = True
        self._moved = self._clock.monotonic()
        self._spoke = dict.fromkeys(parts, self._moved)
        return begun

    async def read(self, progress: Mapping[str, Micros | None]) -> Batch:  # noqa: ARG002  (records have stamps)
        """Fetch what there is, waiting a fifth of a second at most."""
        consumer = self._connected()
        if not self._sought:
            raise Reassigned
        if self._held:
            self._release(consumer)
        try:
            fetched = await self._fetch(consumer)
        except NoOffsetForPartitionError:
            return Batch([])  # raised for the moment between assignment and seek
        except OffsetOutOfRangeError as error:
            raise PositionError(
                f"{error}: the offset is no longer in the topic; start again for the whole story"
            ) from error
        except KafkaError as error:
            raise self._refusal(error) from error
        await self._tell_if_due()
        if not self._sought:
            raise Reassigned
        return self._batch(fetched)

    async def hold(self, seconds: float) -> None:
        """Pause the partitions and go on asking for nothing, which keeps aiokafka from leaving the group."""
        consumer = self._connected()
        if not self._sought:
            raise Reassigned
        try:
            consumer.pause(*self._parts)
            self._held = True
            await consumer.getmany(timeout_ms=int(seconds * 1000))
        except IllegalStateError as error:
            raise Reassigned from error
        except KafkaError as error:
            raise self._refusal(error) from error
        if not self._sought:
            raise Reassigned

    def _release(self, consumer: AIOKafkaConsumer) -> None:
        self._held = False
        consumer.resume(*self._parts)
        self._moved = self._clock.monotonic()
        self._spoke = dict.fromkeys(self._parts, self._moved)

    async def committed(self, positions: Mapping[str, int]) -> None:
        """Tell the group, for lag tools only, and so once a second at most; a failure here loses nothing."""
        self._untold |= {partition_of(stream): offset for stream, offset in positions.items()}
        await self._tell_if_due()

    async def _tell_if_due(self) -> None:
        if self._untold and self._clock.monotonic() - self._told >= _TELL_SECONDS:
            await self._tell()

    async def _tell(self) -> None:
        offsets, self._untold, self._told = self._untold, {}, self._clock.monotonic()
        if offsets and self._consumer is not None and self._sought:
            with suppress(CommitFailedError, IllegalStateError, KafkaError, ValueError, TimeoutError):
                async with asyncio.timeout(_COMMIT_SECONDS):  # aiokafka would wait for a broker for ever
                    await self._consumer.commit(offsets)

    def lag(self) -> Mapping[str, int]:
        """How far each partition is behind its end."""
        out: dict[str, int] = {}
        if self._consumer is not None and self._sought:
            with suppress(IllegalStateError):
                for part in self._parts:
                    high, position = self._consumer.highwater(part), self._position(part)
                    if high is not None and position is not None:
                        out[stream_of(part)] = max(0, high - position)
        return out

    async def close(self) -> None:
        """Leave the group, so that a standby need not wait for the session to time out."""
        if self._consumer is None:
            return
        await self._tell()
        # In a task of its own: with the broker away, aiokafka can let the cancellation of its own tasks escape.
        leaving = asyncio.ensure_future(self._consumer.stop())
        self._consumer = None
        await asyncio.wait({leaving}, timeout=_CLOSE_SECONDS)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

    async def _is_member(self) -> bool:
        """Whether the group still counts this member in."""
        coordinator = self._connected()._coordinator  # noqa: SLF001  (aiokafka has no public way to ask)
        if not coordinator.member_id:  # it was put out, and is about to join again
            return False
        return bool(await coordinator._do_heartbeat()) and self._assignment.is_set()  # noqa: SLF001

    def _check_topics(self) -> None:
        """Raise what aiokafka only logs: a topic that an ACL hides would be waited for without end."""
        hidden = set(self._connected()._client.cluster.unauthorized_topics) & set(self._topics)  # noqa: SLF001
        if hidden:
            raise TopicAuthorizationFailedError(*sorted(hidden))

    def _refusal(self, error: KafkaError) -> SourceError:
        needs = f"needs Read on the topics {', '.join(self._topics)} and on the group {self._group}"
        hint = f"; this user {needs}" if "ACL" in (text := explained(error).message) else ""
        return SourceError(f"Kafka at {', '.join(self._bootstrap)}, group {self._group}: {text}{hint}")

    async def _reassignment(self) -> None:
        """Wait for partitions; where they are ours by name only, for the rebalance that must come."""
        while self._assignment.is_set():  # noqa: ASYNC110  (the caller looks again in a second anyway)
            await asyncio.sleep(_READ_MS / 1000)
        await self._assignment.wait()

    async def _fetch(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        """A share of every partition that is not at its end, so that all advance through event time together.

        `getmany` by itself drains one partition before it looks at the next.
        """
        ends = self._ends()
        behind = [part for part in self._parts if stream_of(part) not in ends]
        shares = self._pace.shares(behind, self._max_records)
        fetched: dict[TopicPartition, list[ConsumerRecord]] = {}
        for part, share in shares.items():
            try:
                fetched.update(await consumer.getmany(part, timeout_ms=_READ_MS, max_records=share))
                await asyncio.sleep(0)  # what has arrived is unpacked without a pause, and that takes its time
            except NoOffsetForPartitionError:
                continue  # left over from the moment between assignment and seek
            except KafkaError:
                if not fetched:
                    raise
                break  # aiokafka has gone on past what we hold, so that must not be lost; the error comes again
        self._pace.took({part: (records[-1].timestamp, len(records)) for part, records in fetched.items() if records})
        return fetched or await consumer.getmany(timeout_ms=_READ_MS, max_records=self._max_records)

    async def _connect(self) -> None:
        consumer = AIOKafkaConsumer(**self._arguments)
        try:
            await consumer.start()
            self._consumer = consumer
            self._join(consumer)
        except Exception as error:
            with suppress(Exception):
                await consumer.stop()
            trouble = await diagnose(self._bootstrap, self._arguments, error)
            message = f"cannot use Kafka at {', '.join(self._bootstrap)}: {trouble.message} (sources.kafka)"
            raise SourceError(message) from error

    def _join(self, consumer: AIOKafkaConsumer) -> None:
        """Ask the group for partitions."""
        consumer.subscribe(self._topics, listener=_Listener(self))

    def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise Reassigned
        return self._consumer

    def _batch(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> Batch:
        latest = int(self._clock.now() * 1000) + _FUTURE_MS
        records = [
            Record(stream, r.offset, r.value or b"", (min(r.timestamp, latest)) * 1000)
            for part in sorted(fetched)
            for stream in (stream_of(part),)
            for r in fetched[part]
        ]
        now = self._clock.monotonic()
        self._spoke |= dict.fromkeys(fetched, now)
        at_end = self._ends() & {stream_of(part) for part in self._parts if now - self._spoke[part] >= _QUIET_SECONDS}
        if records:
            self._moved = now
            return Batch(records, at_end, decode=self._decode)
        if len(at_end) == len(self._parts):
            return Batch(records, at_end, int((now - self._moved) * SECOND))
        if now - self._moved > self._stuck_after and sum(self.lag().values()) > 0:
            message = f"no record of {self._topics} in {self._stuck_after:.0f} s although the group {self._group} lags"
            raise SourceError(f"{message}; the process ends so that its supervisor starts it afresh")
        return Batch(records, at_end)

    def _ends(self) -> frozenset[str]:
        consumer, out = self._connected(), []
        with suppress(IllegalStateError):
            for part in self._parts:
                high, position = consumer.highwater(part), self._position(part)
                if high is not None and position is not None and position >= high:
                    out.append(stream_of(part))
        return frozenset(out)

    def _position(self, part: TopicPartition) -> int | None:
        """The offset that `getmany` gives next; the public `position` is a coroutine that may wait."""
        state = self._connected()._subscription.subscription.assignment.state_value(part)  # noqa: SLF001
        return state.position if state is not None and state.has_valid_position else None
