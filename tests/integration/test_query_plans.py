"""No statement of a running daemon reads the whole of a table that grows: asked of both databases' own planners."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from msgspec import json

from kmwatch.core.ledger import Query
from kmwatch.core.state import Row
from kmwatch.ports import Commit, Entry, Move, Reject, Routed, Store
from kmwatch.store.ledger import COLUMNS
from kmwatch.store.postgres.connection import Target
from kmwatch.store.postgres.history import PostgresHistory
from kmwatch.store.postgres.store import PostgresStore
from kmwatch.store.sqlite import SqliteStore
from kmwatch.store.tables import TABLES
from tests.servers.postgres import PostgresServer
from tests.support.findings import finding
from tests.support.postgres_store import Database
from tests.support.reads import commit, gathered, read

LINES, REJECTED, READS, OLD = 40_000, 20_000, 40_000, 1000
GROWING = {
    "outbox",
    "deliveries",
    "rejected",
    "reads",
    "journal",
}  # `state` is bounded by the limits of the rules, and read whole by a claim
BOUNDED = {"offsets", "state", "sink_totals", "ledger"}
BODY = json.encode(finding(0)).decode()

_OUTBOX = f"SELECT n, 'line-old-' || n, 'f', 'KMW-001', 1, 'enforce', n, '{BODY}'"
_REJECTED = "SELECT 't/' || n % 8, n, 'r', 'd', 'v', n"
_MORE = json.encode(read().more).decode()
_READS = (  # one in forty of each secret, user, project, declaration and address: a thousand rows
    "SELECT 'api:old-' || n, n, 's-' || n % 40, 'u-' || n % 40, 'alice', 'p-' || n % 40, '10.0.0.1', 'curl/8', 1,"
    f" 'd-' || n % 40, 'old-' || n, '{_MORE}'"
)
_NUMBERS = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT"
FILL_POSTGRES = f"""
    INSERT INTO outbox {_OUTBOX} FROM generate_series(0, {LINES - 1}) n;
    INSERT INTO deliveries (seq, sink, state) SELECT seq, sink, 1 FROM outbox, unnest('{{siem,archive}}'::text[]) sink;
    INSERT INTO rejected {_REJECTED} FROM generate_series(0, {REJECTED - 1}) n;
    INSERT INTO reads ({COLUMNS}, place) {_READS}, '\\x040a0000'::bytea || decode(lpad(to_hex(n % 40), 2, '0'), 'hex')
        FROM generate_series(0, {READS - 1}) n;
    INSERT INTO journal SELECT 'inventory/0', n, n, (n % 5000 < 20)::int, 'v' FROM generate_series(0, {READS - 1}) n;
    UPDATE ledger SET rows = {READS};
    UPDATE writer SET lines = {LINES};
    ANALYZE;
"""  # noqa: S608  (of our own constants)
FILL_SQLITE = f"""
    {_NUMBERS} {LINES}) INSERT INTO outbox {_OUTBOX} FROM n;
    INSERT INTO deliveries (sink, seq, state) SELECT sink, seq, 1 FROM outbox,
        (SELECT 'siem' sink UNION SELECT 'archive');
    {_NUMBERS} {REJECTED}) INSERT INTO rejected {_REJECTED} FROM n;
    {_NUMBERS} {READS}) INSERT INTO reads ({COLUMNS}, place) {_READS}, NULL FROM n;
    {_NUMBERS} {READS}) INSERT INTO journal SELECT 'inventory/0', n, n, n % 5000 < 20, 'v' FROM n;
    UPDATE ledger SET rows = {READS};
    ANALYZE;
"""  # noqa: S608


async def everything(store: Store) -> None:
    """Whatever a daemon asks of its store, to its end."""
    try:
        await _everything(store)
    finally:
        await store.close()


async def _everything(store: Store) -> None:
    await store.claim()
    routed = [Routed(finding(10_000_000 + n), ("siem", "archive")) for n in range(20)]
    rows = [Row("s", f"k{n}", b"v") for n in range(20)]
    rejects = [Reject("t/9", n, "not_json", "x", b"y") for n in range(5)]
    await store.commit(Commit([Move("t/9", None, 5)], rows, routed, rejects))
    await store.commit(Commit([Move("t/9", 5, 6)], [Row("s", "k3", None), Row("s", "k4", b"w")], [], []))
    waiting = await store.pending("siem", 100)
    assert len(waiting) == 20
    await store.failed("siem", [waiting[0].seq], "away")
    await store.delivered("siem", [one.seq for one in waiting[:10]])
    await store.dead("siem", [waiting[10].seq], "refused")
    assert (await store.accounts())["siem"].pending == 9
    assert await store.prune(float(OLD)) == 2 * OLD
    await store.commit(commit(*(read(n) for n in range(500)), gone=("api:old-39999", "api:never")))
    await store.commit(commit(read(1, explained=False)))  # beyond READS, the oldest go
    assert await store.prune_reads(OLD) == OLD - 499
    await store.commit(Commit([], [], [], [], entries=[Entry("inventory/0", READS, READS, base=False, value=b"v")]))
    assert await store.prune_journal(5100) == 5019


def test_tables_that_grow_are_all_named_here() -> None:
    assert {table.name for table in TABLES} == GROWING | BOUNDED


def test_postgresql_reads_no_growing_table_whole() -> None:
    settings = {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_nested_statements": "on",
        "autovacuum": "off",  # the statistics are those of `ANALYZE` below, and not of a moment
    }
    with PostgresServer(settings) as server:
        database = Database(server, server.database())
        asyncio.run(PostgresStore(database.target, "maker", lambda: 0.0).close())
        database.look(FILL_POSTGRES)
        before = len(server.log())
        asyncio.run(everything(PostgresStore(database.target, "one", lambda: 9e9, reads_kept=READS)))
        said = server.log()[before:]
    plans = [plan for plan in re.split(r"(?m)^\d{4}-\d\d-\d\d ", said) if " kmwatch LOG:  duration" in plan]
    scans = [plan for plan in plans if re.search(rf"Seq Scan on ({'|'.join(GROWING)})\b", plan)]
    seen = {table for table in GROWING if any(re.search(rf"on {table}\b", plan) for plan in plans)}
    assert scans == []
    assert seen == GROWING, "the planner was asked"


QUESTIONS = {  # with the index that leads to the rows, and how many there are
    "reads_time": (Query(), READS),
    "reads_secret": (Query(secret="s-7"), 1000),
    "reads_user": (Query(users=("u-7",)), 1000),
    "reads_project": (Query(project="p-7"), 1000),
    "reads_declaration": (Query(declaration="d-7"), 1000),
    "reads_place": (Query(network="10.0.0.7/32"), 1000),
    "reads_request": (Query(request="old-7"), 1),
    "reads_pkey": (Query(request="api:old-7"), 1),
}


def test_an_index_of_postgresql_leads_to_the_answer_of_each_question() -> None:
    """As the history's own sessions plan it; what an index leads to is the answer, and not more to be sifted."""
    settings = {
        "session_preload_libraries": "auto_explain",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_analyze": "on",
        "autovacuum": "off",
    }
    plans: list[tuple[str, str]] = []

    async def ask(target: Target) -> None:
        history, heard = PostgresHistory(target), len(server.log())
        for index, (query, rows) in QUESTIONS.items():
            assert len(await gathered(history.reads(query))) == rows
            plans.append((index, server.log()[heard:]))
            heard = len(server.log())
        assert len(await history.uses()) == len(await gathered(history.findings("line-old-7"))) * 40
        assert len(await gathered(history.findings())) == LINES
        assert (await history.extent()).rows == READS
        plans.extend((index, server.log()[heard:]) for index in ("reads_secret", "outbox_line_uid_key", "outbox_pkey"))
        await history.close()

    with PostgresServer(settings) as server:
        database = Database(server, server.database())
        asyncio.run(PostgresStore(database.target, "maker", lambda: 0.0).close())
        database.look(FILL_POSTGRES)
        asyncio.run(ask(database.target))
    said = "".join(text for _, text in plans)
    assert [index for index, text in plans if f" {index} " not in text] == []
    assert re.findall(rf"Seq Scan on (?:{'|'.join(GROWING)})\b", said) == []
    assert [removed for removed in re.findall(r"Rows Removed by Filter: (\d+)", said) if int(removed) > 1] == []


def test_sqlite_reads_no_growing_table_whole(tmp_path: Path) -> None:
    path = tmp_path / "kmwatch.db"
    SqliteStore(path, "maker", lambda: 0.0).end()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(FILL_SQLITE)
    store = SqliteStore(path, "one", lambda: 9e9, reads_kept=READS)
    asked: list[str] = []
    store._db.set_trace_callback(asked.append)
    asyncio.run(everything(store))
    statements = [text for text in dict.fromkeys(asked) if re.match(r"(?i)\s*(select|insert|update|delete)", text)]
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        steps = [(text, step) for text in statements for *_, step in db.execute(f"EXPLAIN QUERY PLAN {text}")]
    scans = [
        (text, step)
        for text, step in steps
        if re.match(rf"SCAN ({'|'.join(GROWING)})\b", step)
        and "deliveries_pending" not in step
        and not ("INDEX reads_time" in step and re.search(r"ORDER BY event_time, event_id LIMIT \d+\)$", text))
    ]
    assert scans == []
    assert {table for table in GROWING if any(table in step for _, step in steps)} == GROWING
