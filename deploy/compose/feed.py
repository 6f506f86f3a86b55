"""Puts the recording of a real Key Manager on Kafka, as its shippers would: `feed.py BROKER FOLDER`.

Audit events go to `notifications.info`, on the partitions they were recorded from; the logs go line by line to
`keymanager.logs`, each on a partition of its own. What is there already is left as it is.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

AUDIT, LOGS = "notifications.info", "keymanager.logs"
FILES = ("service.log.gz", "haproxy.log.gz", "uwsgi.log.gz")
PARTITIONS = {AUDIT: 4, LOGS: len(FILES)}
Record = tuple[str, int, bytes]


def records(folder: Path) -> Iterator[Record]:
    """All of the recording: topic, partition and value."""
    with gzip.open(folder / "cadf.jsonl.gz") as audit:
        for line in audit:
            recorded = json.loads(line)
            yield AUDIT, recorded["partition"], recorded["value"].encode()
    for partition, name in enumerate(FILES):
        with gzip.open(folder / name) as log:
            for line in log:
                yield LOGS, partition, line.rstrip(b"\n")


async def make_topics(broker: str) -> None:
    """Make both topics where they are not there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        for name, number in PARTITIONS.items():
            try:
                await admin.create_topics([NewTopic(name, number, 1)])
            except TopicAlreadyExistsError:
                sys.stdout.write(f"{name} is there\n")
    finally:
        await admin.close()


async def filled(broker: str) -> bool:
    """Whether anything stands on the topics."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker)
    await consumer.start()
    try:
        partitions = [TopicPartition(name, n) for name, number in PARTITIONS.items() for n in range(number)]
        return any((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


async def feed(broker: str, folder: Path) -> int:
    """Produce all of it; returns how many records that were, 0 if they are there already."""
    await make_topics(broker)
    if await filled(broker):
        return 0
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, linger_ms=20)
    await producer.start()
    number = 0
    try:
        for topic, partition, value in records(folder):
            await producer.send(topic, value, partition=partition)
            number += 1
    finally:
        await producer.stop()  # after everything is acknowledged
    return number


if __name__ == "__main__":
    count = asyncio.run(feed(sys.argv[1], Path(sys.argv[2])))
    sys.stdout.write(f"{count} records fed\n" if count else "the recording is there already; nothing to do\n")
