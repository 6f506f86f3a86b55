"""The raw loop, and nothing else: aiokafka getmany of 5000, orjson on the envelope and on its content.

Lines of text (in the benchmark of all witnesses) are fetched, and nothing else is done with them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition


async def main(bootstrap: str, topic: str, count: int, *, notifications: bool) -> None:
    """Read the topic once and print records a second, from the first fetch on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=5000)
    await consumer.start()
    parts = [TopicPartition(topic, number) for number in range(4)]
    consumer.assign(parts)
    await consumer.seek_to_beginning(*parts)
    seen, begun = 0, 0.0
    while seen < count:
        for records in (await consumer.getmany(timeout_ms=200, max_records=5000)).values():
            begun = begun or time.perf_counter()
            for record in records if notifications else ():
                orjson.loads(orjson.loads(record.value)["oslo.message"])
            seen += len(records)
    took = time.perf_counter() - begun
    await consumer.stop()
    sys.stdout.buffer.write(orjson.dumps({"rate": seen / took}))


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), notifications=sys.argv[2] == "bench"))
