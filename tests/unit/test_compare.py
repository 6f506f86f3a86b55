"""Two configurations over the same records, side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from kmwatch.cli import main
from kmwatch.compare import Collector, Told, table
from kmwatch.core.model import Activity, Mode, Severity
from tests.support.audit import RECORDING
from tests.support.findings import finding


def test_a_finding_counts_by_its_fate_and_once_and_the_gravest_line_counts() -> None:
    collector = Collector()
    collector.take([finding(1), replace(finding(1), activity=Activity.UPDATE, severity=Severity.CRITICAL)])
    collector.take([replace(finding(1), activity=Activity.CLOSE, severity=Severity.LOW)])
    collector.take([replace(finding(2), mode=Mode.SHADOW), replace(finding(3), mode=Mode.SHADOW, silence="s")])
    assert collector.told == {
        "finding-1": Told("KMW-001", "sent", "critical"),
        "finding-2": Told("KMW-001", "shadow", "high"),
        "finding-3": Told("KMW-001", "silenced", "high"),
    }


def test_the_table_shows_what_is_gone_and_what_is_new() -> None:
    sent, shadow = Told("KMW-001", "sent", "high"), Told("KMW-001", "shadow", "high")
    text = table({"a": sent, "b": sent}, {"b": shadow, "c": sent, "d": Told("KMW-005", "silenced", "low")})
    rows = [line.split() for line in text.splitlines()]
    assert rows[1] == ["KMW-001", "unexplained-read", "2", "0", "0", "->", "1", "1", "0", "2", "1"]
    assert rows[2] == ["KMW-005", "rapid-distinct-reads", "0", "0", "0", "->", "0", "0", "1", "0", "0"]
    assert "severity of what is sent: 2 high -> 1 high" in text
    silent = next(line for line in text.splitlines() if line.startswith("silent in both"))
    assert "KMW-002" in silent
    assert "KMW-005" not in silent


def test_two_runs_that_say_nothing_say_so() -> None:
    assert "nothing -> nothing" in table({}, {})


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The recording's configuration with a detection in shadow and another silenced."""
    given = yaml.safe_load((RECORDING / "kmwatch.yaml").read_text(encoding="utf-8"))
    for key in ("identities", "inventory"):
        given[key] = {"file": str(RECORDING / given[key]["file"])}
    given["callers"] = str(RECORDING / given["callers"])
    given["sources"] = [{"file": {"paths": [str(RECORDING / "cadf.jsonl.gz")]}}]
    given["detections"] = {"KMW-022": {"mode": "shadow"}}
    given["silences"] = [
        {"id": "s", "detections": ["KMW-019"], "owner": "soc", "reason": "a test", "expires": "2027-01-01"}
    ]
    path = tmp_path / "kmwatch.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return path


def test_a_shadow_and_a_silence_show_in_the_comparison_of_the_recording(
    changed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = ["--from", str(RECORDING / "cadf.jsonl.gz")]
    assert main(["replay", "-c", str(RECORDING / "kmwatch.yaml"), "--against", str(changed), *recording]) == 0
    rows = {line.split()[0]: line.split()[2:] for line in capsys.readouterr().out.splitlines() if "->" in line}
    assert rows["KMW-022"][1:] == ["0", "0", "->", "0", rows["KMW-022"][0], "0", rows["KMW-022"][0], "0"]
    assert rows["KMW-019"] == ["1", "0", "0", "->", "0", "0", "1", "1", "0"]


def test_a_comparison_writes_a_table_and_nothing_else(changed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["replay", "-c", str(changed), "--against", str(changed)]
    assert main([*given, "--alerts", "-"]) == 2
    assert main([*given, "--from", "-"]) == 2
    assert "leave out the outputs" in capsys.readouterr().err
