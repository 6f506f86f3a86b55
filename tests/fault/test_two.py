"""Two instances on one PostgreSQL end where one that nobody disturbed ends. See two.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault.two import FAULTS, disturb
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer

ROUNDS = 10


@pytest.mark.timeout(400)
def test_ten_faults_lose_nothing_double_nothing_and_never_let_two_epochs_write(
    tmp_path: Path, kafka: KafkaServer
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    with PostgresServer() as server:
        report = disturb(kafka, server, tmp_path, rounds=ROUNDS, seed=seed, lease="2s")

    assert not report.problems, report.table()
    assert len(report.rounds) == ROUNDS
    assert {one.fault for one in report.rounds} == set(FAULTS)
    assert len(report.takeovers()) >= 5, report.table()
