"""`kmwatch outbox` and `kmwatch sink test`, as an operator types them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kmwatch.cli import main
from kmwatch.ports import Commit, Routed
from kmwatch.store.sqlite import SqliteStore
from tests.servers.fakes import TOKEN, FakeHec, FakeWebhook
from tests.support.findings import finding
from tests.unit.test_cli import configured

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store holds two dead lines and one that waits."""
    path = configured(tmp_path)
    asyncio.run(_seed(tmp_path / "kmwatch.db"))
    return path


async def _seed(path: Path) -> None:
    store = SqliteStore(path, "one", lambda: 1_795_000_000.0)
    await store.claim()
    await store.commit(Commit([], [], [Routed(finding(n), ("archive",)) for n in (1, 2, 3)], []))
    one, two, _ = await store.pending("archive", 9)
    await store.dead("archive", [one.seq], "=cmd|'/c calc'!A1 \x1b[2J")
    await store.dead("archive", [two.seq], "refused")
    await store.close()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_the_list_says_what_waits_and_what_is_dead_and_why(config: Path, say: Say) -> None:
    code, out, _ = say("outbox", "-c", config)
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split()[:3] == ["sink", "state", "line"]
    assert [row.split()[:3] for row in rows] == [
        ["archive", "dead", "line-1"], ["archive", "dead", "line-2"], ["archive", "pending", "line-3"],
    ]  # fmt: skip
    assert "refused" in rows[1]
    assert "\x1b" not in out


def test_json_is_one_object_a_line(config: Path, say: Say) -> None:
    _, out, _ = say("outbox", "-c", config, "--output", "json", "--sink", "archive")
    rows: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert [row["line"] for row in rows] == ["line-1", "line-2", "line-3"]
    assert rows[1] == {
        "sink": "archive", "state": "dead", "line": "line-2", "finding": "finding-2", "rule": "KMW-001",
        "severity": "high", "stored": "2026-11-18T11:06:40.000000Z", "attempts": 1, "error": "refused",
    }  # fmt: skip


def test_csv_cannot_make_a_spreadsheet_compute(config: Path, say: Say) -> None:
    _, out, _ = say("outbox", "-c", config, "--output", "csv", "--line", "line-1")
    _, row = csv.reader(io.StringIO(out))
    assert row[-1] == "'=cmd|'/c calc'!A1 \\x1b[2J"


def test_a_list_that_is_cut_says_so(config: Path, say: Say) -> None:
    _, out, err = say("outbox", "-c", config, "--limit", 2)
    assert len(out.splitlines()) == 3
    assert "--limit" in err


def test_retry_has_dead_lines_wait_again(config: Path, say: Say) -> None:
    code, out, _ = say("outbox", "-c", config, "retry", "--line", "line-2")
    assert (code, out.split()[0]) == (0, "1")
    states = [json.loads(line)["state"] for line in say("outbox", "-c", config, "--output", "json")[1].splitlines()]
    assert states == ["dead", "pending", "pending"]


@pytest.mark.parametrize("confirm", [(), ("--confirm", "yes")])
def test_drop_without_the_word_lets_go_of_nothing(config: Path, say: Say, confirm: tuple[str, ...]) -> None:
    code, _, err = say("outbox", "-c", config, "drop", *confirm)
    assert code == 2
    assert "--confirm lose-them" in err
    assert len(say("outbox", "-c", config)[1].splitlines()) == 4


def test_drop_with_the_word_lets_go_of_dead_lines_only(config: Path, say: Say) -> None:
    code, out, _ = say("outbox", "-c", config, "drop", "--confirm", "lose-them")
    assert (code, out.split()[0]) == (0, "2")
    assert [row.split()[2] for row in say("outbox", "-c", config)[1].splitlines()[1:]] == ["line-3"]


def test_a_look_at_a_store_that_is_not_there_makes_none(tmp_path: Path, say: Say) -> None:
    code, _, err = say("outbox", "-c", configured(tmp_path))
    assert code == 1
    assert "there is no store at" in err
    assert not (tmp_path / "kmwatch.db").exists()


# ------------------------------------------------------------------------------------------------------ sink test


async def asked(folder: Path, sink: Mapping[str, object], name: str = "tried") -> int:
    path = configured(folder, sinks=[{"name": "tried", **sink}])
    return await asyncio.to_thread(main, ["sink", "-c", str(path), "test", name])


async def with_receiver(receiver: FakeHec | FakeWebhook, work: Callable[[], Awaitable[int]]) -> int:
    await receiver.start()
    try:
        return await work()
    finally:
        await receiver.stop()


async def test_one_marked_finding_arrives_and_the_receivers_words_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splunk = FakeHec()
    sink = {"splunk_hec": {"url": splunk.url, "token": TOKEN, "index": "security"}}
    assert await with_receiver(splunk, lambda: asked(tmp_path, sink)) == 0
    assert len(splunk.received) == 1
    assert splunk.received[0].startswith("test-")
    assert capsys.readouterr().out == 'tried: HTTP 200 {"text": "Success", "code": 0}\n'


async def test_a_refusal_is_told_in_the_receivers_words_without_the_token_and_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splunk = FakeHec()
    sink = {"splunk_hec": {"url": splunk.url, "token": "wrong-token", "index": "security"}}
    assert await with_receiver(splunk, lambda: asked(tmp_path, sink)) == 1
    said = capsys.readouterr().err
    assert "Invalid token" in said
    assert "wrong-token" not in said


async def test_a_receiver_that_is_away_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splunk = FakeHec()
    sink = {"splunk_hec": {"url": splunk.url, "token": TOKEN}}
    assert await asked(tmp_path, sink) == 3
    assert "localhost" in capsys.readouterr().err


async def test_a_sink_that_is_not_configured_is_named_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asked(tmp_path, {"stdout": {}}, name="other") == 1
    assert "there are: tried" in capsys.readouterr().err
