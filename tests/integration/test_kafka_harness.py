"""The Kafka of the tests is a real one: what the other integration tests rely on holds."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError

from tests.servers.kafka import KafkaServer
from tests.servers.kafka_config import Scram
from tests.servers.kafka_jars import ServerUnavailableError


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_what_is_produced_to_four_partitions_is_read_back_in_order(kafka: KafkaServer, codec: str | None) -> None:
    topic = await kafka.create_topic(partitions=4)
    sent = {number: [b"%d/%d" % (number, index) for index in range(100)] for number in range(4)}
    for number, values in sent.items():
        assert await kafka.produce(topic, number, values, compression=codec) == list(range(100))

    assert await kafka.read(topic, 400) == sent


async def test_records_and_ports_survive_a_clean_stop_and_a_kill(tmp_path: Path) -> None:
    with KafkaServer(tmp_path) as server:
        topic = await server.create_topic("survivors", partitions=4)
        await server.produce(topic, 3, [b"before the stop"], compression="lz4")
        await asyncio.to_thread(server.restart)
        await server.produce(topic, 3, [b"before the kill"], compression="lz4")
        server.kill()
        assert not server.running
        await asyncio.to_thread(server.start)

        assert await server.read(topic, 2) == {3: [b"before the stop", b"before the kill"]}


async def test_the_secure_listener_takes_the_right_password_and_no_other(tmp_path: Path) -> None:
    scram = Scram()
    with KafkaServer(tmp_path, scram=scram) as server:
        topic = await server.create_topic()

        def producer(password: str) -> AIOKafkaProducer:
            return AIOKafkaProducer(
                bootstrap_servers=server.secure_bootstrap,
                security_protocol="SASL_SSL",
                sasl_mechanism="SCRAM-SHA-512",
                sasl_plain_username=scram.user,
                sasl_plain_password=password,
                ssl_context=scram.client_context(),
            )

        async with producer(scram.password) as welcome:
            await welcome.send_and_wait(topic, b"over TLS")
        stranger = producer("guess")
        with pytest.raises(KafkaConnectionError):
            await stranger.start()
        await stranger.stop()

        assert await server.read(topic, 1) == {0: [b"over TLS"]}


def test_a_machine_without_java_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerUnavailableError, match="default-jre-headless maven"):
        KafkaServer(tmp_path)


def test_a_configuration_that_kafka_refuses_is_an_error_in_kafkas_own_words(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailableError, match="nonsense"):
        KafkaServer(tmp_path, properties={"process.roles": "nonsense"})


def test_a_broker_that_ends_at_once_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path)
    host, port = server.bootstrap.split(":")

    with socket.socket() as squatter:
        squatter.bind((host, int(port)))
        with pytest.raises(ServerUnavailableError, match="Address already in use"):
            server.start()
