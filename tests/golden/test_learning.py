"""A map learned from ordinary traffic explains another day's ordinary traffic, and not its intruder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kmwatch.cli import main
from tests.golden.learning import LEGIT, PAIRS, UNFAMILIAR, Pair, judge
from tests.servers.ports import free_port
from tests.support.audit import RECORDING
from tests.support.daemon import configuration, file_sink, run_kmwatch

# Five reads with stolen credentials and a forged X-Forwarded-For, which CADF alone cannot tell. One ordinary read, by
# the deprecated way, which the history, CADF alone, did not show (docs/measurements.md).
FORGED = {"kmwatch.yaml": 5, "complete.yaml": 0}
DEPRECATED = {"kmwatch.yaml": 0, "complete.yaml": 1}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.history or 'recorded'}-{pair.judged or 'recorded'}")
async def test_another_day_is_explained_and_its_intruder_is_not(tmp_path: Path, pair: Pair) -> None:
    learned, told = await judge(tmp_path, pair)
    assert told[LEGIT, True] >= 241
    assert told[LEGIT, False] + told[LEGIT, None] == DEPRECATED[pair.config]
    assert told[UNFAMILIAR, True] == FORGED[pair.config]
    assert told[UNFAMILIAR, False] >= 123
    entries = [line for line in learned.splitlines() if line.startswith("  - {id:")]
    assert 15 <= len(entries) <= 30  # a person can review it: 238 secrets, 10 callers


# ------------------------------------------------------------------------------------------- what a store has kept

RECORDED = str(RECORDING / "cadf.jsonl.gz")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A configuration whose store has seen the recording."""
    folder = tmp_path_factory.mktemp("kept")
    http = {"listen": f"127.0.0.1:{free_port()}"}
    found = configuration(folder, {"file": {"paths": [RECORDED]}}, [file_sink(folder)], http=http)
    path = folder / "kmwatch.yaml"
    path.write_bytes(msgspec.json.encode(found))
    done = run_kmwatch("run", "-c", str(path))
    assert done.returncode == 0, done.stderr
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["learn", *arguments]) == 0
    return capsys.readouterr().out


def entries(text: str) -> set[str]:
    """The entries about reads, those set aside too."""
    found = {line.strip("# ") for line in text.splitlines() if "- {id:" in line}
    return {line for line in found if "actions:" not in line}


def test_the_store_teaches_what_the_recording_it_saw_teaches_of_reads(
    kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entries(said(capsys, "-c", kept)) == entries(said(capsys, "-c", kept, "--from", RECORDED))


def test_the_store_shows_what_the_declared_map_is_not_used_for(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    stored, recorded = (said(capsys, "-c", kept, "--diff", *more) for more in ((), ("--from", RECORDED)))
    used, again = (text.split("wider than its use:")[0].split("used, never declared:") for text in (stored, recorded))
    assert entries(used[1]) == entries(again[1]) != set()
    for part in (used[1], again[1]):
        assert "at most 12 secrets of a user in an hour" in part, "twelve were taken within seconds"
    assert "was never used in this history" in used[0]  # grants and deletions are in recordings alone


def test_a_period_of_the_store_is_a_part_of_it(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entries(said(capsys, "-c", kept, "--until", "2026-11-01")) == set()
    assert main(["learn", "-c", kept, "--from", RECORDED, "--since", "7d"]) == 2
