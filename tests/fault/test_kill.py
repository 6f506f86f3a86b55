"""A daemon that is killed again and again ends where one that never was ends. See crash.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault.crash import BROKER, NEVER_MISSED, crash
from tests.servers.kafka import KafkaServer

KILLS = 20


@pytest.mark.timeout(300)
def test_twenty_kills_lose_nothing_double_nothing_and_change_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    with KafkaServer(tmp_path / "kafka", properties=BROKER) as kafka:
        report = crash(kafka, tmp_path, kills=KILLS, seed=seed)

    assert not report.problems, report.table()
    assert len(report.kills) == KILLS
    assert set(NEVER_MISSED) <= set(report.points()), report.table()
    assert len(set(report.points())) >= 8, report.table()
