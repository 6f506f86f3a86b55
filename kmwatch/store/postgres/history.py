"""What a PostgreSQL store has kept, for people's questions: read beside the instances, never in their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
from msgspec import json

from kmwatch.core.ledger import Extent, Query, Read, Use, storable
from kmwatch.core.model import Finding, Micros
from kmwatch.ports import StoreError
from kmwatch.store.ledger import to_read
from kmwatch.store.postgres import journal, ledger, migrate
from kmwatch.store.postgres.connection import Connection, Target, connect, text, until
from kmwatch.store.postgres.schema import MIGRATIONS

_finding = json.Decoder(Finding).decode
_PAGE = 500
_CONNECT_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0  # for one page
_READER_SECONDS = 3600.0  # whoever reads pages may pause for so long; a snapshot keeps the server from cleaning up
# Answers are read to their end, and in the order of an index: what comes first must not cost a look at everything.
_PLANS = "SET cursor_tuple_fraction = 1; SET enable_seqscan = off"

_Ask = Callable[..., Awaitable[list[tuple[Any, ...]]]]


class PostgresHistory:
    """See `ports.History`. Transactions are read-only; each question has one, and so sees one moment.

    A connection serves one question at a time, and then the next; questions asked at once have one each.
    """

    def __init__(self, target: Target) -> None:
        """Connect.

        Raises:
            StoreError: it cannot be reached, holds no store, or another release's.
        """
        self._target = target
        self._all: set[Connection] = set()
        self._free: list[Connection] = [self._connect()]

    async def reads(self, query: Query) -> AsyncIterator[list[Read]]:
        """The retrievals asked for, in the order of event time, a page at a time."""
        async for page in self._pages(*ledger.select(query)):
            yield [to_read(row) for row in page]

    async def findings(self, uid: str | None = None) -> AsyncIterator[list[Finding]]:
        """Lines of findings, in the order they were made: all, or those of one finding or line uid."""
        if uid is None:
            pages = self._pages(ledger.FINDINGS, {})
        else:
            pages = self._pages(ledger.FINDINGS_OF, {"uid": storable(uid)})
        async for page in pages:
            yield [_finding(body) for (body,) in page]

    async def uses(self) -> dict[str, Use]:
        """How each secret in the ledger was read; one walk over the index by secret."""
        return {secret: Use(*rest) async for page in self._pages(ledger.USES, {}) for secret, *rest in page}

    async def extent(self) -> Extent:
        """How much the ledger holds."""
        async with self._snapshot() as ask:
            ((rows, since, evicted),) = await ask(ledger.EXTENT)
        return Extent(rows, since, evicted)

    async def journal(self, since: Micros) -> AsyncIterator[list[bytes]]:
        """What the inventory told from this event time on, and what was known before."""
        async for page in self._pages(journal.SELECT, journal.since(since)):
            yield [bytes(value) for (value,) in page]

    async def close(self) -> None:
        """Let go of the connections."""
        for db in list(self._all):
            self._disconnect(db)

    async def _pages(self, sql: str, values: Mapping[str, Any]) -> AsyncIterator[list[tuple[Any, ...]]]:
        async with self._snapshot() as ask:
            await ask(f"DECLARE asked NO SCROLL CURSOR FOR {sql}", values)
            while page := await ask(f"FETCH {_PAGE} FROM asked"):
                yield page

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[_Ask]:
        """A transaction that sees one moment: something to ask it with."""
        db = self._free.pop() if self._free else await asyncio.to_thread(self._connect)

        def answer(sql: str, values: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
            db.gives_up = until(_PATIENCE_SECONDS)
            cursor = db.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

        async def ask(sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
            return await asyncio.to_thread(answer, sql, values)

        try:
            yield ask
            await asyncio.to_thread(db.commit)
        except psycopg.Error as error:
            self._disconnect(db)
            raise StoreError(f"store {self._target.name}: {text(error)}") from error
        except BaseException:  # whoever asked wants no more pages
            self._disconnect(db)
            raise
        self._free.append(db)

    def _connect(self) -> Connection:
        db = connect(self._target, seconds=_CONNECT_SECONDS, lease=_READER_SECONDS)
        try:
            self._check(db)
            db.execute(_PLANS)
            db.autocommit = False
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            db.read_only = True
        except BaseException as error:
            db.close()
            if isinstance(error, psycopg.Error):
                raise StoreError(f"store {self._target.name}: {text(error)}") from error
            raise
        self._all.add(db)
        return db

    def _check(self, db: Connection) -> None:
        version = migrate.version(db, self._target)
        if not version:
            raise StoreError(f"there is no store {self._target.name} yet: start kmwatch run")
        if version != len(MIGRATIONS):
            known = f"schema {version}, this release knows {len(MIGRATIONS)}"
            raise StoreError(
                f"the store {self._target.name} is of another release ({known}); ask with the one that runs it"
            )

    def _disconnect(self, db: Connection) -> None:
        self._all.discard(db)
        with suppress(psycopg.Error):
            db.close()
