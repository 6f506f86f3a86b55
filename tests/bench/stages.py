# ruff: noqa: T201
"""`python -m tests.bench.stages [audit|full]`: what each stage costs a record, in one process and without Kafka.

Of every batch and stage the least CPU time of all rounds counts, so that figures of a busy machine say something too.
Compare two releases by running them in turns.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import orjson

from kmwatch import assembly
from kmwatch.config.load import Loaded, load
from kmwatch.core.ledger import Rows, note
from kmwatch.core.state import Memory
from kmwatch.ports import Commit, Record
from kmwatch.replay import StillClock
from kmwatch.store.sqlite import SqliteStore
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.observer import Telemetry
from kmwatch.wire.decode import Reader
from tests.bench.__main__ import _FIRST_MS, _cited
from tests.bench.everything import everything
from tests.bench.records import RECORDING, records

_COUNT, _BATCH, _ROUNDS, _SLICE = 40_000, 5000, 5, 500
_STAGES = ("read", "decode", "order", "core", "ledger", "metrics", "changes", "commit")
_ALL = {
    "witnesses": {"service_log": "expected", "proxy_log": "expected", "access_log": "expected"},
    "proxies": ["127.0.0.1/32"],
}


def main() -> None:
    """Measure, and print microseconds a record."""
    full = sys.argv[1:] == ["full"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        loaded, parts = _loaded(folder, full=full), _parts(folder, full=full)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)  # as the daemon has it
        rounds = [asyncio.run(_round(loaded, folder / f"{number}.db", parts)) for number in range(_ROUNDS)]
    least = [[min(times) for times in zip(*stages, strict=True)] for stages in zip(*rounds, strict=True)]
    for stage, times in zip(_STAGES, zip(*least, strict=True), strict=True):
        print(f"{stage:8} {sum(times) / _COUNT * 1e6:6.2f}")


def _loaded(folder: Path, *, full: bool) -> Loaded:
    settings = {
        "sources": [{"kafka": {"bootstrap": ["127.0.0.1:9092"], "topics": ["bench"], "group": "bench"}}],
        **(_ALL if full else {}),
        "callers": str(RECORDING / "callers.yaml"),
        "identities": {"file": str(RECORDING / "identities.json")},
        "inventory": {"file": str(RECORDING / "inventory.jsonl")},
        "store": {"sqlite": {"path": "kmwatch.db"}},
        "sinks": [{"name": "archive", "file": {"path": "alerts.jsonl"}}],
    }
    (folder / "kmwatch.yaml").write_bytes(orjson.dumps(settings))  # YAML includes JSON
    return load(folder / "kmwatch.yaml", os.environ)


def _parts(folder: Path, *, full: bool) -> list[list[tuple[int, bytes]]]:
    """Time and value of the records of each partition."""
    made: Iterable[tuple[int, int, bytes]] = (
        ((number % 4, at, value) for number, (at, value) in enumerate(everything(_COUNT)))
        if full
        else (
            (part, _FIRST_MS * 1000 + number * 12_500, value)
            for number, (part, value) in enumerate(records(_COUNT, _cited(folder)))
        )
    )
    parts: list[list[tuple[int, bytes]]] = [[] for _ in range(4)]
    for part, at, value in made:
        parts[part].append((at, value))
    return parts


async def _round(loaded: Loaded, path: Path, parts: list[list[tuple[int, bytes]]]) -> list[list[float]]:
    """The seconds of each stage, batch by batch."""
    engine, decode = assembly.engine(loaded.settings, loaded.declarations), Reader().decode
    memory, telemetry, router = Memory(engine), Telemetry(Metrics()), assembly.router(loaded.settings)
    engine.watermark.expect([f"bench/{part}" for part in range(4)])
    store, out, share = SqliteStore(path, "bench", StillClock().now), list[list[float]](), _BATCH // 4
    await store.claim()
    for start in range(0, max(map(len, parts)), share):
        times = [process_time()]
        batch = [
            [Record(f"bench/{number}", start, value, at) for at, value in part[start : start + share]]
            for number, part in enumerate(parts)
        ]
        times.append(process_time())
        decoded = [[decode(record.value, record.timestamp) for record in part] for part in batch]
        times.append(process_time())
        for number, part in enumerate(decoded):
            engine.take(f"bench/{number}", part)
        engine.advance()
        times.append(process_time())
        outputs, over = [], False
        while not over:
            output, over = engine.work(_SLICE)
            outputs.append(output)
        times.append(process_time())
        reads = Rows()
        for output in outputs:
            note(reads, output.judged)
        routed = [router.route(finding) for output in outputs for finding in output.findings]
        times.append(process_time())
        for output in outputs:
            telemetry.stepped(output, engine)
        times.append(process_time())
        rows = memory.changes()
        times.append(process_time())
        await store.commit(Commit([], rows, routed, [], reads))
        times.append(process_time())
        out.append([after - before for before, after in pairwise(times)])
    await store.close()
    return out


if __name__ == "__main__":
    os.sched_setaffinity(0, {0})
    main()
