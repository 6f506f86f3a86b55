"""A daemon that is killed while it delivers: every receiver has exactly what the outbox held. See deliver.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault.deliver import deliver

KILLS = 5


@pytest.mark.timeout(240)
def test_five_kills_while_findings_are_on_their_way_lose_none(tmp_path: Path) -> None:
    report = deliver(tmp_path, kills=KILLS, seed=random.SystemRandom().randrange(10**6))
    assert not report.problems, report.table()
    assert report.kills == KILLS
    assert report.progress[0] < report.progress[-1], "the kills came while it delivered"
