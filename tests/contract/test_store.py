"""What every store must keep (ports.Store). One suite; a new store joins by a factory."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kmwatch.core.state import Row
from kmwatch.ports import (
    Claim,
    Commit,
    Fenced,
    Move,
    Reject,
    Routed,
    Selection,
    StateError,
    Store,
    StoreError,
)
from kmwatch.store.postgres.connection import Target
from kmwatch.store.postgres.store import PostgresStore
from kmwatch.store.schema import MIGRATIONS
from kmwatch.store.sqlite import SqliteStore
from tests.servers.postgres import PostgresServer
from tests.support.audit import ROOT
from tests.support.findings import finding, hostile


@dataclass(frozen=True)
class Made:
    """How a kind of store is opened, looked into behind its back, and how a claim runs out."""

    open: Callable[[str, Callable[[], float]], Store]
    look: Callable[[str], list[tuple[Any, ...]]]
    lapse: Callable[[], None] = lambda: None


class World:
    """One database, a clock that a test moves, and instances that use both."""

    def __init__(self, folder: Path, made: Made) -> None:
        self.path = folder / "state" / "kmwatch.db"
        self.time = 1000.0
        self.look = made.look
        self._made = made
        self._open: list[Store] = []

    def open(self, owner: str = "one") -> Store:
        store = self._made.open(owner, lambda: self.time)
        self._open.append(store)
        return store

    async def claimed(self, owner: str = "one") -> Store:
        """A store that has just taken over from whoever was active, and knows nothing of it yet."""
        store = self.open(owner)
        await self.take_over(store)
        return store

    async def take_over(self, store: Store) -> Claim:
        for other in self._open:
            if isinstance(other, PostgresStore):
                vars(other._lease).pop("_beat", None)
                if other is not store:  # it sleeps
                    other._lease._beat = lambda: None  # type: ignore[method-assign]
        self._made.lapse()
        return await store.claim()

    async def close(self, store: Store) -> None:
        self._open.remove(store)
        await store.close()

    async def close_all(self) -> None:
        for store in list(self._open):
            await self.close(store)


def made_sqlite(path: Path) -> Made:
    def look(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as db:
            return db.execute(statement).fetchall()

    return Made(lambda owner, clock: SqliteStore(path, owner, clock), look)


def made_postgres(server: PostgresServer) -> Made:
    target = Target(server.database(), password=server.password, sslmode="disable")

    def look(statement: str) -> list[tuple[Any, ...]]:
        url = f"{target.url}?password={server.password}&options=-csearch_path%3Dkmwatch"
        return server.sql(statement, url=url)

    def lapse() -> None:
        if look("SELECT to_regclass('kmwatch.writer')")[0][0] is not None:
            look("UPDATE writer SET expires = '-infinity'")

    return Made(lambda owner, clock: PostgresStore(target, owner, clock, lease=30), look, lapse)


def _world(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> World:
    if kind == "sqlite":
        return World(tmp_path, made_sqlite(tmp_path / "state" / "kmwatch.db"))
    return World(tmp_path, made_postgres(request.getfixturevalue("postgres")))


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = _world(request, tmp_path, request.param)
    yield made
    await made.close_all()


@pytest_asyncio.fixture
async def file_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """For what only a store in a file has."""
    made = _world(request, tmp_path, "sqlite")
    yield made
    await made.close_all()


def commit(
    *numbers: int, sinks: tuple[str, ...] = ("siem",), move: Move | None = None, rows: tuple[Row, ...] = ()
) -> Commit:
    """Findings by number, routed to sinks."""
    routed = [Routed(finding(number), sinks) for number in numbers]
    return Commit([] if move is None else [move], list(rows), routed, [])


async def lines(store: Store, sink: str = "siem", limit: int = 100) -> list[str]:
    return [pending.finding.line_uid for pending in await store.pending(sink, limit)]


# Commits


async def test_a_commit_is_there_for_the_next_claimant(world: World) -> None:
    store = await world.claimed()
    rows = (Row("open", "k", b"\x00\xff"), Row("meta", "engine", b"x"))
    await store.commit(commit(1, 2, move=Move("t/0", None, 5), rows=rows))
    await world.close(store)
    again = world.open("two")
    claim = await again.claim()
    assert (claim.positions, claim.rows) == ({"t/0": 5}, list(rows))
    assert await lines(again) == ["line-1", "line-2"]


async def test_rows_come_back_in_the_order_they_were_last_written(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(rows=tuple(Row("s", key, b"1") for key in "abcd")))
    await store.commit(commit(rows=(Row("s", "b", b"2"), Row("s", "c", None), Row("s", "e", b"1"))))
    rows = (await store.claim()).rows
    assert [(row.key, row.value) for row in rows] == [("a", b"1"), ("d", b"1"), ("b", b"2"), ("e", b"1")]


async def test_a_commit_is_written_whole_or_not_at_all(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(move=Move("t/0", None, 5)))
    bad = Commit(
        [Move("t/1", None, 3), Move("t/0", 4, 9)],
        [Row("open", "k", b"v")],
        [Routed(finding(1), ("siem",))],
        [Reject("t/1", 2, "not_json", "x", b"y")],
    )
    with pytest.raises(Fenced):
        await store.commit(bad)
    claim = await store.claim()
    assert (claim.positions, claim.rows) == ({"t/0": 5}, [])
    assert await lines(store) == []
    assert (await store.accounts(), store.backlog()) == ({}, 0)
    await store.commit(commit(1, move=Move("t/0", 5, 9)))  # and it still takes a good one
    assert store.backlog() == 1


async def test_a_stream_is_new_only_once(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(move=Move("t/0", None, 5)))
    with pytest.raises(Fenced, match="t/0"):
        await store.commit(commit(1, move=Move("t/0", None, 7)))
    with pytest.raises(Fenced):
        await store.commit(commit(1, move=Move("t/9", 0, 7)))
    assert (await store.claim()).positions == {"t/0": 5}


# Fences


async def test_an_older_claimant_is_fenced_and_writes_nothing(world: World) -> None:
    first = await world.claimed("first")
    await first.commit(commit(1, move=Move("t/0", None, 5)))
    second = world.open("second")
    assert (await world.take_over(second)).number == 2
    with pytest.raises(Fenced):
        await first.commit(commit(2, move=Move("t/0", 5, 6), rows=(Row("a", "b", b"c"),)))
    await second.commit(commit(3, move=Move("t/0", 5, 7)))
    third = await second.claim()
    assert (third.positions, third.rows) == ({"t/0": 7}, [])
    assert await lines(second) == ["line-1", "line-3"]


async def test_a_fenced_claimant_is_given_nothing_to_deliver(world: World) -> None:
    first = await world.claimed("first")
    await first.commit(commit(1))
    await world.claimed("second")
    assert await lines(first) == []


async def test_what_a_fenced_claimant_had_delivered_still_counts_as_delivered(world: World) -> None:
    first = await world.claimed("first")
    await first.commit(commit(1))
    (pending,) = await first.pending("siem", 1)
    second = await world.claimed("second")
    await first.delivered("siem", [pending.seq])
    assert await lines(second) == []


async def test_whoever_never_claimed_writes_nothing(world: World) -> None:
    store = world.open()
    with pytest.raises(Fenced):
        await store.commit(commit(1))
    assert await store.accounts() == {}


async def test_the_claim_number_grows_over_restarts(world: World) -> None:
    numbers = []
    for _ in range(3):
        store = world.open()
        numbers.append((await store.claim()).number)
        await world.close(store)
    assert numbers == [1, 2, 3]


async def test_a_claimant_takes_over_the_backlog_as_it_is_now(world: World) -> None:
    standby = world.open("standby")
    active = await world.claimed("active")
    await active.commit(commit(1, 2, 3))
    (first, *_) = await active.pending("siem", 1)
    await active.delivered("siem", [first.seq])
    await world.take_over(standby)
    assert standby.backlog() == 2


async def test_a_store_says_whether_it_is_the_active_one_and_since_which_epoch(world: World) -> None:
    store = world.open()
    assert (store.standing().role, store.standing().active) == ("standby", False)
    claim = await store.claim()
    standing = store.standing()
    assert (standing.role, standing.epoch, standing.owner) == ("active", claim.number, "one")
    assert standing.since is not None
    store.check()


async def test_whoever_resigns_is_active_no_more_and_may_claim_again(world: World) -> None:
    store = await world.claimed()
    await store.resign()
    assert not store.standing().active
    assert (await store.claim()).number == 2
    await store.commit(commit(1))


async def test_whoever_was_fenced_knows_that_it_is_active_no_more(world: World) -> None:
    first = await world.claimed("first")
    await world.claimed("second")
    with pytest.raises(Fenced):
        await first.commit(commit(1))
    assert first.standing().role == "standby"


async def test_a_batch_of_thousands_is_stored_in_order(world: World) -> None:
    store = await world.claimed()
    rows = tuple(Row("s", f"key-{number}", b"v") for number in range(5000))
    await store.commit(commit(*range(1000), rows=rows))
    assert (await store.claim()).rows == list(rows)
    assert await lines(store, limit=1000) == [f"line-{number}" for number in range(1000)]


# Outbox


async def test_a_line_is_stored_once_however_often_it_is_committed(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 1))
    await store.commit(commit(1, 2))
    assert await lines(store) == ["line-1", "line-2"]
    assert (await store.accounts())["siem"].routed == store.backlog() == 2


async def test_a_finding_comes_back_as_it_was(world: World) -> None:
    store = await world.claimed()
    sent = [finding(1, citations=3), hostile(2)]
    await store.commit(Commit([], [], [Routed(one, ("siem",)) for one in sent], []))
    assert [pending.finding for pending in await store.pending("siem", 9)] == sent


async def test_lines_wait_in_the_order_they_were_stored_for_each_sink_apart(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(3, sinks=("siem", "archive")))
    await store.commit(commit(1, 2, sinks=("siem",)))
    assert await lines(store) == ["line-3", "line-1", "line-2"]
    assert await lines(store, limit=2) == ["line-3", "line-1"]
    assert await lines(store, "archive") == ["line-3"]
    assert await lines(store, "unknown") == []


async def test_what_is_delivered_or_dead_waits_no_more(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2, 3, 4, sinks=("siem", "archive")))
    one, two, three, _ = [pending.seq for pending in await store.pending("siem", 9)]
    await store.delivered("siem", [one, two])
    await store.dead("siem", [three], "refused")
    await store.failed("siem", [one], "too late: it was delivered")
    assert await lines(store) == ["line-4"]
    assert len(await lines(store, "archive")) == 4
    accounts = await store.accounts()
    siem, archive = accounts["siem"], accounts["archive"]
    assert (siem.routed, siem.delivered, siem.pending, siem.dead) == (4, 2, 1, 1)
    assert (archive.routed, archive.delivered, archive.pending, archive.dead) == (4, 0, 4, 0)
    assert store.backlog() == 5


async def test_settling_twice_counts_once(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1))
    (pending,) = await store.pending("siem", 9)
    for _ in range(2):
        await store.delivered("siem", [pending.seq, pending.seq])
        await store.dead("siem", [pending.seq], "x")
    siem = (await store.accounts())["siem"]
    assert (siem.delivered, siem.dead, siem.pending, store.backlog()) == (1, 0, 0, 0)


async def test_a_failed_attempt_is_counted_and_the_line_stays(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2))
    one, two = await store.pending("siem", 9)
    await store.failed("siem", [one.seq], "away")
    await store.failed("siem", [one.seq, two.seq], "away")
    assert [pending.attempts for pending in await store.pending("siem", 9)] == [2, 1]


async def test_a_line_for_no_sink_is_kept_and_waits_for_nobody(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, sinks=()))
    assert (store.backlog(), await store.accounts()) == (0, {})
    await store.commit(commit(1, sinks=("siem",)))  # it is the same line, and was routed once
    assert await lines(store) == []


async def test_the_age_of_what_waits_is_that_of_the_oldest_line(world: World) -> None:
    store = await world.claimed()
    for number, time in ((1, 100.0), (2, 200.0)):
        world.time = time
        await store.commit(commit(number))
    assert (await store.accounts())["siem"].oldest_pending == 100.0
    (first, *_) = await store.pending("siem", 1)
    await store.delivered("siem", [first.seq])
    assert (await store.accounts())["siem"].oldest_pending == 200.0


async def test_accounts_outlive_a_restart_and_pruning(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2))
    (first, _) = await store.pending("siem", 9)
    await store.delivered("siem", [first.seq])
    world.time = 5000.0
    await store.prune(5000.0)
    before = await store.accounts()
    await world.close(store)
    again = await world.claimed()
    assert await again.accounts() == before
    siem = before["siem"]
    assert siem.routed == siem.delivered + siem.pending + siem.dead == 2
    assert again.backlog() == 1


# What an operator sees and does


async def test_the_backlog_has_octets_too_each_line_counted_for_each_sink(world: World) -> None:
    store = await world.claimed()
    assert store.backlog_octets() == 0
    await store.commit(commit(1, sinks=("siem",)))
    one = store.backlog_octets()
    assert one > 500
    await store.commit(commit(2, sinks=("siem", "archive")))
    assert abs(store.backlog_octets() - 3 * one) < 10
    accounts = await store.accounts()
    assert accounts["siem"].pending_bytes + accounts["archive"].pending_bytes == store.backlog_octets()
    for sink in ("siem", "archive"):
        await store.delivered(sink, [pending.seq for pending in await store.pending(sink, 9)])
    assert (store.backlog(), store.backlog_octets()) == (0, 0)


async def test_only_lines_of_the_sinks_that_are_served_are_backlog(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2, sinks=("siem", "archive")))
    await store.serve({"archive"})
    assert store.backlog() == 2
    await store.commit(commit(3, sinks=("siem", "archive")))
    assert store.backlog() == 3
    await store.delivered("siem", [pending.seq for pending in await store.pending("siem", 9)])
    assert store.backlog() == 3
    assert await lines(store, "archive") == ["line-1", "line-2", "line-3"]


async def test_what_is_owed_is_listed_by_sink_with_its_state_and_reason(world: World) -> None:
    store = await world.claimed()
    world.time = 1234.0
    await store.commit(commit(1, 2, 3, sinks=("siem", "archive")))
    one, two, three = [pending.seq for pending in await store.pending("siem", 9)]
    await store.delivered("siem", [one])
    await store.failed("siem", [two], "away")
    await store.dead("siem", [three], "refused")
    found = [(row.sink, row.state, row.line, row.attempts, row.error) for row in await store.owed(Selection(), 99)]
    assert found == [
        ("archive", "pending", "line-1", 0, None),
        ("archive", "pending", "line-2", 0, None),
        ("archive", "pending", "line-3", 0, None),
        ("siem", "pending", "line-2", 1, "away"),
        ("siem", "dead", "line-3", 1, "refused"),
    ]
    (row,) = await store.owed(Selection("siem", frozenset({"line-3"})), 99)
    assert (row.finding, row.rule, row.severity, row.stored) == ("finding-3", "KMW-001", "high", 1234.0)
    assert len(await store.owed(Selection(), 2)) == 2


async def test_dead_lines_wait_again_as_if_they_were_new(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2))
    seqs = [pending.seq for pending in await store.pending("siem", 9)]
    before = store.backlog_octets()
    await store.dead("siem", seqs, "refused")
    assert await store.retry(Selection("siem", frozenset({"line-2"}))) == 1
    assert [(pending.finding.line_uid, pending.attempts) for pending in await store.pending("siem", 9)] == [
        ("line-2", 0)
    ]
    assert await store.retry(Selection()) == 1
    assert await store.retry(Selection()) == 0
    siem = (await store.accounts())["siem"]
    assert (siem.pending, siem.dead, siem.forgotten, store.backlog(), store.backlog_octets()) == (2, 0, 0, 2, before)


async def test_dead_lines_are_let_go_of_only_when_told_and_stay_in_the_account(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, 2, 3))
    one, two, _ = [pending.seq for pending in await store.pending("siem", 9)]
    await store.dead("siem", [one, two], "refused")
    assert await store.forget(Selection(lines=frozenset({"line-1", "line-3"}))) == 1  # line-3 is not dead
    siem = (await store.accounts())["siem"]
    assert (siem.routed, siem.delivered, siem.pending, siem.dead, siem.forgotten) == (3, 0, 1, 1, 1)
    assert await store.retry(Selection()) == 1
    assert await lines(store) == ["line-2", "line-3"]


async def test_an_operator_works_beside_a_running_instance_without_taking_its_place(world: World) -> None:
    running = await world.claimed("running")
    await running.commit(commit(1))
    await running.dead("siem", [(await running.pending("siem", 9))[0].seq], "refused")
    operator = world.open("operator")
    assert await operator.retry(Selection()) == 1
    assert await lines(running) == ["line-1"]
    await running.accounts()
    assert running.backlog() == 1
    await running.commit(commit(2))  # it still has the claim


async def test_a_damaged_store_is_told_from_one_that_will_work_again(file_world: World) -> None:
    store = await file_world.claimed()
    assert isinstance(store, SqliteStore)
    for number in range(1, 300):
        await store.commit(commit(number))
    await store._run(lambda: store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    size = file_world.path.stat().st_size
    with file_world.path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192))
    await file_world.close(store)
    with pytest.raises((StateError, StoreError), match=r"is damaged|cannot open the store"):
        await _everything(file_world.open())


async def _everything(store: Store) -> None:
    await store.claim()
    await store.pending("siem", 999)
    await store.owed(Selection(), 999)
    await store.commit(commit(1000))


# Pruning


async def test_pruning_takes_what_is_old_and_done_and_keeps_what_is_owed(world: World) -> None:
    store = await world.claimed()
    await store.commit(commit(1, sinks=("siem", "archive")))
    await store.commit(commit(2, 3, 4))
    await store.commit(commit(5, sinks=()))
    await store.commit(Commit([], [], [], [Reject("t/0", 1, "not_json", "x", b"old")]))
    seqs = {pending.finding.line_uid: pending.seq for pending in await store.pending("siem", 9)}
    await store.delivered("siem", [seqs["line-1"], seqs["line-2"]])  # line-1 still waits for the archive
    await store.dead("siem", [seqs["line-3"]], "refused")
    world.time = 2000.0
    await store.commit(commit(6))
    await store.delivered("siem", [(await store.pending("siem", 9))[-1].seq])
    assert await store.prune(2000.0) == 3  # line-2, line-5 and the rejected record
    assert await store.prune(2000.0) == 0
    assert await lines(store, "archive") == ["line-1"]
    assert await lines(store) == ["line-4"]
    siem = (await store.accounts())["siem"]
    assert (siem.dead, siem.pending, store.backlog()) == (1, 1, 2)
    kept = [uid for (uid,) in world.look("SELECT line_uid FROM outbox ORDER BY seq")]
    assert kept == ["line-1", "line-3", "line-4", "line-6"]


async def test_a_rejected_record_is_kept_with_its_reason(world: World) -> None:
    store = await world.claimed()
    await store.commit(Commit([], [], [], [Reject("t/0", 7, "bad_time", "why", b"\x00\xffraw")]))
    (row,) = world.look("SELECT stream, position, reason, detail, value FROM rejected")
    assert row == ("t/0", 7, "bad_time", "why", b"\x00\xffraw")


# Files


async def test_nobody_else_may_read_its_files(file_world: World) -> None:
    before = os.umask(0)
    try:
        store = await file_world.claimed()
        await store.commit(commit(1))
    finally:
        os.umask(before)
    files = list(file_world.path.parent.iterdir())
    assert len(files) >= 2, "the write-ahead log is there too"
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(file_world: World) -> None:
    await file_world.close(await file_world.claimed())
    file_world.path.chmod(0o644)
    file_world.open()
    assert stat.S_IMODE(file_world.path.stat().st_mode) == 0o600


async def test_a_store_of_a_newer_release_is_refused_with_what_to_do(file_world: World) -> None:
    await file_world.close(await file_world.claimed())
    with sqlite3.connect(file_world.path) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StoreError, match=r"newer release.*run that release"):
        file_world.open()


@pytest.mark.parametrize("version", [0, 1, 99])
async def test_a_database_of_something_else_is_refused_and_left_as_it_is(file_world: World, version: int) -> None:
    file_world.path.parent.mkdir()
    with sqlite3.connect(file_world.path) as db:
        db.executescript(f"CREATE TABLE theirs (a); PRAGMA user_version = {version};")
    db.close()
    file_world.path.chmod(0o640)
    content = file_world.path.read_bytes()
    with pytest.raises(StoreError, match="a database of something else"):
        file_world.open()
    assert file_world.path.read_bytes() == content
    assert stat.S_IMODE(file_world.path.stat().st_mode) == 0o640
    assert [path.name for path in file_world.path.parent.iterdir()] == [file_world.path.name]


async def test_a_file_that_is_no_database_is_refused(file_world: World) -> None:
    file_world.path.parent.mkdir()
    file_world.path.write_bytes(b"alerts: none\n" * 1000)
    with pytest.raises(StoreError, match="cannot open the store"):
        file_world.open()


async def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(file_world: World) -> None:
    file_world.path.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(StoreError, match="cannot open the store"):
        file_world.open()


# Trouble


async def _fails_then_works(store: Store, mend: Callable[[], Awaitable[None]]) -> None:
    """A commit that the disk refuses changes nothing, and the very same works once there is room."""
    big = Commit([Move("t/0", 5, 9)], [Row("open", "k", b"x" * 400_000)], [Routed(finding(2), ("siem",))], [])
    for _ in range(2):
        with pytest.raises(StoreError, match="nothing is lost"):
            await store.commit(big)
    assert await lines(store) == ["line-1"]
    assert store.backlog() == 1
    await mend()
    await store.commit(big)
    assert await lines(store) == ["line-1", "line-2"]
    claim = await store.claim()
    assert (claim.positions, [row.key for row in claim.rows]) == ({"t/0": 9}, ["k"])


async def test_a_full_database_refuses_a_commit_and_takes_it_when_there_is_room(file_world: World) -> None:
    store = await file_world.claimed()
    assert isinstance(store, SqliteStore)
    await store.commit(commit(1, move=Move("t/0", None, 5)))

    async def limit(pages: int) -> None:
        await store._run(lambda: store._db.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    await limit(20)
    await _fails_then_works(store, lambda: limit(1_000_000))


async def test_a_database_that_may_not_be_written_refuses_a_commit_and_takes_it_when_it_may(file_world: World) -> None:
    store = await file_world.claimed()
    assert isinstance(store, SqliteStore)
    await store.commit(commit(1, move=Move("t/0", None, 5)))

    async def read_only(on: int) -> None:
        await store._run(lambda: store._db.execute(f"PRAGMA query_only = {on}").fetchall())

    await read_only(1)
    await _fails_then_works(store, lambda: read_only(0))


_FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from kmwatch.core.state import Row
from kmwatch.ports import Claim, Commit, Move, StoreError
from kmwatch.store.sqlite import SqliteStore

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteStore(Path(sys.argv[1]), "one", lambda: 0.0)
    await store.claim()
    await store.commit(Commit([Move("t/0", None, 1)], [], [], []))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    big = Commit([Move("t/0", 1, 2)], [Row("open", "k", b"x" * 500_000)], [], [])
    try:
        await store.commit(big)
    except StoreError as error:
        print("refused:", error)
    print("then:", (await store.claim()).positions)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.commit(big)
    print("now:", (await store.claim()).positions)
    await store.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_bytes_refuses_a_commit_and_takes_it_later(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "state.db")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    refused, then, now = done.stdout.splitlines()
    assert refused.startswith("refused: store ")
    assert (then, now) == ("then: {'t/0': 1}", "now: {'t/0': 2}")


async def test_a_store_locked_by_another_process_waits_and_then_works(file_world: World) -> None:
    store = await file_world.claimed()
    other = sqlite3.connect(file_world.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.ensure_future(store.commit(commit(1)))
    other.execute("COMMIT")
    other.close()
    await task
    assert await lines(store) == ["line-1"]


async def _claimed_once(path: Path) -> Claim:
    store = SqliteStore(path, "two", lambda: 0.0)
    try:
        return await store.claim()
    finally:
        await store.close()


def test_what_was_committed_survives_a_process_that_is_killed(tmp_path: Path) -> None:
    script = _FULL_DISK.split("async def main", maxsplit=1)[0] + (
        "async def main():\n"
        "    store = SqliteStore(Path(sys.argv[1]), 'one', lambda: 0.0)\n"
        "    await store.claim()\n"
        "    for n in range(1000):\n"
        "        await store.commit(Commit([Move('t/0', n or None, n + 1)], [Row('s', 'k', b'%d' % n)], [], []))\n"
        "        print(n + 1, flush=True)\n"
        "        if n == 20: signal.raise_signal(signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "state.db"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    told = int(done.stdout.split()[-1])
    claim = asyncio.run(_claimed_once(path))
    assert claim.positions == {"t/0": told} == {"t/0": 21}
    assert claim.rows == [Row("s", "k", b"20")]


async def test_lines_of_a_sink_that_is_configured_no_more_hold_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    before = SqliteStore(path, "before", lambda: 0.0)
    await before.claim()
    await before.commit(Commit([], [], [Routed(finding(), ("kept", "removed"))], []))
    await before.close()
    after = SqliteStore(path, "after", lambda: 0.0, sinks={"kept"})
    assert after.backlog() == 1
    await after.claim()
    assert [len(await after.pending(name, 9)) for name in ("kept", "removed")] == [1, 1]
    await after.close()
