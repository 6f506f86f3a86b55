"""A store moves from SQLite to PostgreSQL and back without a difference; `store check` finds what is wrong with one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import json

from kmwatch.core.ledger import Query
from kmwatch.core.state import Row
from kmwatch.ports import Commit, Entry, Move, Reject, Routed, Store
from kmwatch.store.archive_sqlite import SqliteArchive
from kmwatch.store.copying import copy
from kmwatch.store.history import SqliteHistory
from kmwatch.store.postgres.archive import PostgresArchive
from kmwatch.store.postgres.history import PostgresHistory
from kmwatch.store.postgres.store import PostgresStore
from kmwatch.store.sqlite import SqliteStore
from kmwatch.store.tables import TABLES, digest
from tests.servers.postgres import PostgresServer
from tests.support.daemon import RECORDING, Config, configuration, file_sink, run_kmwatch
from tests.support.findings import finding, hostile
from tests.support.postgres_store import Database
from tests.support.reads import commit as reading
from tests.support.reads import gathered, read


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    return Database(postgres, postgres.database())


def config(folder: Path, store: Config) -> Path:
    """A configuration over the recording, which ends."""
    folder.mkdir(exist_ok=True)
    source: Config = {"file": {"paths": [str(RECORDING / "cadf.jsonl.gz")]}}
    path = folder / "kmwatch.yaml"
    http = {"listen": "127.0.0.1:0"}
    path.write_bytes(json.encode({**configuration(folder, source, [file_sink(folder)], http=http), "store": store}))
    return path


async def filled(store: Store) -> None:
    """Of everything something, and what is hard to keep."""
    await store.claim()
    findings = [Routed(finding(n), ("siem", "archive")) for n in range(30)] + [Routed(hostile(99), ("siem",))]
    rows = [Row("some", f"k\0{n}", bytes([n])) for n in range(40)]
    await store.commit(Commit([Move("t/0", None, 7), Move("é/ü", None, 2**40)], rows, findings, []))
    await store.commit(
        Commit([], [Row("some", "k\x003", b"again"), Row("some", "k\x005", None)], [], [
            Reject("t/0", 3, "not_json", "why\0", b"\x00\xff"), Reject("Z", 1, "x", "y", b""),
        ])
    )  # fmt: skip
    odd = read(3, explained=None, secret_id=None, user_name="é\U0001f511", address="::1", declaration=None)
    await store.commit(reading(read(1), read(2, explained=False, address=None), odd, gone=("api:req-2",)))
    await store.commit(Commit([], [], [], [], entries=[Entry("inventory/0", 2**40, 2**50, True, b"\x00\xff")]))  # noqa: FBT003
    waiting = await store.pending("siem", 9)
    await store.delivered("siem", [waiting[0].seq])
    await store.dead("siem", [waiting[1].seq], "refused")
    await store.failed("siem", [waiting[2].seq], "away")
    await store.close()


def archived(archive: SqliteArchive | PostgresArchive) -> dict[str, tuple[int, str]]:
    with archive.held(write=False):
        found = {table.name: digest(archive.rows(table)) for table in TABLES}
    return {name: (one.rows, one.hash) for name, one in found.items()}


def test_a_store_goes_to_postgresql_and_comes_back_the_same(tmp_path: Path, database: Database) -> None:
    first, last = tmp_path / "first.db", tmp_path / "last.db"
    asyncio.run(filled(SqliteStore(first, "one", lambda: 5.0)))
    there = copy(SqliteArchive(first), PostgresArchive(database.target))
    back = copy(PostgresArchive(database.target), SqliteArchive(last, make=True))
    assert there == back
    assert {name: one.rows for name, one in there.items()} == {
        "offsets": 2, "state": 39, "outbox": 31, "deliveries": 61, "sink_totals": 2, "rejected": 2,
        "reads": 2, "ledger": 1, "journal": 1,
    }  # fmt: skip
    assert archived(SqliteArchive(first)) == archived(PostgresArchive(database.target)) == archived(SqliteArchive(last))


async def test_what_was_copied_goes_on_where_it_was(tmp_path: Path, database: Database) -> None:
    first = tmp_path / "first.db"
    await filled(SqliteStore(first, "one", lambda: 5.0))
    await asyncio.to_thread(copy, SqliteArchive(first), PostgresArchive(database.target))
    before = SqliteStore(first, "one", lambda: 5.0)
    after = PostgresStore(database.target, "two", lambda: 5.0)
    old, new = await before.claim(), await after.claim()
    assert (new.number, new.positions, new.rows) == (old.number, old.positions, old.rows)
    assert await after.pending("siem", 99) == await before.pending("siem", 99)
    assert (await after.accounts(), after.backlog()) == (await before.accounts(), before.backlog())
    asked, answers = PostgresHistory(database.target), SqliteHistory(first)
    assert await gathered(asked.reads(Query())) == await gathered(answers.reads(Query()))
    assert await asked.extent() == await answers.extent()
    await asked.close()
    await answers.close()
    await after.commit(Commit([Move("t/0", 7, 8)], [Row("some", "new", b"")], [Routed(finding(500), ("siem",))], []))
    assert (await after.pending("siem", 99))[-1].finding == finding(500)
    assert (await after.claim()).rows[-1].key == "new"
    await before.close()
    await after.close()


def test_the_command_moves_what_a_daemon_has_made_and_the_next_one_has_nothing_to_do(
    tmp_path: Path, database: Database
) -> None:
    old = config(tmp_path / "old", {"sqlite": {"path": str(tmp_path / "old" / "kmwatch.db")}})
    new = config(tmp_path / "new", database.store())
    assert run_kmwatch("run", "-c", str(old)).returncode == 0
    done = run_kmwatch("store", "copy", "--from", str(old), "--to", str(new))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "copied; both sides have the same digests"), done
    for one in (old, new):
        checked = run_kmwatch("store", "check", "-c", str(one))
        assert checked.returncode == 0, checked.stdout
        assert checked.stdout.startswith("consistent: looked at "), checked.stdout
    assert run_kmwatch("run", "-c", str(new)).returncode == 0
    assert not (tmp_path / "new" / "alerts.jsonl").exists()
    before, after = (run_kmwatch("reads", "--output", "json", "-c", str(one)) for one in (old, new))
    assert (before.returncode, after.returncode) == (0, 0), after
    assert len(before.stdout.splitlines()) > 1
    assert after.stdout == before.stdout


def test_a_target_that_is_not_empty_is_refused(tmp_path: Path, database: Database) -> None:
    asyncio.run(filled(SqliteStore(tmp_path / "kmwatch.db", "one", lambda: 5.0)))
    old = config(tmp_path, {"sqlite": {"path": str(tmp_path / "kmwatch.db")}})
    new = config(tmp_path / "new", database.store())
    command = ("store", "copy", "--from", str(old), "--to", str(new))
    assert run_kmwatch(*command).returncode == 0
    again = run_kmwatch(*command)
    assert again.returncode == 3
    assert "is not empty" in again.stderr


async def test_a_store_in_use_is_neither_copied_nor_checked(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "kmwatch.db"
    file, server = SqliteStore(path, "one", lambda: 5.0), PostgresStore(database.target, "two", lambda: 5.0)
    await file.claim()
    await server.claim()
    both: list[tuple[Config, str]] = [
        ({"sqlite": {"path": str(path)}}, "stop kmwatch first"),
        (database.store(), "two is active"),
    ]
    for store, why in both:
        given = config(tmp_path / "config", store)
        for command in (("check", "-c"), ("copy", "--to", str(given), "--from")):
            done = await asyncio.to_thread(run_kmwatch, "store", *command, str(given))
            assert done.returncode == 3, done
            assert why in done.stderr
    await file.commit(Commit([Move("t/0", None, 1)], [], [], []))
    await server.commit(Commit([Move("t/0", None, 1)], [], [], []))
    await file.close()
    await server.close()


DAMAGE = {
    "UPDATE sink_totals SET routed = routed + 1 WHERE sink = 'siem'": "sink_totals: siem: 32 routed are not",
    "UPDATE deliveries SET state = 2 WHERE sink = 'siem' AND seq = 9": "sink_totals: siem: 31 routed are not",
    "UPDATE outbox SET body = '{}' WHERE seq = 4": "outbox: line 4 cannot be read",
    "UPDATE outbox SET line_uid = 'other' WHERE seq = 4": "outbox: line 4 is not the one that its ids say",
    "DELETE FROM sink_totals WHERE sink = 'archive'": "sink_totals: nothing is counted for archive",
    "UPDATE offsets SET next = -5 WHERE stream = 't/0'": "offsets: t/0 is at -5",
    "UPDATE state SET kind = 'open'": "state: it cannot be read",
    "UPDATE reads SET more = '{}' WHERE event_id = 'api:req-1'": "reads: api:req-1 cannot be read",
    "UPDATE reads SET place = NULL WHERE event_id = 'api:req-1'": "reads: api:req-1 is not found by its address",
    "UPDATE ledger SET rows = 9": "ledger: 9 is counted of 2 retrievals",
}


@pytest.mark.parametrize("statement", DAMAGE, ids=[problem.partition(":")[0] for problem in DAMAGE.values()])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_check_finds_what_does_not_fit_together(tmp_path: Path, database: Database, kind: str, statement: str) -> None:
    path = tmp_path / "kmwatch.db"
    if kind == "sqlite":
        asyncio.run(filled(SqliteStore(path, "one", lambda: 5.0)))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(statement)
    else:
        asyncio.run(filled(PostgresStore(database.target, "one", lambda: 5.0)))
        database.look(statement)
    given = config(tmp_path, {"sqlite": {"path": str(path)}} if kind == "sqlite" else database.store())
    done = run_kmwatch("store", "check", "-c", str(given))
    assert done.returncode == 1, done
    assert DAMAGE[statement] in done.stdout


def test_every_table_of_both_schemas_is_copied(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "kmwatch.db"
    SqliteStore(path, "one", lambda: 0.0).end()
    asyncio.run(PostgresStore(database.target, "one", lambda: 0.0).close())
    with closing(sqlite3.connect(path)) as db:
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        file = {
            name: {row[1] for row in db.execute(f"PRAGMA table_info({name})")}
            for name in names - {"sqlite_sequence", "writer"}
        }
    server: dict[str, set[str]] = {}
    query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'kmwatch'"
    for table, column in database.look(query):
        if table not in {"writer", "schema_version"} and (table, column) != ("state", "written"):
            server.setdefault(table, set()).add(column)
    copied = {table.name: set(table.columns) for table in TABLES}
    assert file == copied
    assert server == copied
