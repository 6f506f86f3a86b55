"""Kafka for a store that elects its one active instance: no consumer group decides anything here.

Two electors could disagree: the group would hand the partitions to one instance while the database has chosen
another, and after a kill the group waits out its session before it lets anybody have them. So the partitions are
taken by an assignment of our own, by whoever the store elects; the store's epoch and offsets are the fence
(docs/adr/0003, 0008). The group's name only carries offsets, for lag tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError

from kmwatch.core.model import SECOND, Micros
from kmwatch.ports import Batch, Begun, Reassigned
from kmwatch.sources.kafka import KafkaSource
from kmwatch.sources.positions import stream_of

_LOOK_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class ElectedKafkaSource(KafkaSource):
    """See `ports.Source`. `assigned` names all partitions at once: the claim that follows it is what takes time."""

    _heard = 0.0  # when Kafka last told of the partitions
    _looking: asyncio.Task[list[TopicPartition]] | None = None

    async def assigned(self) -> list[str]:
        """Connect if need be, and wait until Kafka tells of partitions."""
        await self._look_no_more()
        if self._consumer is None:
            await self._connect()
        while not (parts := await self._partitions_or_none()):  # noqa: ASYNC110  (Kafka sends no event)
            await asyncio.sleep(_RETRY_SECONDS)
        self._connected().assign(parts)
        self.changed(parts)
        return [stream_of(part) for part in self._parts]

    async def seek(self, positions: Mapping[str, int]) -> Begun:
        """As any source; raises Reassigned where partitions came while this instance stood by."""
        if await self._partitions_or_none() != self._parts:
            raise Reassigned("the partitions changed")
        return await super().seek(positions)

    async def read(self, progress: Mapping[str, Micros | None]) -> Batch:
        """As any source.

        Raises:
            Reassigned: there are other partitions now; or Kafka was not heard of for the time of a session, and
                another instance may reach it.
        """
        now = self._clock.monotonic()
        if self._looking is None and now - self._heard >= _LOOK_SECONDS:
            self._looking = asyncio.ensure_future(self._partitions())
        if self._looking is not None and self._looking.done():
            looked, self._looking = self._looking, None
            if looked.exception() is None and looked.result() != self._parts:
                raise Reassigned("the partitions changed")
        if now - self._heard > self._session_timeout / SECOND:
            raise Reassigned("Kafka does not answer")
        return await super().read(progress)

    async def close(self) -> None:
        """Leave."""
        await self._look_no_more()
        await super().close()

    def _join(self, consumer: AIOKafkaConsumer) -> None:
        """There is no group to join."""

    async def _partitions_or_none(self) -> list[TopicPartition] | None:
        try:
            return await self._partitions()
        except (KafkaError, OSError, TimeoutError):
            return None

    async def _partitions(self) -> list[TopicPartition]:
        """Every partition of every topic, asked anew. Raises KafkaError, OSError or TimeoutError."""
        cluster = ClusterMetadata()
        async with asyncio.timeout(_LOOK_SECONDS):
            if not await self._connected()._client._metadata_update(cluster, list(self._topics)):  # noqa: SLF001
                raise KafkaError("no broker tells of the topics")
        self._heard = self._clock.monotonic()
        return sorted(TopicPartition(t, n) for t in self._topics for n in cluster.partitions_for_topic(t) or ())

    async def _look_no_more(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await looking
