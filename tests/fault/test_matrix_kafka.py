"""Kafka's row of the fault matrix (test_matrix.py), against a real broker behind a proxy with faults.

The broker advertises the proxy, so every connection of a client passes it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from kmwatch.config.security import Security
from kmwatch.delivery import FailureKind
from kmwatch.kafka.security import arguments
from kmwatch.ports import Commit, Routed, Selection
from kmwatch.sinks.kafka import KafkaSink
from tests.fault.test_matrix import ALL, FAULTS, Bench, C, P, T, _break_names, bench
from tests.servers.kafka import KafkaServer
from tests.servers.kafka_config import Scram
from tests.servers.ports import free_port
from tests.support.chaos import ChaosProxy
from tests.support.findings import finding

ROW: dict[str, FailureKind | str] = {
    "refused": T,
    "reset": T,
    "reset_after": "an acknowledgement is lost: the idempotent producer repeats by itself, and test_kill.py covers us",
    "hang": T,
    "slow_loris": "answers are length-prefixed and have a time-out as a whole: the same as hang",
    "tls": C,
    "401": C,
    "403": "no ACL: test_kafka_security.py, against a broker that has them",
    "413": P,
    "429": "a broker throttles by delaying its answers: the same as hang",
    "500": "brokers have no such answer; what they say of themselves is retried within the producer",
    "503": "as 500",
    "partial": P,
    "restart": T,
    "dns": T,
}
CELLS = [fault for fault, kind in ROW.items() if isinstance(kind, FailureKind)]


class World(NamedTuple):
    kafka: KafkaServer
    plain: ChaosProxy
    scram: Scram


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, scram, port = tmp_path_factory.mktemp("kafka-behind-a-proxy"), Scram(), free_port()
    kafka = _Advertised(folder, port, scram)
    with ChaosProxy(int(kafka.bootstrap.rpartition(":")[2]), port=port) as proxy, kafka:
        yield World(kafka, proxy, scram)


class _Advertised(KafkaServer):
    def __init__(self, folder: Path, port: int, scram: Scram) -> None:
        self._advertised = port
        super().__init__(folder, scram=scram, properties={"message.max.bytes": "60000"})

    def _format(self, overrides: dict[str, str]) -> None:
        listeners = f"PLAINTEXT://localhost:{self._advertised},SASL_SSL://{self.secure_bootstrap}"
        super()._format(overrides | {"advertised.listeners": listeners})


def test_the_row_has_a_class_or_a_reason_for_every_fault() -> None:
    assert set(ROW) == set(FAULTS)
    assert all(ROW.values())


@pytest.mark.parametrize("fault", CELLS)
async def test_a_fault_has_its_class_and_loses_nothing(
    fault: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await world.kafka.create_topic()
    given = {"secret": Security()}
    bootstrap = f"localhost:{world.plain.port}"
    if fault in {"tls", "401"}:
        given["secret"], bootstrap = _secured(world, tmp_path, fault), world.kafka.secure_bootstrap
    sink = KafkaSink("bus", [bootstrap], topic, security=lambda: arguments(given["secret"]), timeout=3)
    async with bench(tmp_path, sink) as made:
        expected = set(ALL)
        if fault in {"413", "partial"}:
            expected |= await _add_large(made)
        if fault in {"refused", "reset", "hang"}:
            world.plain.set(fault)  # type: ignore[arg-type]
        if fault == "restart":
            await asyncio.to_thread(world.kafka.kill)
        if fault == "dns":
            _break_names(monkeypatch)
        made.delivery.start()
        await made.until(made.failed)
        world.plain.set(None)
        if fault == "restart":
            await asyncio.to_thread(world.kafka.start)
        monkeypatch.undo()
        given["secret"] = Security() if fault not in {"tls", "401"} else _secured(world, tmp_path, None)
        await made.until(made.settled)
        dead = {row.line for row in await made.store.owed(Selection(), 99)}
        assert dead == expected - ALL
        assert await made.delivered() == ALL
    values = (await world.kafka.read(topic, len(ALL))).get(0, [])
    assert {_line(value) for value in values} == ALL
    assert set(made.reports.kinds) == {ROW[fault]}


def _secured(world: World, folder: Path, fault: str | None) -> Security:
    ca = world.scram.ca_file(folder)
    if fault == "tls":
        ca = Scram().ca_file(folder)  # another authority, under the same name
    password = "wrong" if fault == "401" else world.scram.password
    return Security.model_validate(
        {
            "protocol": "sasl_ssl",
            "mechanism": "SCRAM-SHA-512",
            "username": world.scram.user,
            "password": password,
            "ca": str(ca),
        }
    )


async def _add_large(made: Bench) -> set[str]:
    """Lines that the broker never takes: larger than its message.max.bytes even when compressed."""
    noise = random.Random(7)  # noqa: S311 - no secret
    large = [
        replace(finding(number), message="".join([chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(60_000)]))
        for number in (101, 102)
    ]
    await made.store.commit(Commit([], [], [Routed(one, ("bus",)) for one in large], []))
    return {one.line_uid for one in large}


def _line(value: bytes) -> str:
    return str(json.loads(value)["metadata"]["uid"])
