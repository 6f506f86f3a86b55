"""What every test may ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

# Machines differ in speed and the laws do not: no deadline for an example.
settings.register_profile("kmwatch", deadline=None, print_blob=True)
settings.load_profile("kmwatch")


def pytest_configure() -> None:
    """A run that is told to end (a CI's time is up) ends its servers too, as with Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One broker for the whole run. A test makes its own topics, and a test that stops it starts its own."""
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole run. A test makes its own database, and a test that harms it starts its own."""
    with PostgresServer() as server:
        yield server
