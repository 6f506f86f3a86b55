"""Where the daemon begins to read, and when it refuses to: the store owns the offsets, and nothing is guessed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete

from kmwatch.condition import Status
from kmwatch.ports import INVENTORY
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_config import Scram
from tests.servers.ports import free_port
from tests.support.daemon import Config, Daemon, configuration, file_sink, kafka_source
from tests.support.recorded import recording
from tests.support.store import lose, offsets, set_offset

VALUES = [record.value for record in recording()[:200]]
Made = Callable[..., Daemon]


@pytest.fixture
def daemon_on(tmp_path: Path) -> Iterator[Made]:
    """Makes daemons over a source; all are gone after the test."""
    made: list[Daemon] = []

    def make(source: Config) -> Daemon:
        made.append(Daemon(tmp_path, configuration(tmp_path, source, [file_sink(tmp_path)])))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


@pytest.fixture(scope="module")
def scram() -> Scram:
    return Scram()


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory, scram: Scram) -> Iterator[KafkaServer]:
    """A broker that a test may stop, with a listener that asks for a password."""
    with KafkaServer(tmp_path_factory.mktemp("own-kafka"), scram=scram) as server:
        yield server


@asynccontextmanager
async def admin(kafka: KafkaServer) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def consumed(number: int) -> Callable[[Status], bool]:
    return lambda status: status.account.records.consumed == number


def run_until(daemon: Daemon, number: int, *arguments: str) -> Status:
    """Start, wait until that many records are consumed in all, and stop in order."""
    daemon.start(*arguments)
    status = daemon.wait_until(consumed(number), f"{number} records are consumed")
    assert daemon.terminate() == 0, daemon.output()
    return status


async def test_a_store_from_an_old_backup_is_refused_until_the_gap_is_accepted(
    kafka: KafkaServer, tmp_path: Path, daemon_on: Made
) -> None:
    topic = await kafka.create_topic(partitions=2)
    await kafka.produce(topic, 0, VALUES[:20])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic))
    run_until(daemon, 20)
    set_offset(tmp_path / "kmwatch.db", f"{topic}/0", 15)

    daemon.start()
    assert daemon.wait() == 3
    said = daemon.output()
    assert f"{topic}/0: the group has committed offset 20, but the store is at 15" in said
    assert "Restore the store that belongs to this group, or run once with --accept-gap" in said

    run_until(daemon, 25, "--accept-gap")
    assert offsets(tmp_path / "kmwatch.db")[f"{topic}/0"] == 20


async def test_a_lost_store_is_refused_until_the_gap_is_accepted(
    kafka: KafkaServer, tmp_path: Path, daemon_on: Made
) -> None:
    topic = await kafka.create_topic()
    await kafka.produce(topic, 0, VALUES[:20])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic, start="latest"))
    daemon.start()
    daemon.wait_until_ready()
    await kafka.produce(topic, 0, VALUES[20:30])
    daemon.wait_until(consumed(10), "the new records are consumed")
    assert daemon.terminate() == 0
    lose(tmp_path / "kmwatch.db")

    daemon.start()
    assert daemon.wait() == 3
    assert "the group has committed offset 30, but the store knows nothing of this partition" in daemon.output()

    run_until(daemon, 30, "--accept-gap")


async def test_records_removed_before_they_were_read_are_refused_then_counted_and_only_once(
    kafka: KafkaServer, daemon_on: Made
) -> None:
    topic = await kafka.create_topic()
    await kafka.produce(topic, 0, VALUES[:10])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic))
    run_until(daemon, 10)
    await kafka.produce(topic, 0, VALUES[10:30])
    async with admin(kafka) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=15)})

    daemon.start()
    assert daemon.wait() == 3
    assert f"{topic}/0: records 10 to 14 were removed from the topic before they were read" in daemon.output()

    status = run_until(daemon, 25, "--accept-gap")
    assert status.missing == {f"{topic}/0": 5}
    assert run_until(daemon, 25).missing == {}


async def test_an_accepted_gap_is_over_even_if_no_record_came_since(kafka: KafkaServer, daemon_on: Made) -> None:
    topic = await kafka.create_topic()
    await kafka.produce(topic, 0, VALUES[:10])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic))
    run_until(daemon, 10)
    await kafka.produce(topic, 0, VALUES[10:15])
    async with admin(kafka) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=15)})

    daemon.start("--accept-gap")
    daemon.wait_until_ready()
    assert daemon.status().missing == {f"{topic}/0": 5}
    assert daemon.terminate() == 0
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.status().missing == {}


async def test_start_earliest_reads_what_was_there_before(kafka: KafkaServer, daemon_on: Made) -> None:
    topic = await kafka.create_topic(partitions=2)
    await kafka.produce(topic, 0, VALUES[:7])
    await kafka.produce(topic, 1, VALUES[7:10])

    run_until(daemon_on(kafka_source(kafka.bootstrap, topic, start="earliest")), 10)


async def test_start_latest_reads_what_comes_from_then_on_and_nothing_older_even_after_a_restart(
    kafka: KafkaServer, tmp_path: Path, daemon_on: Made
) -> None:
    topic = await kafka.create_topic(partitions=3)
    for partition in range(3):
        await kafka.produce(topic, partition, VALUES[partition * 10 : partition * 10 + 5])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic, start="latest"))
    daemon.start()
    daemon.wait_until_ready()
    await kafka.produce(topic, 0, VALUES[40:44])
    daemon.wait_until(consumed(4), "the new records are consumed")
    assert daemon.terminate() == 0

    await kafka.produce(topic, 1, VALUES[50:53])  # while nobody reads
    status = run_until(daemon, 7)
    assert status.account.balanced
    of_topic = {stream: at for stream, at in offsets(tmp_path / "kmwatch.db").items() if stream != INVENTORY}
    assert of_topic == {f"{topic}/0": 9, f"{topic}/1": 8, f"{topic}/2": 5}


async def test_start_latest_loses_nothing_that_came_before_the_first_record_was_read(
    kafka: KafkaServer, daemon_on: Made
) -> None:
    topic = await kafka.create_topic()
    await kafka.produce(topic, 0, VALUES[:5])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic, start="latest"))
    daemon.start()
    daemon.wait_until_ready()
    assert daemon.terminate() == 0
    await kafka.produce(topic, 0, VALUES[5:8])

    run_until(daemon, 3)


async def test_a_partition_that_is_added_while_it_runs_is_read_from_its_beginning(
    kafka: KafkaServer, daemon_on: Made
) -> None:
    topic = await kafka.create_topic()
    await kafka.produce(topic, 0, VALUES[:5])
    daemon = daemon_on(kafka_source(kafka.bootstrap, topic, start="latest"))
    daemon.start()
    daemon.wait_until_ready()
    async with admin(kafka) as client:
        await client.create_partitions({topic: NewPartitions(2)})
    await kafka.produce(topic, 1, VALUES[10:16])

    status = daemon.wait_until(consumed(6), "the new partition is read")
    assert set(status.account.streams) - {INVENTORY} == {f"{topic}/1"}


def test_a_wrong_password_is_named_as_the_cause(
    own_kafka: KafkaServer, scram: Scram, tmp_path: Path, daemon_on: Made
) -> None:
    security = {
        "protocol": "sasl_ssl",
        "mechanism": "SCRAM-SHA-512",
        "username": scram.user,
        "password": "a-wrong-guess",
        "ca": str(scram.ca_file(tmp_path)),
    }
    daemon = daemon_on(kafka_source(own_kafka.secure_bootstrap, "any", security=security))

    daemon.start()

    assert daemon.wait() == 3
    said = daemon.output().splitlines()[-1]
    assert said.startswith(f"kmwatch: cannot use Kafka at {own_kafka.secure_bootstrap}")
    assert "SaslAuthenticationFailed" in said
    assert "a-wrong-guess" not in daemon.output()


async def test_the_right_password_is_let_in_over_tls(
    own_kafka: KafkaServer, scram: Scram, tmp_path: Path, daemon_on: Made
) -> None:
    topic = await own_kafka.create_topic()
    await own_kafka.produce(topic, 0, VALUES[:5])
    security = {
        "protocol": "sasl_ssl",
        "mechanism": "SCRAM-SHA-512",
        "username": scram.user,
        "password": scram.password,
        "ca": str(scram.ca_file(tmp_path)),
    }

    run_until(daemon_on(kafka_source(own_kafka.secure_bootstrap, topic, security=security)), 5)


def test_a_broker_that_cannot_be_reached_is_named_with_the_cause(daemon_on: Made) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    daemon = daemon_on(kafka_source(nowhere, "any"))

    daemon.start()

    assert daemon.wait() == 3
    said = daemon.output().splitlines()[-1]
    assert said.startswith(f"kmwatch: cannot use Kafka at {nowhere}")
    assert "Connect call failed" in said


async def test_it_outlives_a_broker_that_goes_and_comes_back(own_kafka: KafkaServer, daemon_on: Made) -> None:
    topic = await own_kafka.create_topic()
    await own_kafka.produce(topic, 0, VALUES[:5])
    daemon = daemon_on(kafka_source(own_kafka.bootstrap, topic))
    daemon.start()
    daemon.wait_until(consumed(5), "the first records are consumed")

    await asyncio.to_thread(own_kafka.restart)
    await own_kafka.produce(topic, 0, VALUES[5:8])

    assert daemon.wait_until(consumed(8), "the later records are consumed").account.balanced


async def test_sigterm_ends_it_in_order_while_the_broker_is_away(own_kafka: KafkaServer, daemon_on: Made) -> None:
    topic = await own_kafka.create_topic()
    await own_kafka.produce(topic, 0, VALUES[:5])
    daemon = daemon_on(kafka_source(own_kafka.bootstrap, topic))
    daemon.start()
    daemon.wait_until(consumed(5), "all is consumed")
    own_kafka.kill()
    try:
        assert daemon.terminate() == 0, daemon.output()
    finally:
        await asyncio.to_thread(own_kafka.start)
