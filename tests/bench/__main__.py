# ruff: noqa: T201
"""`./dev bench`: kmwatch's durable end-to-end rate, held against the raw loop, in one run on one core.

Both read the same records of the same topic of a real broker, in turns. Quote the ratio: it carries over between
machines, records a second do not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson
from aiokafka import AIOKafkaProducer

from kmwatch.cli import main as kmwatch
from tests.bench.records import ATTACKS, PER_SECOND, RECORDING, SEED, records
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.support.postgres_store import Database

FLOORS = {"ratio": 0.60, "memory_mb": 150.0, "stall_ms": 100.0}
_POSTGRES_FLOORS = {"ratio": 0.50}
_FIRST_MS, _STEP_MS = 1_767_225_600_000, 500 // PER_SECOND  # producers stamp records with the time they tell of


def main() -> int:
    """Run the benchmark; exit 1 if a floor is missed."""
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", default="sqlite", choices=("sqlite", "postgres"))
    parser.add_argument("--batch", type=int, nargs="*", default=[5000], help="most records of one read; each in turn")
    parser.add_argument("--compression", default="lz4", choices=("none", "gzip", "snappy", "lz4", "zstd"))
    given = parser.parse_args()
    with TemporaryDirectory(prefix="kmwatch-bench-") as name:
        folder = Path(name)
        with KafkaServer(folder / "kafka") as kafka, _server(given.store) as server:
            size = asyncio.run(_fill(kafka, given.records, given.compression, _cited(folder)))
            print(
                f"{given.records} records of {size:.0f} bytes on average, {given.compression}, 4 partitions,"
                f" seed {SEED}, {PER_SECOND} requests a second of event time, {ATTACKS:.0%} of requests of attacks;"
                f" store {given.store}; {given.rounds} rounds in turn, clients on core 0 of {os.cpu_count()},"
                f" Python {platform.python_version()}"
            )
            missed = [_rounds(given, kafka, server, folder, batch) for batch in given.batch]
    return max(missed)


def _rounds(
    given: argparse.Namespace, kafka: KafkaServer, server: PostgresServer | None, folder: Path, batch: int
) -> int:
    """The rounds with one size of batch; 1 if a floor is missed."""
    raw, ours = [], []
    print(f"at most {batch} records of a read, and so of a transaction")
    for number in range(given.rounds):
        name = f"{batch}-{number}"
        raw.append(_child("tests.bench.raw", kafka.bootstrap, "bench", str(given.records)))
        config = _config(folder, kafka, name, _store(server))
        ours.append(_child("tests.bench.durable", str(config), str(given.records), str(batch)))
        print(f"  round {number + 1}: raw {raw[-1]['rate']:,.0f}/s, kmwatch {ours[-1]['rate']:,.0f}/s", flush=True)
    return _report(raw, ours, FLOORS | (_POSTGRES_FLOORS if server is not None else {}))


def _server(store: str) -> AbstractContextManager[PostgresServer | None]:
    """A database that flushes what it commits, on the cores that the clients do not have."""
    if store == "sqlite":
        return nullcontext()
    return PostgresServer({"fsync": "on"}, cores=set(range(os.cpu_count() or 1)) - {0})


def _store(server: PostgresServer | None) -> dict[str, object]:
    if server is None:
        return {"sqlite": {"path": "kmwatch.db"}}
    return Database(server, server.database()).store(lease="6s")


async def _fill(kafka: KafkaServer, count: int, compression: str, cited: frozenset[str]) -> float:
    """Produce the records in the order of their time; returns their mean size in bytes."""
    await kafka.create_topic("bench", partitions=4)
    codec = None if compression == "none" else compression
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        compression_type=codec,
        linger_ms=20,
        **({} if compression != "none" else {"max_batch_size": 1024}),
    )
    await producer.start()
    total = 0
    for number, (partition, value) in enumerate(records(count, cited)):
        await producer.send("bench", value, partition=partition, timestamp_ms=_FIRST_MS + number * _STEP_MS)
        total += len(value)
    await producer.flush()
    await producer.stop()
    return total / count


def _cited(folder: Path) -> frozenset[str]:
    """The requests of the recording that a finding cites."""
    alerts = folder / "alerts.jsonl"
    assert kmwatch(["replay", "-c", str(RECORDING / "kmwatch.yaml"), "--alerts", str(alerts)]) == 0
    lines = map(orjson.loads, alerts.read_bytes().splitlines())
    return frozenset(event.removeprefix("api:") for line in lines for event in line["unmapped"]["kmwatch"]["event_ids"])


def _config(folder: Path, kafka: KafkaServer, name: str, store: dict[str, object]) -> Path:
    place = folder / f"round-{name}"
    place.mkdir()
    source = {"bootstrap": [kafka.bootstrap], "topics": ["bench"], "group": f"bench-{name}", "session_timeout": "6s"}
    settings = {
        "sources": [{"kafka": source}],
        "callers": str(RECORDING / "callers.yaml"),
        "identities": {"file": str(RECORDING / "identities.json")},
        "inventory": {"file": str(RECORDING / "inventory.jsonl")},
        "store": store,
        "sinks": [{"name": "archive", "file": {"path": "alerts.jsonl"}}],
    }
    (place / "kmwatch.yaml").write_bytes(orjson.dumps(settings))  # YAML includes JSON
    return place


def _child(module: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = orjson.loads(done.stdout)
    return figures


def _report(raw: list[dict[str, float]], ours: list[dict[str, float]], floors: dict[str, float]) -> int:
    ratio = median(mine["rate"] / base["rate"] for base, mine in zip(raw, ours, strict=True))
    figures = {
        "ratio": ratio,
        "memory_mb": max(mine["memory_mb"] for mine in ours),
        "stall_ms": max(mine["stall_ms"] for mine in ours),
    }
    print(
        f"raw loop {median(base['rate'] for base in raw):,.0f} records/s;"
        f" kmwatch {median(mine['rate'] for mine in ours):,.0f} records/s, durable,"
        f" {median(mine['lines'] for mine in ours):,.0f} alert lines (medians)"
    )
    missed = []
    for name, value in figures.items():
        floor = floors[name]
        good = value >= floor if name == "ratio" else value <= floor
        bound, verdict = "floor" if name == "ratio" else "limit", "ok" if good else "MISSED"
        print(f"  {name:<10} {value:8.2f}   {bound} {floor:g}   {verdict}")
        if not good:
            missed.append(name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
