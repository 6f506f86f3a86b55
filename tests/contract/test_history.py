"""What every store must keep of retrievals and findings, and answer about them (ports.History)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from kmwatch.core.constraint import inside, parse_address, ranges
from kmwatch.core.ledger import Extent, Query, Read, Use
from kmwatch.core.model import SECOND, Match, Nearest, Reason
from kmwatch.ports import INVENTORY, Commit, Entry, Fenced, History, Move, Routed, Store, StoreError
from kmwatch.store.history import SqliteHistory
from kmwatch.store.ledger import select
from kmwatch.store.postgres.connection import Target
from kmwatch.store.postgres.history import PostgresHistory
from kmwatch.store.postgres.schema import MIGRATIONS as POSTGRES_MIGRATIONS
from kmwatch.store.postgres.store import PostgresStore
from kmwatch.store.schema import MIGRATIONS
from kmwatch.store.sqlite import SqliteStore
from tests.servers.postgres import PostgresServer
from tests.support.audit import EXPLAINED, START
from tests.support.findings import HOSTILE, finding, hostile
from tests.support.reads import commit, gathered, queries, read, reads, row


class Place(NamedTuple):
    """Where a store may be made: a new file, or a new schema on a server."""

    path: Path
    target: Callable[[], Target]


@dataclass(frozen=True)
class Made:
    """How a kind of store is opened, with the rows that it keeps, and asked."""

    store: Callable[[Place, int], Store]
    history: Callable[[Place], History]


class World:
    """One database, stores that write it and histories that are asked."""

    def __init__(self, place: Place, made: Made) -> None:
        self._place, self._made = place, made
        self._open: list[Store | History] = []

    async def store(self, kept: int = 1000) -> Store:
        store = self._made.store(self._place, kept)
        self._open.append(store)
        await store.claim()
        return store

    def history(self) -> History:
        history = self._made.history(self._place)
        self._open.append(history)
        return history

    async def ask(self, query: Query = Query()) -> list[Read]:  # noqa: B008  (frozen)
        return await gathered(self.history().reads(query))

    async def close(self) -> None:
        while self._open:
            await self._open.pop().close()


def sqlite_store(path: Path, kept: int) -> Store:
    return SqliteStore(path, "one", lambda: 1000.0, reads_kept=kept)


def postgres_store(target: Target, kept: int) -> Store:
    return PostgresStore(target, "one", lambda: 1000.0, lease=30, reads_kept=kept)


IMPLEMENTATIONS = [
    pytest.param(
        Made(lambda at, kept: sqlite_store(at.path, kept), lambda at: SqliteHistory(at.path)),
        id="sqlite",
    ),
    pytest.param(
        Made(lambda at, kept: postgres_store(at.target(), kept), lambda at: PostgresHistory(at.target())),
        id="postgres",
    ),
]


@pytest.fixture(scope="module")
def places(request: pytest.FixtureRequest) -> Callable[[Path], Place]:
    """Makes a new place with each call; the server is only there for those who look."""
    numbers = count()

    @cache
    def target() -> Target:
        server: PostgresServer = request.getfixturevalue("postgres")
        return Target(server.database(), password=server.password, sslmode="disable")

    def make(folder: Path) -> Place:
        schema = f"kmwatch_{next(numbers)}"
        return Place(folder / "kmwatch.db", lambda: structs.replace(target(), schema=schema))

    return make


@pytest_asyncio.fixture(params=IMPLEMENTATIONS)
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, places: Callable[[Path], Place]
) -> AsyncIterator[World]:
    made = World(places(tmp_path), request.param)
    yield made
    await made.close()


# Rows


async def test_a_retrieval_comes_back_as_it_was_written(world: World) -> None:
    undecided = read(2, explained=None, secret_id=None, user_name=None, address=None, declaration=None)
    await (await world.store()).commit(commit(read(1), undecided))
    assert await world.ask() == [read(1), undecided]


async def test_retrievals_come_in_the_order_of_time_whatever_the_order_of_arrival(world: World) -> None:
    store = await world.store()
    await store.commit(commit(read(3), read(1)))
    await store.commit(commit(read(2, event_time=START + SECOND)))
    assert [one.event_id for one in await world.ask()] == ["api:req-1", "api:req-2", "api:req-3"]


async def test_a_retrieval_told_again_has_the_last_verdict_and_one_row(world: World) -> None:
    store = await world.store()
    await store.commit(commit(read(1, explained=None, declaration=None)))
    await store.commit(commit(read(1, explained=False, declaration="lb", address="10.9.9.9")))
    assert await world.ask() == [read(1, explained=False, declaration="lb", address="10.9.9.9")]
    assert await world.ask(Query(network="10.0.0.1/32")) == []
    assert await world.ask(Query(network="10.9.9.9/32")) != []
    assert (await world.history().extent()).rows == 1


async def test_what_was_no_retrieval_after_all_is_taken_back(world: World) -> None:
    store = await world.store()
    await store.commit(commit(read(1), read(2)))
    await store.commit(commit(gone=("api:req-1", "api:never")))
    assert await world.ask() == [read(2)]
    assert (await world.history().extent()).rows == 1


async def test_a_commit_that_is_refused_leaves_no_row(world: World) -> None:
    store = await world.store()
    refused = commit(read(1))
    refused.moves.append(Move("t/0", 4, 9))
    with pytest.raises(Fenced):
        await store.commit(refused)
    assert await world.ask() == []
    assert (await world.history().extent()).rows == 0


async def test_text_of_an_attacker_is_kept_and_found(world: World) -> None:
    evil = HOSTILE + "\ud800" + "x" * 5000
    one = row(1, Match(explained=False, reason=Reason.NETWORK, nearest=Nearest("own", "agents", "a", evil)), evil)
    await (await world.store()).commit(commit(one))
    assert one.secret_id is not None
    assert len(one.secret_id) == 255
    assert await world.ask(Query(secret=evil)) == [one]
    assert await world.ask(Query(secret=evil + "y")) == [], "what differs beyond the cut is another secret"


# Questions


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(reads, max_size=6), max_size=4), asked=st.lists(queries, min_size=1, max_size=5))
def test_a_question_is_answered_with_exactly_the_rows_that_fit(
    implementation: Made, places: Callable[[Path], Place], batches: list[list[Read]], asked: list[Query]
) -> None:
    """Whatever the implementation's indexes: held against a list in memory."""
    latest = {one.event_id: one for batch in batches for one in batch}

    async def answers(place: Place) -> None:
        world = World(place, implementation)
        try:
            store = await world.store()
            for batch in batches:
                await store.commit(commit(*batch))
            for query in asked:
                fitting = sorted(filter(fits(query), latest.values()), key=lambda one: (one.event_time, one.event_id))
                assert await world.ask(query) == fitting
        finally:
            await world.close()

    with TemporaryDirectory() as folder:
        asyncio.run(answers(places(Path(folder))))


def fits(query: Query) -> Callable[[Read], bool]:
    """The meaning of a query, said plainly."""

    def holds(one: Read) -> bool:
        return (
            query.secret in (None, one.secret_id)
            and (not query.users or one.user_id in query.users)
            and query.project in (None, one.project_id)
            and query.declaration in (None, one.declaration)
            and query.request in (None, one.request_id, one.event_id)
            and (query.network is None or inside(parse_address(one.address), ranges([query.network])))
            and (query.since is None or one.event_time >= query.since)
            and (query.until is None or one.event_time < query.until)
        )

    return holds


async def test_a_reader_sees_one_moment_while_the_writer_goes_on(world: World) -> None:
    store = await world.store(5000)
    await store.commit(commit(*(read(number) for number in range(1, 2001))))
    pages = world.history().reads(Query())
    first = await anext(pages)
    await store.commit(commit(*(read(number) for number in range(2001, 3001)), gone=("api:req-1999",)))
    assert [one.event_id for one in first + await gathered(pages)] == [f"api:req-{n}" for n in range(1, 2001)]


async def test_whoever_wants_no_more_pages_may_ask_on(world: World) -> None:
    await (await world.store(5000)).commit(commit(*(read(number) for number in range(1, 2001))))
    history = world.history()
    pages, others = history.reads(Query()), history.reads(Query(secret="s-1"))
    assert [await anext(pages) for _ in range(2)] == [await anext(others) for _ in range(2)]
    assert isinstance(pages, AsyncGenerator)
    await pages.aclose()
    assert len(await gathered(others)) == 1000
    assert (await history.extent()).rows == 2000


async def test_how_secrets_were_used_is_counted(world: World) -> None:
    await (await world.store()).commit(
        commit(read(1), read(5), read(3), read(4, secret_id="s-2"), read(6, secret_id=None))
    )
    assert await world.history().uses() == {
        "s-1": Use(3, START + SECOND, START + 5 * SECOND),
        "s-2": Use(1, START + 4 * SECOND, START + 4 * SECOND),
    }


async def test_a_finding_is_found_by_its_own_id_and_by_that_of_each_of_its_lines(world: World) -> None:
    sent = [finding(1), finding(2), hostile(3)]
    await (await world.store()).commit(Commit([], [], [Routed(one, ()) for one in sent], []))
    history = world.history()
    assert [one.line_uid for one in await gathered(history.findings())] == ["line-1", "line-2", "line-3"]
    assert await gathered(history.findings("finding-2")) == [finding(2)]
    assert await gathered(history.findings("line-2")) == [finding(2)]
    assert await gathered(history.findings("' OR 1=1 --")) == []


# Bounds


async def test_beyond_its_size_the_ledger_lets_the_oldest_go_and_says_how_many(world: World) -> None:
    store = await world.store(3)
    await store.commit(commit(read(5), read(2), read(3)))
    await store.commit(commit(read(1), read(4)))
    assert [one.event_id for one in await world.ask()] == ["api:req-3", "api:req-4", "api:req-5"]
    assert await world.history().extent() == Extent(3, START + 3 * SECOND, 2)
    await store.commit(commit(read(4, explained=False)))  # a row written anew makes none go
    assert await world.history().extent() == Extent(3, START + 3 * SECOND, 2)


async def test_a_ledger_that_is_to_be_smaller_lets_what_is_too_much_go(world: World) -> None:
    await (await world.store(100)).commit(commit(*(read(number) for number in range(1, 101))))
    await world.close()
    store = await world.store(10)
    await store.commit(commit(read(101)))
    assert await world.history().extent() == Extent(10, START + 92 * SECOND, 91)


async def test_what_comes_too_late_for_a_full_ledger_is_let_go_at_once(world: World) -> None:
    store = await world.store(2)
    await store.commit(commit(read(5), read(6)))
    await store.commit(commit(read(1), read(5, explained=False), gone=("api:req-9",)))
    assert await world.ask() == [read(5, explained=False), read(6)]
    assert (await world.history().extent()).evicted == 1


async def test_pruning_forgets_what_happened_before_a_moment_and_no_finding(world: World) -> None:
    store = await world.store()
    await store.commit(commit(read(1), read(2), read(3)))
    await store.commit(Commit([], [], [Routed(finding(1), ("siem",))], []))
    assert await store.prune_reads(START + 2 * SECOND) == 1
    assert await store.prune_reads(START + 2 * SECOND) == 0
    assert await world.history().extent() == Extent(2, START + 2 * SECOND, 0)
    assert store.backlog() == 1


async def test_an_empty_ledger_reaches_back_to_nowhere(world: World) -> None:
    await world.store()
    assert await world.history().extent() == Extent(0, None, 0)
    assert await world.history().uses() == {}


# SQLite


@settings(max_examples=80, deadline=None)
@given(queries.filter(lambda query: query != Query()))
def test_no_question_scans_the_table(query: Query) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript("".join(MIGRATIONS))
        sql, values = select(query)
        steps = [detail for *_, detail in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [step for step in steps if step.startswith("SCAN reads") or step == "SCAN outbox"] == []
    assert any("SEARCH reads" in step for step in steps)


async def test_a_store_of_the_release_before_gets_its_ledger_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "kmwatch.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(MIGRATIONS[0])
        db.executescript("INSERT INTO offsets VALUES ('t/0', 7, 'x'); PRAGMA user_version = 1;")
    with pytest.raises(StoreError, match="another release"):
        SqliteHistory(path)
    store = sqlite_store(path, 10)
    claim = await store.claim()
    await store.commit(commit(row(1, EXPLAINED, "s-1")))
    history = SqliteHistory(path)
    assert claim.positions == {"t/0": 7}
    assert len(await gathered(history.reads(Query()))) == 1
    await history.close()
    await store.close()


def test_asking_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        SqliteHistory(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


# PostgreSQL


async def test_a_database_without_a_store_or_with_another_releases_is_refused(
    tmp_path: Path, places: Callable[[Path], Place], postgres: PostgresServer
) -> None:
    target = places(tmp_path).target()
    with pytest.raises(StoreError, match="there is no store"):
        PostgresHistory(target)
    await postgres_store(target, 10).close()
    url = target.url.replace("@", f":{postgres.password}@") + f"?options=-csearch_path%3D{target.schema}"
    postgres.sql("UPDATE schema_version SET version = version + 1", url=url)
    with pytest.raises(StoreError, match="another release"):
        PostgresHistory(target)
    postgres.sql("UPDATE schema_version SET version = version - 2", url=url)
    with pytest.raises(StoreError, match="another release"):
        PostgresHistory(target)


async def test_a_database_of_the_release_before_gets_its_ledger_and_keeps_what_it_holds(
    tmp_path: Path, places: Callable[[Path], Place], postgres: PostgresServer
) -> None:
    target = places(tmp_path).target()
    url = target.url.replace("@", f":{postgres.password}@") + f"?options=-csearch_path%3D{target.schema}"
    postgres.sql(f"CREATE SCHEMA {target.schema}", url=url)
    postgres.sql(POSTGRES_MIGRATIONS[0], url=url)
    postgres.sql("UPDATE schema_version SET version = 1; INSERT INTO offsets VALUES ('t/0', 7, 'x')", url=url)
    store = postgres_store(target, 10)
    claim = await store.claim()
    await store.commit(commit(row(1, EXPLAINED, "s-1")))
    history = PostgresHistory(target)
    assert claim.positions == {"t/0": 7}
    assert len(await gathered(history.reads(Query()))) == 1
    await history.close()
    await store.close()


async def test_a_question_can_change_nothing(tmp_path: Path, places: Callable[[Path], Place]) -> None:
    target = places(tmp_path).target()
    await postgres_store(target, 10).close()
    history = PostgresHistory(target)
    with pytest.raises(StoreError, match="read-only transaction"):
        async with history._snapshot() as ask:
            await ask("DELETE FROM reads")
    assert await history.extent() == Extent(0, None, 0)
    await history.close()


async def test_a_server_that_is_away_is_an_error_of_the_store() -> None:
    with PostgresServer() as server:
        target = Target(server.database(), password=server.password, sslmode="disable")
        await postgres_store(target, 10).close()
        history = PostgresHistory(target)
        server.kill()
        for _ in range(2):
            with pytest.raises(StoreError):
                await history.extent()
        server.start()
        assert await history.extent() == Extent(0, None, 0)
        await history.close()


def told(number: int, at: int, *, base: bool = False) -> Entry:
    return Entry(INVENTORY, number, at, base, f"{number}".encode())


async def told_since(world: World, at: int) -> list[bytes]:
    return [value async for page in world.history().journal(at) for value in page]


async def test_what_an_inventory_told_is_found_from_a_time_on_after_all_that_was_known_then(world: World) -> None:
    store = await world.store()
    assert await told_since(world, 0) == []
    entries = [told(0, 0, base=True), told(1, 0, base=True), told(2, 10), told(3, 20), told(4, 20, base=True),
               told(5, 20, base=True), told(6, 30)]  # fmt: skip
    await store.commit(Commit([Move(INVENTORY, None, 7)], [], [], [], entries=entries))
    assert await told_since(world, 19) == [b"0", b"1", b"2", b"3", b"6"]
    assert await told_since(world, 20) == await told_since(world, 99) == [b"4", b"5", b"6"]


async def test_pruning_forgets_what_was_told_before_the_last_base_of_a_time(world: World) -> None:
    store = await world.store()
    entries = [told(0, 0, base=True), told(1, 10), told(2, 20, base=True), told(3, 30), told(4, 40, base=True)]
    await store.commit(Commit([Move(INVENTORY, None, 5)], [], [], [], entries=entries))
    assert await store.prune_journal(19) == 0
    assert await store.prune_journal(35) == 2
    assert await told_since(world, 0) == [b"2", b"3"]  # of the first base that is left


async def test_what_an_inventory_told_is_written_with_its_batch_or_not_at_all(world: World) -> None:
    store = await world.store()
    await store.commit(Commit([Move(INVENTORY, None, 1)], [], [], [], entries=[told(0, 0, base=True)]))
    with pytest.raises(Fenced):
        await store.commit(Commit([Move(INVENTORY, None, 2)], [], [], [], entries=[told(1, 10)]))
    assert await told_since(world, 0) == [b"0"]
