"""Five witnesses on a real Kafka: a daemon finds what a replay finds, its account balances, kill -9 changes nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from msgspec import json

from tests.fault.crash import BROKER, RANDOM, SESSION, Place, compare, live, to_the_end
from tests.servers.kafka import KafkaServer
from tests.support.crashing_main import OPEN_JOINS
from tests.support.daemon import Daemon, file_sink, kafka_source, run_kmwatch
from tests.support.recorded import alerts_in, produce
from tests.support.store import outbox
from tests.support.witnessed import DATA, PARTITIONS, records, settings, spread

ENDS = (RANDOM, OPEN_JOINS, RANDOM)
BEHIND = {"KMW-035", "KMW-041", "KMW-042"}


def place(kafka: KafkaServer, topic: str, folder: Path) -> Place:
    folder.mkdir()
    source = kafka_source(kafka.bootstrap, topic, group=f"{topic}-{folder.name}", session_timeout=SESSION)
    return Place(folder, settings(folder, source, [file_sink(folder)]))


def replayed(folder: Path) -> set[str]:
    """What a replay of the same witnesses' files finds behind the API: ids of the first line of each finding.

    Later lines are held back for up to a minute of event time, and what watches the feed speaks at whole minutes: the
    end of a file cuts both short, and a daemon that is stopped once all is judged has not come so far.
    """
    folder.mkdir()
    given = folder / "records.jsonl"
    told = spread(records())
    late = [one.value for one in told if one.partition == 0]
    given.write_bytes(b"".join(value + b"\n" for value in late))
    files = [given, *(DATA / f"{name}.gz" for name in ("service.log", "haproxy.log", "vault.jsonl", "host.log"))]
    config = folder / "kmwatch.yaml"
    config.write_bytes(json.encode(settings(folder, {"file": {"paths": ["none.jsonl"]}}, [file_sink(folder)])))
    paths = [argument for file in files for argument in ("--from", str(file))]
    done = run_kmwatch("replay", "-c", str(config), *paths, "--alerts", str(folder / "alerts.jsonl"))
    assert done.returncode == 0, done.stderr
    return {alert.line for alert in alerts_in(folder / "alerts.jsonl") if alert.activity == 1 and alert.rule in BEHIND}


@pytest.mark.timeout(400)
def test_five_witnesses_are_accounted_for_and_kills_change_neither_findings_nor_state(tmp_path: Path) -> None:
    chance = random.Random(random.SystemRandom().randrange(10**6))  # noqa: S311
    told = spread(records())
    with KafkaServer(tmp_path / "kafka", properties=BROKER) as kafka:
        topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
        asyncio.run(produce(kafka, topic, told))
        calm, wild = place(kafka, topic, tmp_path / "calm"), place(kafka, topic, tmp_path / "wild")
        status = to_the_end(calm, len(told))
        assert set(status.account.behind) == {"backend", "host", "inventory"}
        with Daemon(wild.folder, wild.config, module="tests.support.crashing_main") as daemon:
            ended = [live(daemon, wild, point, chance.randint(1, 4), chance) for point in ENDS]
        assert ended.count(OPEN_JOINS) >= 1
        to_the_end(wild, len(told))

    lines = outbox(calm.store)
    assert {line.rule for line in lines} >= BEHIND
    assert {line.line for line in lines if line.activity == 1 and line.rule in BEHIND} == replayed(tmp_path / "replay")
    report = compare(calm, wild, [alert.line for alert in alerts_in(wild.folder / "alerts.jsonl")])
    assert not report.problems, report.problems
