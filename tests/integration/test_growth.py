"""A year of the recording, day by day of event time: neither store grows once its retention is reached.

Every fortnight the recording comes again, with other requests, through the real engine; both stores are given the
same commits, every line is delivered, and every simulated day is pruned as housekeeping does. PostgreSQL is vacuumed
as autovacuum would, which has no time to here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from kmwatch import assembly
from kmwatch.app import RETENTION_SECONDS
from kmwatch.config.load import load
from kmwatch.config.settings import Limits
from kmwatch.core.ledger import Rows, note
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.state import Memory
from kmwatch.ports import Commit, Move, Reject, Routed, Store
from kmwatch.store.postgres.schema import TABLES
from kmwatch.store.postgres.store import PostgresStore
from kmwatch.store.sqlite import SqliteStore
from kmwatch.wire.decode import Reader
from tests.servers.postgres import PostgresServer
from tests.support.daemon import RECORDING
from tests.support.postgres_store import Database
from tests.support.recorded import copies

FORTNIGHT = timedelta(days=14)
COPIES = 26
SETTLED = 8  # copies after which retention has set in, and what rules remember has reached its limit: sixteen weeks
LIMIT = 200  # keys of a rule: what bounds the state
CLOSED = 5000  # keys of requests that are over, of each of two generations
DAY = 86_400.0
RETENTION = 30 * 86_400 * SECOND  # of the ledger, in event time
BATCH = 500
_BYTES = """
    SELECT sum(pg_total_relation_size(oid))::int8 FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'kmwatch'::regnamespace
"""
SINKS = ("siem", "archive")


def year() -> Iterator[tuple[int, Commit]]:
    """The commits of the pipeline, with the number of the copy they belong to."""
    loaded = load(RECORDING / "kmwatch.yaml", {})
    settings = loaded.settings.model_copy(update={"limits": Limits(keys_per_rule=LIMIT)})
    engine = assembly.engine(settings, loaded.declarations)
    engine.join.closed._generation = CLOSED
    memory, decode, at = Memory(engine), Reader().decode, 0
    for number, copy in enumerate(copies(COPIES, FORTNIGHT)):
        records = iter(copy)
        while batch := list(islice(records, BATCH)):
            engine.take("t/0", [decode(record.value, None) for record in batch])
            engine.advance()
            findings, reads = [], Rows()
            over = False
            while not over:
                out, over = engine.work(BATCH)
                findings += out.findings
                note(reads, out.judged)
            rejects = [Reject("t/0", at + n, "not_json", "made up", b"x" * 2000) for n in range(5)]
            move = Move("t/0", at or None, at + len(batch))
            at += len(batch)
            routed = [Routed(finding, SINKS) for finding in findings]
            yield number, Commit([move], memory.changes(), routed, rejects, reads)


async def lived(store: Store, commits: list[tuple[int, Commit]], clock: list[float], size: list[int]) -> None:
    """A year of one store; `size` gets what `measure` says after each copy."""
    await store.claim()
    last, newest = 0, 0
    for number, commit in commits:
        if number != last:
            await _days(store, clock, newest)
            size.append(await _size(store))
            last = number
        await store.commit(commit)
        newest = max([newest, *(read.event_time for read in commit.reads.values() if read is not None)])
        for sink in SINKS:
            while waiting := await store.pending(sink, 100):
                await store.delivered(sink, [one.seq for one in waiting])
    await _days(store, clock, newest)
    size.append(await _size(store))
    await store.close()


async def _days(store: Store, clock: list[float], newest: Micros) -> None:
    for _ in range(FORTNIGHT.days):
        clock[0] += DAY
        await store.prune(clock[0] - RETENTION_SECONDS)
        await store.prune_reads(newest - RETENTION)


async def _size(store: Store) -> int:
    """Bytes, after what the database does by itself to use space again."""
    if isinstance(store, SqliteStore):
        pages = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        return int((await store._run(lambda: store._db.execute(pages).fetchone()))[0])
    assert isinstance(store, PostgresStore)

    def measure() -> int:
        db = store._connected()
        for table in TABLES:
            db.execute(f"VACUUM ANALYZE {table}".encode())
        return int(db.execute(_BYTES).fetchall()[0][0])

    return await store._run(measure)


@pytest.fixture(scope="module")
def commits() -> list[tuple[int, Commit]]:
    return list(year())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_year_fits_into_what_the_first_months_took(
    tmp_path: Path, postgres: PostgresServer, commits: list[tuple[int, Commit]], kind: str
) -> None:
    clock, size = [0.0], list[int]()
    store: Store
    if kind == "sqlite":
        store = SqliteStore(tmp_path / "kmwatch.db", "one", lambda: clock[0])
    else:
        database = Database(postgres, postgres.database())
        store = PostgresStore(database.target, "one", lambda: clock[0], lease=60)
    asyncio.run(lived(store, commits, clock, size))
    assert len(size) == COPIES
    assert clock[0] >= 364 * DAY
    assert max(size[SETTLED:]) <= 1.2 * max(size[:SETTLED]), size
