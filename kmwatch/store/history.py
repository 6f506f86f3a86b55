"""What a SQLite store has kept, for people's questions: read beside the daemon that writes it, never in its way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import json

from kmwatch.core.ledger import Extent, Query, Read, Use
from kmwatch.core.model import Finding, Micros
from kmwatch.ports import StoreError
from kmwatch.store import journal
from kmwatch.store.ledger import select, to_read
from kmwatch.store.schema import MIGRATIONS

_finding = json.Decoder(Finding).decode
_PAGE = 500


class SqliteHistory:
    """See `ports.History`. Opened read-only; one snapshot for each question."""

    def __init__(self, path: Path) -> None:
        """Open a store.

        Raises:
            StoreError: there is none, it is something else's, or another release made it.
        """
        self._path = path
        if not path.exists():
            raise StoreError(f"there is no store {path} yet: start kmwatch run, or name recordings with --from")
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error
        try:
            self._check()
        except BaseException:
            self._db.close()
            raise

    def _check(self) -> None:
        with self._told():
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version != len(MIGRATIONS):
            known = f"schema {version}, this release knows {len(MIGRATIONS)}"
            raise StoreError(f"the store {self._path} is of another release ({known}); ask with the one that runs it")

    async def reads(self, query: Query) -> AsyncIterator[list[Read]]:
        """The retrievals asked for, in the order of event time, a page at a time."""
        for page in self._pages(*select(query)):
            yield [to_read(row) for row in page]

    async def findings(self, uid: str | None = None) -> AsyncIterator[list[Finding]]:
        """Lines of findings, in the order they were made: all, or those of one finding or line uid."""
        sql, values = "SELECT body FROM outbox ORDER BY seq", list[object]()
        if uid is not None:
            sql = "SELECT body FROM outbox WHERE finding_uid = ? OR line_uid = ? ORDER BY seq"
            values = [uid, uid]
        for page in self._pages(sql, values):
            yield [_finding(str(body)) for (body,) in page]

    async def uses(self) -> dict[str, Use]:
        """How each secret in the ledger was read; one walk over the index by secret."""
        sql = (
            "SELECT secret_id, count(*), min(event_time), max(event_time) FROM reads"
            " WHERE secret_id IS NOT NULL GROUP BY secret_id"
        )
        return {str(secret): Use(*rest) for page in self._pages(sql, []) for secret, *rest in page}  # type: ignore[arg-type]

    async def extent(self) -> Extent:
        """How much the ledger holds."""
        with self._told():
            rows, evicted = self._db.execute("SELECT rows, evicted FROM ledger").fetchone()
            since = self._db.execute("SELECT min(event_time) FROM reads").fetchone()[0]
        return Extent(rows, since, evicted)

    async def journal(self, since: Micros) -> AsyncIterator[list[bytes]]:
        """What the inventory told from this event time on, and what was known before."""
        for page in self._pages(journal.SELECT, journal.since(since)):
            yield [value for (value,) in page if isinstance(value, bytes)]

    async def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _pages(self, sql: str, values: Iterable[object] | dict[str, object]) -> Iterator[list[tuple[object, ...]]]:
        with self._told():
            cursor = self._db.execute(sql, values if isinstance(values, dict) else tuple(values))
            while page := cursor.fetchmany(_PAGE):
                yield page

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error
