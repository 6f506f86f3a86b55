"""A store in PostgreSQL, to be copied or checked (tables.Archive)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from kmwatch.ports import StoreError
from kmwatch.store.postgres import migrate
from kmwatch.store.postgres.connection import Connection, Target, connect, text, until
from kmwatch.store.postgres.schema import TABLES
from kmwatch.store.tables import InUseError, Table, Tuple

_PORTION = 1000
_SECONDS = 3600.0  # a copy may take its time
# Hashed and ordered as SQLite does: text by its bytes, whatever the database's collation.
_TEXT = {"stream", "sink", "key", "event_id"}
_TYPES = {
    "key": "bytea", "value": "bytea", "activity": "int4", "state": "int2", "attempts": "int4", "stored": "float8",
    "explained": "int2", "place": "bytea", "id": "int4", "base": "int2",
}  # fmt: skip
_NUMBERS = {
    "next", "seq", "position", "routed", "delivered", "dead", "forgotten", "octets", "event_time", "rows", "evicted",
    "at",
}  # fmt: skip


class PostgresArchive:
    """See `tables.Archive`."""

    def __init__(self, target: Target) -> None:
        """Take a database; its schema is made if need be, and if this role may."""
        self.name = target.name
        self._target = target
        self._db: Connection | None = None

    @contextmanager
    def held(self, *, write: bool) -> Iterator[None]:
        """The lock on the writer's row makes claims and commits wait."""
        try:
            with connect(self._target, seconds=10, lease=_SECONDS, lock_seconds=10) as db:
                db.gives_up = until(_SECONDS)
                migrate.ensure(db, self._target)
                with db.transaction(force_rollback=not write):
                    self._db = db
                    self._keep_out(db)
                    yield
        except psycopg.Error as error:
            raise StoreError(f"store {self._target.name}: {text(error)}") from error
        finally:
            self._db = None

    def rows(self, table: Table) -> Iterator[Tuple]:
        """See `tables.Archive`."""
        order = [
            sql.SQL('{} COLLATE "C"').format(sql.Identifier(name)) if name in _TEXT else sql.Identifier(name)
            for name in table.order
        ]
        query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
            _names(table), sql.Identifier(table.name), sql.SQL(", ").join(order)
        )
        with self._held.cursor(name="archive", row_factory=tuple_row) as cursor:
            cursor.itersize = _PORTION
            for row in cursor.execute(query):
                yield (row[0], row[1].decode(), *row[2:]) if table.name == "state" else row

    def load(self, table: Table, rows: Iterable[Tuple]) -> None:
        """See `tables.Archive`."""
        columns, written = _names(table), table.order == ("written",)
        if table.single:
            self._held.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
        if written:
            columns = sql.SQL("{}, written").format(columns)
        query = sql.SQL("COPY {} ({}) FROM STDIN BINARY").format(sql.Identifier(table.name), columns)
        types = [_TYPES.get(name, "int8" if name in _NUMBERS else "text") for name in table.columns]
        with self._held.cursor().copy(query) as copy:
            copy.set_types([*types, "int8"] if written else types)
            for number, row in enumerate(rows, 1):
                copy.write_row((row[0], str(row[1]).encode(), *row[2:], number) if written else row)
        if written:
            self._held.execute("UPDATE writer SET written = (SELECT coalesce(max(written), 0) FROM state)")
        if table.name == "outbox":
            self._held.execute("UPDATE writer SET lines = (SELECT coalesce(max(seq), 0) FROM outbox)")

    def number(self) -> int:
        """See `tables.Archive`."""
        return int(self._held.execute("SELECT epoch FROM writer").fetchall()[0][0])

    def begin_at(self, number: int) -> None:
        """See `tables.Archive`."""
        self._held.execute("UPDATE writer SET epoch = %s, token = '', owner = 'copy', since = now()", (number,))

    def damage(self) -> list[str]:
        """See `tables.Archive`. The server checks its own pages as it reads them, if they have checksums."""
        query = (
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid = ANY(%s::regclass[])"
        )
        found = self._held.execute(query, (list(TABLES),))
        return [f"the index {name} is not valid; REINDEX it" for (name,) in found]

    @property
    def _held(self) -> Connection:
        if self._db is None:
            raise StoreError("the store is not held")
        return self._db

    def _keep_out(self, db: Connection) -> None:
        query = "SELECT owner, expires > clock_timestamp() FROM writer FOR UPDATE"
        owner, active = db.execute(query).fetchall()[0]
        if active:
            raise InUseError(f"{owner} is active on {self._target.name}; stop every instance first")


def _names(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.columns))
