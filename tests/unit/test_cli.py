"""Commands, their exit codes and what they say when something is wrong."""

from __future__ import annotations

import gzip
import json
import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest

from kmwatch.cli import main
from tests.servers.ports import free_port
from tests.support.audit import RECORDING

CONFIG = RECORDING / "kmwatch.yaml"


def configured(folder: Path, **changes: object) -> Path:
    """The recording's configuration with everything it writes in a folder."""
    settings: dict[str, object] = {
        "sources": [{"file": {"paths": [str(RECORDING / "cadf.jsonl.gz")]}}],
        "callers": str(RECORDING / "callers.yaml"),
        "identities": {"file": str(RECORDING / "identities.json")},
        "inventory": {"file": str(RECORDING / "inventory.jsonl")},
        "store": {"sqlite": {"path": str(folder / "kmwatch.db")}},
        "sinks": [{"name": "archive", "file": {"path": str(folder / "alerts.jsonl")}}],
        "http": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"level": "error"},
    }
    path = folder / "kmwatch.yaml"
    path.write_text(json.dumps(settings | changes))  # YAML includes JSON
    return path


def test_check_of_a_valid_configuration_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", str(CONFIG)]) == 0
    assert "valid" in capsys.readouterr().out


def test_check_names_file_and_line_of_every_error_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(tmp_path, sinks=[{"name": "a", "stdot": {}}], witneses={})
    assert main(["check", "-c", str(path)]) == 1
    said = capsys.readouterr().err
    assert "kmwatch.yaml:1: " in said
    assert '"witnesses"' in said
    assert '"stdout"' in said


def test_a_command_that_does_not_exist_ends_with_2() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn"])
    assert ended.value.code == 2


def test_replay_of_a_file_in_no_known_form_ends_with_1_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain.log").write_text("one line\n")
    assert main(["replay", "-c", str(CONFIG), "--from", str(tmp_path / "plain.log")]) == 1
    assert "in no form that this release reads" in capsys.readouterr().err


def test_run_over_files_delivers_all_and_ends_with_0(tmp_path: Path) -> None:
    assert main(["run", "-c", str(configured(tmp_path))]) == 0
    alerts, replayed = tmp_path / "alerts.jsonl", tmp_path / "replayed.jsonl"
    assert main(["replay", "-c", str(CONFIG), "--alerts", str(replayed)]) == 0
    assert sorted(alerts.read_bytes().splitlines()) == sorted(replayed.read_bytes().splitlines())


def test_run_over_files_ends_with_3_where_a_sink_refuses_and_keeps_its_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinks = [{"name": "archive", "file": {"path": str(tmp_path)}}]  # a folder
    assert main(["run", "-c", str(configured(tmp_path, sinks=sinks))]) == 3
    assert "sink archive refuses" in capsys.readouterr().err
    assert main(["run", "-c", str(configured(tmp_path))]) == 0
    assert len((tmp_path / "alerts.jsonl").read_bytes().splitlines()) > 0


def test_check_warns_that_groups_without_ids_cannot_be_told_without_an_inventory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(tmp_path)
    settings = json.loads(path.read_text())
    del settings["inventory"]
    path.write_text(json.dumps(settings))
    assert main(["check", "-c", str(path)]) == 0
    assert "so only ids can be told; configure inventory" in capsys.readouterr().err


def test_events_hold_no_character_that_a_terminal_obeys(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`--events -` goes to a terminal: whoever sends a request chooses its agent."""
    assert main(["replay", "-c", str(CONFIG), "--events", "-"]) == 0
    out = capfdbinary.readouterr().out
    assert rb"\u0080" in out, "the recording has one in it"
    assert not [c for c in out.decode() if "\x7f" <= c <= "\x9f"]


@pytest.mark.parametrize("form", ["value", "payload", "value_b64"])
def test_a_journal_that_somebody_wrote_to_a_topic_is_rejected_by_a_replay_too(tmp_path: Path, form: str) -> None:
    """Only a file may say whose a secret is; the daemon rejects such a record as well."""
    forged = b'{"kmwatch_inventory":1,"number":1,"base":true}'
    value = b64encode(forged).decode() if form == "value_b64" else forged.decode()
    (tmp_path / "dump.jsonl").write_text(json.dumps({"topic": "t", "partition": 0, "offset": 1, form: value}) + "\n")
    summary = tmp_path / "summary"
    code = main(["replay", "-c", str(CONFIG), "--from", str(tmp_path / "dump.jsonl"), "--summary", str(summary)])
    assert code == 0
    records = json.loads(summary.read_text())["records"]
    assert (records["joined"], records["rejected"]) == (0, {"unknown_form": 1})


def test_a_journal_is_for_its_own_user_alone(tmp_path: Path) -> None:
    """It names every secret, and who may read it."""
    config, journal = configured(tmp_path), tmp_path / "journal.jsonl"
    assert main(["run", "-c", str(config)]) == 0
    before = os.umask(0)
    try:
        assert main(["inventory", "-c", str(config), "--journal", str(journal)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_what_replay_writes_is_for_its_own_user_alone(tmp_path: Path) -> None:
    """Events and alerts say who reads what, as the store does; a file that is there keeps its mode."""
    records = tmp_path / "records.jsonl"
    with gzip.open(RECORDING / "cadf.jsonl.gz") as recorded:
        records.write_bytes(recorded.readline())
    there = tmp_path / "there.jsonl"
    there.touch(mode=0o644)
    before = os.umask(0)
    try:
        out = ["--events", str(there), "--alerts", str(tmp_path / "alerts"), "--summary", str(tmp_path / "summary")]
        assert main(["replay", "-c", str(CONFIG), "--from", str(records), *out]) == 0
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir() if path != records}
    assert modes == {"there.jsonl": 0o644, "alerts": 0o600, "summary": 0o600}
