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
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import orjson
from aiokafka import AIOKafkaProducer

from kmwatch.cli import main as kmwatch
from tests.bench.everything import everything
from tests.bench.records import ATTACKS, PER_SECOND, RECORDING, SEED, records
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.support.postgres_store import Database

FLOORS = {"ratio": 0.60, "memory_mb": 150.0, "stall_ms": 100.0}
_POSTGRES_FLOORS = {"ratio": 0.50}
FULL_FLOORS = {"requests": 10_000.0, "memory_mb": 250.0, "stall_ms": 100.0}
_ALL = {
    "witnesses": {"service_log": "expected", "proxy_log": "expected", "access_log": "expected"},
    "proxies": ["127.0.0.1/32"],
}
_FIRST_MS = 1_767_225_600_000  # producers stamp records with the time they tell of


def main() -> int:
    """Run the benchmark; exit 1 if a floor is missed."""
    parser = argparse.ArgumentParser(prog="dev bench", description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", default="sqlite", choices=("sqlite", "postgres"))
    parser.add_argument("--batch", type=int, nargs="*", default=[5000], help="most records of one read; each in turn")
    parser.add_argument("--full-records", type=int, default=100_000, help="of all witnesses; 0: leave that out")
    parser.add_argument("--compression", default="lz4", choices=("none", "gzip", "snappy", "lz4", "zstd"))
    given = parser.parse_args()
    with TemporaryDirectory(prefix="kmwatch-bench-") as name:
        folder = Path(name)
        with KafkaServer(folder / "kafka") as kafka, _server(given.store) as server:
            stamps = (_FIRST_MS + number * 500 // PER_SECOND for number in count())
            made = (
                (partition, stamp, value)
                for (partition, value), stamp in zip(records(given.records, _cited(folder)), stamps, strict=False)
            )
            size = asyncio.run(_fill(kafka, "bench", made, given.records, given.compression))
            print(
                f"{given.records} records of {size:.0f} bytes on average, {given.compression}, 4 partitions,"
                f" seed {SEED}, {PER_SECOND} requests a second of event time, {ATTACKS:.0%} of requests of attacks;"
                f" store {given.store}; {given.rounds} rounds in turn, clients on core 0 of {os.cpu_count()},"
                f" Python {platform.python_version()}"
            )
            missed = [_rounds(given, kafka, server, folder, batch) for batch in given.batch]
            full = _full(folder, kafka, given, server) if given.full_records else []
    if full:
        print(
            f"all witnesses: raw fetch {median(base['rate'] for base, _ in full):,.0f} records/s; kmwatch"
            f" {median(mine['rate'] for _, mine in full):,.0f} records/s,"
            f" {median(mine['requests'] for _, mine in full):,.0f} requests/s (medians)"
        )
        missed.append(_verdicts(_figures([mine for _, mine in full]), FULL_FLOORS))
    return int(any(missed))


def _rounds(
    given: argparse.Namespace, kafka: KafkaServer, server: PostgresServer | None, folder: Path, batch: int
) -> bool:
    """The rounds with one size of batch; returns whether a floor is missed."""
    raw, ours = [], []
    print(f"at most {batch} records of a read, and so of a transaction")
    for number in range(given.rounds):
        raw.append(_child("tests.bench.raw", kafka.bootstrap, "bench", str(given.records)))
        config = _config(folder, kafka, "bench", f"{batch}-{number}", _store(server))
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


def _full(
    folder: Path, kafka: KafkaServer, given: argparse.Namespace, server: PostgresServer | None
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """The records of all four witnesses, in turns like the others."""
    made = ((number % 4, at // 1000, value) for number, (at, value) in enumerate(everything(given.full_records)))
    size = asyncio.run(_fill(kafka, "full", made, given.full_records, given.compression))
    print(f"{given.full_records} records of all witnesses, of {size:.0f} bytes on average")
    out = []
    for number in range(given.rounds):
        base = _child("tests.bench.raw", kafka.bootstrap, "full", str(given.full_records))
        place = _config(folder, kafka, "full", str(number), _store(server))
        out.append((base, _child("tests.bench.durable", str(place), str(given.full_records), "5000")))
        print(f"  round {number + 1}: {out[-1][1]['requests']:,.0f} requests/s", flush=True)
    return out


async def _fill(
    kafka: KafkaServer, topic: str, made: Iterable[tuple[int, int, bytes]], number: int, compression: str
) -> float:
    """Produce records (partition, stamp, value) in the order of their time; returns their mean size in bytes."""
    await kafka.create_topic(topic, partitions=4)
    codec = None if compression == "none" else compression
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        compression_type=codec,
        linger_ms=20,
        **({} if compression != "none" else {"max_batch_size": 1024}),
    )
    await producer.start()
    total = 0
    for partition, stamp, value in made:
        await producer.send(topic, value, partition=partition, timestamp_ms=stamp)
        total += len(value)
    await producer.flush()
    await producer.stop()
    return total / number


def _cited(folder: Path) -> frozenset[str]:
    """The requests of the recording that a finding cites."""
    alerts = folder / "alerts.jsonl"
    assert kmwatch(["replay", "-c", str(RECORDING / "kmwatch.yaml"), "--alerts", str(alerts)]) == 0
    lines = map(orjson.loads, alerts.read_bytes().splitlines())
    return frozenset(event.removeprefix("api:") for line in lines for event in line["unmapped"]["kmwatch"]["event_ids"])


def _config(folder: Path, kafka: KafkaServer, topic: str, number: str, store: dict[str, object]) -> Path:
    place = folder / f"{topic}-{number}"
    place.mkdir()
    group = f"{topic}-{number}"
    source = {"bootstrap": [kafka.bootstrap], "topics": [topic], "group": group, "session_timeout": "6s"}
    settings = {
        "sources": [{"kafka": source}],
        **(_ALL if topic == "full" else {}),
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


def _report(raw: list[dict[str, float]], ours: list[dict[str, float]], floors: Mapping[str, float]) -> bool:
    """Print what the rounds on audit events gave; returns whether a floor was missed."""
    ratio = median(mine["rate"] / base["rate"] for base, mine in zip(raw, ours, strict=True))
    print(
        f"raw loop {median(base['rate'] for base in raw):,.0f} records/s;"
        f" kmwatch {median(mine['rate'] for mine in ours):,.0f} records/s, durable,"
        f" {median(mine['lines'] for mine in ours):,.0f} alert lines (medians)"
    )
    return _verdicts({"ratio": ratio, **_figures(ours)}, floors)


def _figures(ours: list[dict[str, float]]) -> dict[str, float]:
    return {
        "requests": median(mine["requests"] for mine in ours),
        "memory_mb": max(mine["memory_mb"] for mine in ours),
        "stall_ms": max(mine["stall_ms"] for mine in ours),
    }


def _verdicts(figures: Mapping[str, float], floors: Mapping[str, float]) -> bool:
    missed = False
    for name, floor in floors.items():
        value, is_floor = figures[name], name in ("ratio", "requests")
        good = value >= floor if is_floor else value <= floor
        bound, verdict = "floor" if is_floor else "limit", "ok" if good else "MISSED"
        print(f"  {name:<10} {value:10,.2f}   {bound} {floor:g}   {verdict}")
        missed = missed or not good
    return missed


if __name__ == "__main__":
    sys.exit(main())
