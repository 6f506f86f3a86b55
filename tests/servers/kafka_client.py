"""What tests ask of a broker: topics, records in, records out."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


class KafkaClient:
    """Short-lived clients of the broker at `bootstrap`; every call connects, does its work and leaves."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def create_topic(self, name: str | None = None, partitions: int = 1, **configs: str) -> str:
        """Create a topic and return its name, a fresh one if none is given. The broker creates none unasked.

        Args:
            name: the topic's name.
            partitions: how many partitions it has.
            configs: the topic's settings, with `_` for `.` (`retention_ms="1"`).
        """
        topic = name or f"topic-{uuid.uuid4().hex[:12]}"
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=settings)])
        finally:
            await admin.close()
        for _, code, *rest in answer.topic_errors:
            assert code == 0, f"topic {topic} was not created: error {code} {rest}"
        return topic

    async def produce(
        self, topic: str, partition: int, values: Sequence[bytes], *, compression: str | None = None
    ) -> list[int]:
        """Write records to one partition, in order; return their offsets once the broker has them.

        Args:
            topic: an existing topic.
            partition: the partition to write to.
            values: the records' values; they have no key, as oslo.messaging's have none.
            compression: None, gzip, snappy, lz4 or zstd.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=compression,
            enable_idempotence=True,
            linger_ms=5,  # batches of many records, as real producers send them
        )
        await producer.start()
        try:
            sent = [await producer.send(topic, value, partition=partition) for value in values]
            return [(await receipt).offset for receipt in sent]
        finally:
            await producer.stop()

    async def read(self, topic: str, count: int) -> dict[int, list[bytes]]:
        """Read a topic from its beginning until `count` records came; return their values by partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        partitions = [TopicPartition(topic, number) for number in range(await self.partitions(topic))]
        await consumer.start()
        try:
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            values: dict[int, list[bytes]] = {}
            while sum(map(len, values.values())) < count:
                for where, records in (await consumer.getmany(timeout_ms=1000)).items():
                    values.setdefault(where.partition, []).extend(record.value for record in records)
            return values
        finally:
            await consumer.stop()

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            (description,) = await admin.describe_topics([topic])
        finally:
            await admin.close()
        return len(description["partitions"])
