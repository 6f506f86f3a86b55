"""What the bundled recording's ledger answers, held against golden files, against replay, and against its driver."""

from __future__ import annotations

import csv
import gzip
import json
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import yaml

from kmwatch.cli import main
from tests.golden import labelled
from tests.golden.inquiry import CONFIG, EXPLAINED, GOLDEN, SOURCES, answers, ask
from tests.golden.replaying import GOLDEN as REPLAYED
from tests.golden.replaying import lines
from tests.servers.ports import free_port
from tests.support.audit import RECORDING


@pytest.fixture(scope="module")
def given() -> dict[str, str]:
    return answers()


@pytest.mark.parametrize("name", ["reads.csv", "explain.txt", "explain.jsonl", "report.json"])
def test_the_answer_is_that_of_the_golden_file(given: dict[str, str], name: str) -> None:
    assert given[name] == (GOLDEN / name).read_text(encoding="utf-8"), "python -m tests.golden.inquiry"


@pytest.fixture(scope="module")
def rows(given: dict[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(given["reads.csv"])))


def test_the_ledger_holds_every_read_that_gave_out_a_payload_and_none_else(rows: list[dict[str, str]]) -> None:
    labels = labelled.read(REPLAYED / "labels.tsv.gz")
    reads = {label.request_id for label in labels if label.expected.startswith("retrieval/")}
    assert {row["request_id"] for row in rows} == reads
    assert len(rows) == len(reads)


def test_a_read_is_explained_in_the_ledger_exactly_if_it_was_legitimate(rows: list[dict[str, str]]) -> None:
    labels = {label.request_id: label.expected for label in labelled.read(REPLAYED / "labels.tsv.gz")}
    wrong = [row for row in rows if (row["explained"] == "true") != (labels[row["request_id"]] == "retrieval/legit")]
    assert wrong == []


def test_the_ledger_says_what_the_events_say(rows: list[dict[str, str]], tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    ask("replay", "--events", str(events))
    verdicts = {
        event["event_id"]: (event["verdict"]["reason"], event["verdict"]["declaration"] or "")
        for event in lines(events.read_bytes())
        if event["verdict"]
    }
    assert {row["event_id"]: (row["reason"], row["declaration"]) for row in rows} == verdicts


# The store of a daemon that has run


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a daemon that has read the recording."""
    folder = tmp_path_factory.mktemp("stored")
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | {
        "sources": [{"file": {"paths": SOURCES}}],
        "store": {"sqlite": {"path": str(folder / "kmwatch.db")}},
        "sinks": [{"name": "archive", "file": {"path": str(folder / "alerts.jsonl")}}],
        "http": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"level": "error"},
    }
    for key in ("callers", "identities", "inventory"):
        given = settings[key]
        settings[key] = str(RECORDING / given) if isinstance(given, str) else {"file": str(RECORDING / given["file"])}
    path = folder / "kmwatch.yaml"
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert main(["run", "-c", str(path)]) == 0
    return path


def asked(stored: Path, *words: str) -> str:
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        assert main([words[0], "-c", str(stored), *words[1:]]) == 0
    return out.getvalue()


def test_a_store_answers_as_a_replay_of_what_it_has_read_does(stored: Path, given: dict[str, str]) -> None:
    assert asked(stored, "reads", "--output", "csv") == given["reads.csv"]


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (("--user", "mallory"), "user_name", "mallory"),
        (("--project", "tenant-m"), "project_id", "87cf47f7cd6e4ad98d9e6cabc0f161c1"),
        (("--secret", "c87aa996-611b-402c-b6b3-ea85285d55bb"), "secret_id", "c87aa996-611b-402c-b6b3-ea85285d55bb"),
        (("--declaration", "octavia-lb"), "declaration", "octavia-lb"),
        (("--network", "127.0.1.209"), "address", "127.0.1.209"),
    ],
)
def test_a_question_gives_the_rows_that_fit(
    stored: Path, rows: list[dict[str, str]], words: tuple[str, ...], field: str, value: str
) -> None:
    found = [json.loads(line)["event_id"] for line in asked(stored, "reads", *words, "--output", "json").splitlines()]
    assert found == [row["event_id"] for row in rows if row[field] == value]
    assert found


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(
    stored: Path, rows: list[dict[str, str]]
) -> None:
    first, last = rows[10]["event_time"], rows[20]["event_time"]
    told = asked(stored, "reads", "--since", first, "--until", last, "--output", "json")
    assert [json.loads(line)["event_id"] for line in told.splitlines()] == [row["event_id"] for row in rows[10:20]]


def test_a_store_explains_a_read_by_all_that_it_keeps(stored: Path, given: dict[str, str]) -> None:
    """All but what each witness said, word for word, and the findings, which it knows by their ids."""
    kept = ("event_id", "event_time", "operation", "status", "secret", "verdict", "permitted", "evidence", "flags")
    for line in given["explain.jsonl"].splitlines():
        replayed = json.loads(line)
        told = json.loads(asked(stored, "explain", replayed["request_id"], "--output", "json"))
        assert told["source"] == "ledger"
        assert {key: told[key] for key in kept} == {key: replayed[key] for key in kept}
        assert {w["witness"] for w in told["witnesses"]} == {w["witness"] for w in replayed["witnesses"]}


def test_a_store_explains_an_alert_about_requests_that_were_no_reads(stored: Path) -> None:
    alerts = [json.loads(line) for line in (stored.parent / "alerts.jsonl").read_text(encoding="utf-8").splitlines()]
    line = next(one for one in alerts if one["finding_info"]["analytic"]["uid"] == "KMW-015")
    told = [
        json.loads(one)
        for one in asked(stored, "explain", line["finding_info"]["uid"], "--output", "json").splitlines()
    ]
    assert {one["event_id"] for one in told} >= set(line["unmapped"]["kmwatch"]["event_ids"])
    assert {(one["source"], one["status"]) for one in told} == {("finding", 404)}


def test_a_report_of_a_store_is_that_of_a_replay(stored: Path) -> None:
    until = ("--until", "2026-11-24")
    assert asked(stored, "report", "--html", "-", *until) == ask("report", "--html", "-", *until)


# Recordings


def test_an_alert_is_explained_by_each_request_that_it_cites(tmp_path: Path) -> None:
    alerts = tmp_path / "alerts.jsonl"
    ask("replay", "--alerts", str(alerts))
    line = next(one for one in lines(alerts.read_bytes()) if one["finding_info"]["analytic"]["uid"] == "KMW-013")
    cited = line["unmapped"]["kmwatch"]["event_ids"]
    for uid in (line["metadata"]["uid"], line["finding_info"]["uid"]):
        told = [json.loads(one) for one in ask("explain", uid, "--output", "json").splitlines()]
        assert set(cited) <= {one["event_id"] for one in told}
        assert all(any(f["rule"] == "KMW-013" for f in one["findings"]) for one in told)


def test_a_pasted_line_of_a_proxy_finds_the_request_that_it_is_part_of(given: dict[str, str], tmp_path: Path) -> None:
    """The line carries no request id: only the join knows whose it is."""
    with gzip.open(SOURCES[2]) as file:
        line = next(line for line in file if b"/v1/secrets/9c4f4a1b" in line and b"pad=" in line and b"38369" in line)
    pasted = tmp_path / "line.log"
    pasted.write_bytes(line)
    (told,) = [json.loads(one) for one in ask("explain", "--record", str(pasted), "--output", "json").splitlines()]
    assert told == json.loads(given["explain.jsonl"].splitlines()[1])
    assert told["request_id"] == EXPLAINED[0]
    assert {witness["witness"] for witness in told["witnesses"]} == {"cadf", "service_log", "access_log", "proxy_log"}


def test_hostile_words_of_a_request_stay_text(given: dict[str, str]) -> None:
    told = given["explain.txt"]
    assert "address=<script>" in told
    assert all(character.isprintable() or character == "\n" for character in told)
