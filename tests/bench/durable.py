"""The daemon over the same topic: from the first fetch to the commit of the last record, detections and sinks on."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from pathlib import Path

import orjson

from kmwatch.app import App
from kmwatch.clock import SystemClock
from kmwatch.config.load import load
from kmwatch.core.step import Engine
from kmwatch.ports import Batch, Source
from kmwatch.sources.kafka import KafkaSource
from kmwatch.telemetry.logs import configure

_BEAT = 0.002


class _Stalls:
    """The longest time that the event loop gave nobody else a turn."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_BEAT)
            self.longest = max(self.longest, time.perf_counter() - before - _BEAT)


async def main(folder: Path, count: int, batch: int) -> None:
    """Run the daemon until all is durable; print its figures."""
    configure("error", "json")
    loaded = load(folder / "kmwatch.yaml", os.environ)
    app = App(loaded, SystemClock())
    begun = ended = 0.0
    assert isinstance(app._source, KafkaSource)
    app._source._max_records = batch
    source: Source = app._source
    read, committed = source.read, app._telemetry.committed
    stalls = _Stalls()

    async def first_read(progress: dict[str, int | None]) -> Batch:
        nonlocal begun
        batch = await read(progress)
        if batch.records and not begun:
            begun = time.perf_counter()
            stalls.longest = 0.0
        return batch

    def last_commit(engine: Engine) -> None:
        nonlocal ended
        committed(engine)
        if sum(stream.consumed for stream in engine.account.streams.values()) >= count:
            ended = time.perf_counter()
            app.stop()

    source.read = first_read  # type: ignore[method-assign,assignment]
    app._telemetry.committed = last_commit  # type: ignore[method-assign]
    watch = asyncio.create_task(stalls.watch())
    await app.run(any_port=True)
    watch.cancel()
    figures = {
        "rate": count / (ended - begun),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stall_ms": stalls.longest * 1000,
        "requests": app._pipeline.engine.account.events_made / (ended - begun),
        "lines": sum(app._pipeline.engine.account.lines.values()),
    }
    sys.stdout.buffer.write(orjson.dumps(figures))


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
