"""Questions on the command line: what is refused, and how it is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmwatch.cli import main
from kmwatch.inquiry.asking import moment
from tests.support.audit import RECORDING, cadf, envelope

CONFIG = ["-c", str(RECORDING / "kmwatch.yaml")]
FROM = ["--from", str(RECORDING / "cadf.jsonl.gz")]
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-11-24", 1_795_478_400_000_000),
        ("2026-11-24T10:00:00Z", 1_795_514_400_000_000),
        ("2026-11-24T10:00:00", 1_795_514_400_000_000),
        ("2026-11-24T12:00:00.000001+02:00", 1_795_514_400_000_001),
        ("7d", 1_799_395_200_000_000),
        ("90s", 1_799_999_910_000_000),
    ],
)
def test_a_time_is_a_date_a_moment_or_how_long_ago(text: str, micros: int) -> None:
    assert moment(lambda: NOW)(text) == micros


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["reads", *CONFIG, "--since", "yesterday"], "is no time; write 2026-11-24"),
        (["reads", *CONFIG, "--network", "10.0.0.1/8"], "is no network; write 10.20.0.0/24"),
        (["reads", *CONFIG, "--output", "xml"], "invalid choice"),
        (["explain", *CONFIG], "name an id, or a record with --record FILE"),
        (["report", *CONFIG], "--html"),
        (["report", *CONFIG, "--html", "x", "--idle", "long"], "is not a duration"),
    ],
)
def test_a_question_that_makes_no_sense_is_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["reads"], ["explain", "req-1"], ["report", "--html", "-"]])
def test_without_a_store_or_recordings_there_is_nothing_to_ask(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], *CONFIG, *words[1:]]) == 3
    assert "no store" in (said := capsys.readouterr().err)
    assert "--from" in said


def test_an_unknown_id_ends_with_1_and_is_not_echoed_raw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *CONFIG, *FROM, "req-\x1b[2J"]) == 1
    assert "nothing is known of req-\\x1b[2J in these recordings" in capsys.readouterr().err


def test_a_record_that_tells_of_no_request_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pasted = tmp_path / "x"
    pasted.write_text("good morning\n")
    assert main(["explain", *CONFIG, "--record", str(pasted)]) == 1
    assert "unknown_form" in capsys.readouterr().err
    assert main(["explain", *CONFIG, "--record", str(tmp_path / "none")]) == 1
    assert "cannot read" in capsys.readouterr().err


def test_a_pasted_record_is_told_alone_where_there_is_no_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pasted = tmp_path / "record.json"
    pasted.write_bytes(envelope(cadf()) + b"\n")
    assert main(["explain", *CONFIG, "--record", str(pasted), "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["source"], told["kind"], told["request_id"]) == ("record", "retrieval", "req-1")
    assert [witness["part"] for witness in told["witnesses"]] == ["response"]
    assert "request_missing" in told["flags"]


def test_a_pasted_event_or_alert_is_found_by_its_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, alerts = tmp_path / "events", tmp_path / "alerts"
    assert main(["replay", *CONFIG, *FROM, "--events", str(events), "--alerts", str(alerts)]) == 0
    event, alert = events.read_bytes().splitlines()[5], alerts.read_bytes().splitlines()[0]
    capsys.readouterr()
    for line, ids in (
        (event, [json.loads(event)["event_id"]]),
        (alert, json.loads(alert)["unmapped"]["kmwatch"]["event_ids"]),
    ):
        pasted = tmp_path / "pasted"
        pasted.write_bytes(line)
        assert main(["explain", *CONFIG, *FROM, "--record", str(pasted), "--output", "json"]) == 0
        told = [json.loads(one)["event_id"] for one in capsys.readouterr().out.splitlines()]
        assert set(ids) <= set(told)


def test_names_and_ids_mean_the_same_caller(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reads", *CONFIG, *FROM, "--user", "mallory", "--output", "csv"]) == 0
    by_name = capsys.readouterr().out
    assert main(["reads", *CONFIG, *FROM, "--user", "2e427928287a4eedb975c36637c4a9d7", "--output", "csv"]) == 0
    assert capsys.readouterr().out == by_name
    assert by_name.count("\n") > 50


def test_how_far_back_the_answer_reaches_is_said_beside_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reads", *CONFIG, *FROM, "--secret", "none"]) == 0
    assert capsys.readouterr().err.startswith("0 retrievals; the ledger holds 369 since 2026-11-23T20:47:53Z")
