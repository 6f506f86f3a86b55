# ruff: noqa: T201
"""`./dev bench-delivery latency`: from a record's production to the acknowledgement of the finding it triggers.

Every round is a fresh topic, store and daemon, which works for some seconds before anything counts. Rates take turns,
so that a busy minute of the machine falls on all of them. Broker, producer, daemon and receiver are processes on one
machine. What counts are findings that are told at once: create lines. Updates wait for more by design.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.request import urlopen

import msgspec
from aiokafka import AIOKafkaProducer

from tests.bench.__main__ import _cited
from tests.bench.receiver import Taken, receiver
from tests.bench.records import _renewed, templates
from tests.servers.fakes import TOKEN
from tests.servers.kafka import KafkaServer
from tests.support.daemon import Config, Daemon, configuration, kafka_source
from tests.support.store import reading

ATTACKS = 0.1  # share of requests that are an attack's, so that there are findings enough
WARM_SECONDS = 5.0
_STAGES = ("record produced -> outbox", "outbox -> acknowledged", "record produced -> acknowledged")


class Figure(NamedTuple):
    """One stage in one round, in seconds."""

    p50: float
    p99: float
    most: float


class Round(NamedTuple):
    """What one round gave."""

    findings: int
    stages: Sequence[Figure]
    busy: float  # share of one core that the daemon used
    load: float  # of the machine, before and without us


def latency(rates: Sequence[int], seconds: int, rounds: int, lateness: str) -> None:
    """Measure each rate so many times, in turns, and print every round and the medians."""
    found: dict[int, list[Round]] = {rate: [] for rate in rates}
    with TemporaryDirectory(prefix="kmwatch-bench-") as name:
        folder = Path(name)
        cited = _cited(folder)
        with KafkaServer(folder / "kafka") as kafka:
            for number in range(rounds):
                for rate in rates:
                    place = folder / f"{rate}-{number}"
                    place.mkdir()
                    found[rate].append(_round(place, kafka, cited, rate, seconds, lateness))
                    _print(f"round {number + 1}", rate, found[rate][-1])
    print(f"medians of {rounds} rounds of {seconds} s, lateness and settle {lateness}:")
    for rate, given in found.items():
        stages = [
            Figure(*map(median, zip(*stage, strict=True))) for stage in zip(*(r.stages for r in given), strict=True)
        ]
        middle = Round(
            sum(r.findings for r in given), stages, median(r.busy for r in given), median(r.load for r in given)
        )
        _print("median", rate, middle)


def _round(folder: Path, kafka: KafkaServer, cited: frozenset[str], rate: int, seconds: int, lateness: str) -> Round:
    load = os.getloadavg()[0]
    topic = asyncio.run(kafka.create_topic(partitions=4))
    with receiver("splunk-timed") as url:
        sink: Config = {"name": "splunk", "splunk_hec": {"url": url, "token": TOKEN}}
        soon = {rule: {"rollup": "1s"} for rule in ("KMW-001", "KMW-022")}
        timing = {"lateness": lateness, "settle": lateness}
        source = kafka_source(kafka.bootstrap, topic)
        config = configuration(folder, source, [sink], timing=timing, detections=soon)
        with Daemon(folder, config) as daemon:
            daemon.start()
            daemon.wait_until_ready()
            began, used = time.time(), _used(daemon)
            asyncio.run(_produce(kafka, topic, rate, seconds + WARM_SECONDS, cited))
            busy = (_used(daemon) - used) / (time.time() - began)
            daemon.wait_until(
                lambda s: sum(s.lag.values()) == 0 and s.account.sinks["splunk"].pending == 0, "all is out"
            )
            daemon.terminate()
        with urlopen(f"{url}/taken", timeout=10) as answer:  # noqa: S310 - our own
            taken = msgspec.json.decode(answer.read(), type=list[Taken])
    with reading(folder / "kmwatch.db") as db:
        stored = dict(db.execute("SELECT line_uid, stored FROM outbox").fetchall())
    counted = [line for line in taken if line.activity == 1 and line.event >= began + WARM_SECONDS]
    stages = (
        [stored[line.line] - line.event for line in counted],
        [line.at - stored[line.line] for line in counted],
        [line.at - line.event for line in counted],
    )
    return Round(len(counted), [_figure(stage) for stage in stages], busy, load)


def _used(daemon: Daemon) -> float:
    """Seconds of processor that the daemon has used."""
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _figure(seconds: list[float]) -> Figure:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return Figure(cuts[49], cuts[98], max(seconds))


def _print(what: str, rate: int, found: Round) -> None:
    print(
        f"{what}, {rate} records/s: {found.findings} findings,"
        f" daemon {found.busy:.0%} of a core, load before {found.load:.1f}",
        flush=True,
    )
    for stage, figure in zip(_STAGES, found.stages, strict=True):
        p50, p99, most = (1000 * value for value in figure)
        print(f"  {stage:<32} p50 {p50:6.0f} ms   p99 {p99:6.0f} ms   most {most:6.0f} ms", flush=True)


async def _produce(kafka: KafkaServer, topic: str, rate: int, seconds: float, cited: frozenset[str]) -> None:
    rng, (ordinary, attacks) = random.Random(7), templates(cited)  # noqa: S311
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=2)
    await producer.start()
    began, sent = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        while sent < passed * rate:
            values = rng.choice(attacks if rng.random() < ATTACKS else ordinary)
            ids = [str(uuid.UUID(int=rng.getrandbits(128))).encode() for _ in range(2)]
            for value in values:
                await producer.send(topic, _renewed(value, datetime.now(UTC), ids), partition=rng.randrange(4))
            sent += len(values)
        await asyncio.sleep(0.002)
    await producer.stop()
