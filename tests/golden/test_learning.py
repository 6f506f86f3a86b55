"""A map learned from ordinary traffic explains another day's ordinary traffic, and not its intruder."""

from __future__ import annotations

from pathlib import Path

from tests.golden.learning import LEGIT, UNFAMILIAR, judge

# Five reads with stolen credentials and a forged X-Forwarded-For, which CADF alone cannot tell (docs/measurements.md).
FORGED = 5


async def test_another_day_is_explained_and_its_intruder_is_not(tmp_path: Path) -> None:
    learned, told = await judge(tmp_path)
    assert told[LEGIT, True] == 241
    assert told[LEGIT, False] + told[LEGIT, None] == 0
    assert told[UNFAMILIAR, True] == FORGED
    assert told[UNFAMILIAR, False] >= 123
    entries = [line for line in learned.splitlines() if line.startswith("  - {id:")]
    assert 15 <= len(entries) <= 30  # a person can review it: 238 secrets, 10 callers
