"""Two instances, one store, one group: one reads, the other stands by; who slept through its session is fenced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmwatch.condition import Status
from tests.servers.kafka import KafkaServer
from tests.support.crashing_main import BEFORE
from tests.support.daemon import Config, Daemon, configuration, file_sink, kafka_source
from tests.support.recorded import PARTITIONS, Alert, Reference, alerts_in, produce, recording, replayed
from tests.support.store import claimants, outbox, watch_claims

RECORDS = len(recording())
WHO = ("first", "second")
SLOWLY = {"KMWATCH_BATCH": "40", "KMWATCH_PACE": "0.3"}  # so that there is time to do something to it
WATCHED = 3.0  # seconds for which a group at rest is watched: several heartbeats


@dataclass
class Pair:
    """Two daemons with one store and one group over a topic that holds the recording.

    Each writes alerts to a file of its own: a process that is stopped while it holds a file's lock keeps it.
    """

    folder: Path
    first: Daemon
    second: Daemon
    reference: Reference

    @property
    def store(self) -> Path:
        return self.folder / "kmwatch.db"

    def start(self) -> None:
        """The first reads, slowly; the second joins and stands by."""
        self.first.start(environment=SLOWLY)
        self.first.wait_until_ready()
        self.second.start()
        self.second.wait_until_serving()
        self.first.wait_until(lambda status: status.active and consumed(status) > 0, "the first is at work")

    def finished(self, status: Status) -> bool:
        account = status.account
        delivered = bool(account.sinks) and all(sink.pending == 0 for sink in account.sinks.values())
        return status.active and delivered and account.events.evaluated >= self.reference.events

    def assert_exact(self, status: Status) -> None:
        """Totals, findings and alerts are those of one instance that was never disturbed."""
        account, lines = status.account, outbox(self.store)
        assert account.balanced
        assert (account.records.consumed, account.records.joined, account.records.duplicate) == (RECORDS, RECORDS, 0)
        assert account.events.evaluated == self.reference.events
        assert {line.line for line in lines} == self.reference.lines()
        assert {Alert(line.line, line.rule, line.activity) for line in lines} <= set(self.reference.alerts)
        archived = [alert.line for who in WHO for alert in alerts_in(self.folder / who / "alerts.jsonl")]
        assert set(archived) == self.reference.lines()
        assert account.sinks["archive"].delivered == len(lines) == len(self.reference.lines())


def consumed(status: Status) -> int:
    return status.account.records.consumed


@pytest.fixture
def pair(kafka: KafkaServer, tmp_path: Path) -> Iterator[Pair]:
    records = recording()
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    asyncio.run(produce(kafka, topic, records))
    configs: list[Config] = []
    for who in WHO:
        (tmp_path / who).mkdir()
        configs.append(configuration(tmp_path, kafka_source(kafka.bootstrap, topic), [file_sink(tmp_path / who)]))
    with (
        Daemon(tmp_path, configs[0], name="first", module="tests.support.crashing_main") as first,
        Daemon(tmp_path, configs[1], name="second") as second,
    ):
        yield Pair(tmp_path, first, second, replayed(tmp_path / "replay", configs[0], records))


def test_a_zombie_with_a_batch_in_hand_writes_nothing_and_becomes_the_standby(pair: Pair) -> None:
    pair.first.start(environment={"KMWATCH_TRAP": f"{BEFORE}|9|STOP", "KMWATCH_BATCH": "200"})
    pair.first.wait_until_stopped()  # on the verge of writing a batch
    watch_claims(pair.store)
    pair.second.start()
    pair.second.wait_until(pair.finished, "the second has taken over and done the rest")
    before = outbox(pair.store)

    pair.first.resume()
    lost = pair.first.wait_for_log("lost_claim")
    pair.first.wait_until(lambda status: not status.active, "the first stands by")
    pair.second.wait_for_log("lost_claim")  # the group meets once more, for the return of the first
    pair.assert_exact(pair.second.wait_until(pair.finished, "the second still reads"))
    assert "another instance has taken over this store" in lost.why
    assert outbox(pair.store) == before

    claims = claimants(pair.store)
    time.sleep(WATCHED)
    assert claimants(pair.store) == claims
    assert set(claims) == {pair.second.pid}
    assert [line.event for line in pair.first.log()].count("lost_claim") == 1
    assert pair.second.status().active
    assert not pair.first.is_ready()
    assert pair.first.terminate() == 0


def test_a_standby_takes_over_from_a_killed_instance(pair: Pair) -> None:
    pair.start()
    assert not pair.second.is_ready()

    pair.first.kill()

    pair.assert_exact(pair.second.wait_until(pair.finished, "the second has done the rest"))
    assert pair.second.is_ready()


def test_a_standby_takes_over_from_an_instance_that_is_stopped_in_order(pair: Pair) -> None:
    pair.start()

    assert pair.first.terminate() == 0

    pair.assert_exact(pair.second.wait_until(pair.finished, "the second has done the rest"))
