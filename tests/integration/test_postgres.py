"""What only a store on a server can meet: a server that dies, hangs, asks for certificates, or is somebody else's."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import structs

from kmwatch.core.ledger import Query
from kmwatch.core.state import Row
from kmwatch.ports import Commit, Fenced, Move, Routed, StoreError
from kmwatch.store.postgres.connection import Connection, Target
from kmwatch.store.postgres.history import PostgresHistory
from kmwatch.store.postgres.schema import MIGRATIONS
from kmwatch.store.postgres.store import PostgresStore
from tests.servers.postgres import CERT_USERS, PostgresServer
from tests.support.audit import ROOT
from tests.support.findings import finding
from tests.support.postgres_store import Database
from tests.support.proxy import Proxy
from tests.support.reads import commit, gathered, read

LEASE = 2.0


@pytest.fixture
def database(postgres: PostgresServer) -> Database:
    return Database(postgres, postgres.database())


@dataclass
class Stores:
    """Stores of one database, closed at the end."""

    database: Database
    opened: list[PostgresStore]

    def open(self, owner: str = "one", *, port: int | None = None, lease: float = LEASE) -> PostgresStore:
        url = self.database.url.replace(f":{self.database.server.port}/", f":{port or self.database.server.port}/")
        store = PostgresStore(structs.replace(self.database.target, url=url), owner, time.time, lease=lease)
        self.opened.append(store)
        return store


@pytest_asyncio.fixture
async def stores(database: Database) -> AsyncIterator[Stores]:
    made = Stores(database, [])
    yield made
    for store in made.opened:
        await store.close()


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.server.port) as made:
        yield made


def moved(at: int | None, to: int, *numbers: int) -> Commit:
    return Commit(
        [Move("t/0", at, to)], [Row("s", "k", b"%d" % to)], [Routed(finding(n), ("siem",)) for n in numbers], []
    )


# Election


async def test_a_standby_waits_while_the_active_one_renews_and_takes_over_when_it_leaves(stores: Stores) -> None:
    active, standby = stores.open("active"), stores.open("standby")
    await active.claim()
    waiting = asyncio.ensure_future(standby.claim())
    await asyncio.sleep(LEASE * 2)
    assert not waiting.done()
    await active.commit(moved(None, 5))
    seen = standby.standing()
    assert (seen.role, seen.epoch, seen.owner, seen.trouble) == ("standby", 1, "active", None)
    await active.resign()
    claim = await waiting
    assert (claim.number, claim.positions) == (2, {"t/0": 5})
    assert (standby.standing().role, active.standing().role) == ("active", "standby")


async def test_of_many_that_start_at_once_one_is_active(stores: Stores) -> None:
    claims = [asyncio.ensure_future(stores.open(f"number {number}").claim()) for number in range(5)]
    done, _ = await asyncio.wait(claims, timeout=LEASE * 2)
    assert [(await claim).number for claim in done] == [1]
    assert [store.standing().role for store in stores.opened].count("active") == 1
    for claim in claims:
        claim.cancel()
    await asyncio.gather(*claims, return_exceptions=True)


async def test_whoever_cannot_renew_its_lease_steps_down_though_nobody_tells_it(stores: Stores, proxy: Proxy) -> None:
    active, standby = stores.open("active", port=proxy.port), stores.open("standby")
    await active.claim()
    await active.commit(moved(None, 5, 1))
    proxy.deafen("from")
    lost = asyncio.ensure_future(active.commit(moved(5, 6, 2)))  # it arrives, and its answer never does
    claim = await standby.claim()
    with pytest.raises(Fenced, match="lease"):
        await lost
    assert active.standing().role == "standby"
    with pytest.raises(Fenced):
        active.check()
    with pytest.raises(Fenced):
        await active.commit(moved(5, 6))
    assert await active.pending("siem", 9) == []
    assert claim.positions == {"t/0": 6}
    proxy.heal()
    with pytest.raises(Fenced):
        await active.dead("siem", [1], "an opinion of yesterday")


async def test_a_transaction_that_its_client_left_open_holds_nobody_up(stores: Stores) -> None:
    """A client that is stopped within a transaction holds the writer's row, until the server ends its session."""
    active, standby = stores.open("active"), stores.open("standby")
    await active.claim()
    active._lease._beat = lambda: None  # type: ignore[method-assign]  # it is stopped

    def begin() -> None:
        db = active._connected()
        db.execute("BEGIN")
        db.execute("UPDATE writer SET owner = 'stuck'")

    await active._run(begin)
    async with asyncio.timeout(LEASE * 10):
        assert (await standby.claim()).number == 2


async def test_an_epoch_of_a_database_that_has_forgotten_it_does_not_fence_its_namesake(stores: Stores) -> None:
    """A failover to a replica that lags may count the same number again: the token tells them apart."""
    first = stores.open("first", lease=60)
    await first.claim()
    stores.database.look("UPDATE writer SET epoch = 0, token = '', expires = '-infinity'")
    second = stores.open("second")
    assert (await second.claim()).number == 1
    with pytest.raises(Fenced, match="another instance has taken over"):
        await first.commit(moved(None, 5))
    await second.commit(moved(None, 5))


# A server in trouble


async def test_a_killed_backend_costs_one_attempt_and_nothing_else(stores: Stores) -> None:
    store = stores.open()
    await store.claim()
    await store.commit(moved(None, 5, 1))
    stores.database.look("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kmwatch'")
    with pytest.raises(StoreError, match="nothing is lost"):
        await store.commit(moved(5, 6, 2))
    await store.commit(moved(5, 6, 2))
    assert (store.backlog(), store.standing().epoch) == (2, 1)


async def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    stores: Stores, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.open(port=proxy.port, lease=30)
    await store.claim()
    await store.commit(moved(None, 5, 1))
    proxy.deafen("from")
    monkeypatch.setattr("kmwatch.store.postgres.store._PATIENCE_SECONDS", 1.0)
    again = moved(5, 6, 2)
    with pytest.raises(StoreError, match="does not answer"):
        await store.commit(again)
    assert stores.database.look("SELECT next FROM offsets") == [(6,)]  # it had arrived
    proxy.heal()
    await store.commit(again)
    assert (store.backlog(), stores.database.look("SELECT count(*) FROM outbox")) == (2, [(2,)])
    await store.commit(moved(6, 7, 3))
    assert (await store.claim()).positions == {"t/0": 7}


async def test_a_commit_that_never_arrived_is_written_when_it_is_tried_again(
    stores: Stores, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.open(port=proxy.port, lease=30)
    await store.claim()
    proxy.deafen("to")
    monkeypatch.setattr("kmwatch.store.postgres.store._PATIENCE_SECONDS", 1.0)
    again = moved(None, 6, 2)
    with pytest.raises(StoreError, match="does not answer"):
        await store.commit(again)
    assert stores.database.look("SELECT next FROM offsets") == []
    proxy.heal()
    await store.commit(again)
    assert stores.database.look("SELECT next FROM offsets") == [(6,)]


async def test_a_server_that_is_away_is_an_error_with_what_to_check_and_without_the_password(
    postgres: PostgresServer,
) -> None:
    target = Target("postgresql://me@127.0.0.1:1/kmwatch?application_name=x", password="hunter2", sslmode="disable")
    with pytest.raises(StoreError, match=r"cannot open the store postgresql://127\.0\.0\.1:1/kmwatch") as raised:
        PostgresStore(target, "one", time.time)
    wrong = Target(postgres.admin.replace(postgres.password, "hunter2"), sslmode="disable")
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        PostgresStore(wrong, "one", time.time)
    for error in (raised, refused):
        assert "hunter2" not in str(error.value)
        assert "check store.postgres" in str(error.value)


async def test_a_killed_postmaster_costs_attempts_until_it_is_back() -> None:
    with PostgresServer() as server:
        database = Database(server, server.database())
        store = PostgresStore(database.target, "one", time.time, lease=30)
        await store.claim()
        await store.commit(moved(None, 5, 1))
        server.kill()
        with pytest.raises(StoreError):
            await store.commit(moved(5, 6, 2))
        with pytest.raises(StoreError):
            await store.accounts()
        server.start()
        await store.commit(moved(5, 6, 2))
        assert [one.finding for one in await store.pending("siem", 9)] == [finding(1), finding(2)]
        await store.close()


async def test_what_the_ledger_is_told_twice_for_want_of_an_answer_counts_once(
    stores: Stores, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores.open(port=proxy.port, lease=30)
    await store.claim()
    await store.commit(commit(read(1)))
    proxy.deafen("from")
    monkeypatch.setattr("kmwatch.store.postgres.store._PATIENCE_SECONDS", 1.0)
    again = commit(read(1, explained=False), read(2))
    with pytest.raises(StoreError, match="does not answer"):
        await store.commit(again)
    proxy.heal()
    await store.commit(again)
    assert stores.database.look("SELECT rows, evicted FROM ledger") == [(2, 0)]


async def test_whoever_was_fenced_writes_and_prunes_nothing_of_the_ledger(stores: Stores) -> None:
    first, second = stores.open("first", lease=60), stores.open("second")
    await first.claim()
    await first.commit(commit(read(1)))
    stores.database.look("UPDATE writer SET expires = '-infinity'")
    await second.claim()
    assert await first.prune_reads(read(9).event_time) == 0
    with pytest.raises(Fenced):
        await first.commit(commit(read(2)))
    assert stores.database.look("SELECT rows FROM ledger") == [(1,)]
    assert await second.prune_reads(read(9).event_time) == 1


# Schema and rights


async def test_a_store_of_a_newer_release_is_refused_with_what_to_do(stores: Stores) -> None:
    stores.open()
    stores.database.look("UPDATE schema_version SET version = version + 1")
    with pytest.raises(StoreError, match=r"newer release.*run that release"):
        stores.open()


async def test_tables_of_something_else_are_refused_and_left_as_they_are(stores: Stores) -> None:
    stores.database.look("CREATE SCHEMA kmwatch CREATE TABLE theirs (a int)")
    with pytest.raises(StoreError, match=r"tables of something else.*store\.postgres\.schema"):
        stores.open()
    assert stores.database.look("SELECT count(*) FROM pg_class WHERE relnamespace = 'kmwatch'::regnamespace") == [(1,)]


async def test_instances_that_start_at_once_on_an_empty_database_make_its_schema_once(stores: Stores) -> None:
    made = await asyncio.gather(*(asyncio.to_thread(stores.open, f"number {n}") for n in range(4)))
    assert len(made) == 4
    assert stores.database.look("SELECT version FROM schema_version") == [(len(MIGRATIONS),)]


HOW_TO = ROOT / "docs" / "guides" / "postgres.md"


def documented(number: int) -> str:
    """The how-to's SQL, as an administrator would run it."""
    found: list[str] = re.findall(r"```sql\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    return found[number]


@pytest.fixture
def granted(postgres: PostgresServer) -> Iterator[Target]:
    """What the how-to makes: an owner, a role that owns nothing, and a database."""
    cluster, inside = documented(0), documented(1)
    for statement in filter(str.strip, cluster.split(";")):
        postgres.sql(statement)
    place = f"127.0.0.1:{postgres.port}/kmwatch"
    postgres.sql(inside, url=f"postgresql://postgres:{postgres.password}@{place}")
    for role in ("kmwatch", "kmw_owner"):
        postgres.sql(f"ALTER ROLE {role} PASSWORD 'secret'")
    yield Target(f"postgresql://kmwatch@{place}", password="secret", sslmode="disable")
    for statement in ("DROP DATABASE kmwatch WITH (FORCE)", "DROP ROLE kmwatch", "DROP ROLE kmw_owner"):
        postgres.sql(statement)


async def test_the_documented_grants_are_all_that_a_running_instance_needs(granted: Target) -> None:
    with pytest.raises(StoreError, match=r"run `kmwatch store migrate` as its owner"):
        PostgresStore(granted, "one", time.time)
    owner = structs.replace(granted, url=granted.url.replace("kmwatch@", "kmw_owner@"))
    await PostgresStore(owner, "owner", time.time).close()
    store = PostgresStore(granted, "one", time.time)
    await store.claim()
    await store.commit(moved(None, 5, 1, 2, 3))
    await store.commit(Commit([], [Row("s", "k", None)], [], []))
    one, two, three = await store.pending("siem", 9)
    await store.delivered("siem", [one.seq])
    await store.dead("siem", [two.seq], "refused")
    await store.failed("siem", [three.seq], "away")
    assert await store.prune(time.time() + 1) == 1
    await store.commit(commit(read(1), read(2), read(3), gone=("api:req-3",)))
    assert await store.prune_reads(read(2).event_time) == 1
    history = PostgresHistory(granted)
    assert await gathered(history.reads(Query())) == [read(2)]
    await history.close()
    with pytest.raises(StoreError, match=r"permission denied.*docs/guides/postgres\.md"):
        await store._run(lambda: store._connected().execute("CREATE TABLE mine (a int)"))
    with pytest.raises(StoreError, match="permission denied"):
        await store._run(lambda: store._connected().execute("UPDATE schema_version SET version = 9"))
    await store.resign()
    await store.close()


# TLS


@pytest.fixture(scope="module")
def secure() -> Iterator[PostgresServer]:
    with PostgresServer(tls=True) as server:
        server.sql(f"CREATE ROLE {CERT_USERS}")
        server.sql(f"CREATE ROLE kmwatch_cert LOGIN IN ROLE {CERT_USERS}")
        server.sql("GRANT CREATE ON DATABASE postgres TO kmwatch_cert")
        yield server


async def _works(target: Target) -> None:
    store = PostgresStore(target, "one", time.time)
    await store.claim()
    tls = await store._run(
        lambda: store._connected().execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchall()
    )
    assert tls == [(True,)]
    await store.close()


async def test_the_server_is_held_to_its_name_and_authority(secure: PostgresServer, tmp_path: Path) -> None:
    ca, _, _ = secure.certificate("unused", tmp_path)
    target = Target(f"postgresql://postgres@localhost:{secure.port}/postgres", "tls", secure.password, ca=ca)
    await _works(target)
    with pytest.raises(StoreError, match="certificate verify failed"):
        PostgresStore(structs.replace(target, ca=None), "one", time.time)
    elsewhere = structs.replace(target, url=target.url.replace("localhost", "127.0.0.2"))
    with pytest.raises(StoreError):
        PostgresStore(elsewhere, "one", time.time)


async def test_a_client_certificate_is_enough_and_another_one_is_not(secure: PostgresServer, tmp_path: Path) -> None:
    ca, cert, key = secure.certificate("kmwatch_cert", tmp_path)
    url = f"postgresql://kmwatch_cert@localhost:{secure.port}/postgres"
    await _works(Target(url, "cert", ca=ca, cert=cert, key=key))
    _, cert, key = secure.certificate("somebody", tmp_path)
    with pytest.raises(StoreError, match="certificate authentication failed"):
        PostgresStore(Target(url, "cert", ca=ca, cert=cert, key=key), "one", time.time)
    with pytest.raises(StoreError, match="certificate"):
        PostgresStore(Target(url, "cert", ca=ca), "one", time.time)


def test_a_wait_that_was_given_up_leaves_no_connection_behind(database: Database) -> None:
    url = f"{database.url}?password={database.server.password}"
    with Connection.connect(url, autocommit=True) as db:
        began = time.monotonic()
        db.gives_up = lambda: time.monotonic() - began > 0.3
        with pytest.raises(Exception, match="does not answer"):
            db.execute("SELECT pg_sleep(30)")
        assert db.closed
