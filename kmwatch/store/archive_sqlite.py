"""A store in an SQLite file, to be copied or checked (tables.Archive)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kmwatch.ports import StoreError
from kmwatch.store.sqlite import SqliteStore
from kmwatch.store.tables import InUseError, Table, Tuple

_PORTION = 1000


class SqliteArchive:
    """See `tables.Archive`."""

    def __init__(self, path: Path, *, make: bool = False) -> None:
        """Take a store that is there, or may be made."""
        self.name = f"sqlite {path}"
        self._path = path
        self._make = make
        self._db: sqlite3.Connection | None = None

    @contextmanager
    def held(self, *, write: bool) -> Iterator[None]:
        """Whoever has the file open holds a shared lock on it, which an exclusive one cannot pass."""
        if not self._make and not self._path.exists():
            raise StoreError(f"there is no store {self._path}; check store.sqlite.path")
        SqliteStore(self._path, "copy", lambda: 0.0).end()  # it makes the schema, or brings it up to date
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=1)) as db:
                self._db = db
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
                db.execute("PRAGMA foreign_keys = ON")
                db.execute("BEGIN IMMEDIATE")
                yield
                db.execute("COMMIT" if write else "ROLLBACK")
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise InUseError(f"{self._path} is open in another process; stop kmwatch first") from error
            raise StoreError(f"store {self._path}: {error}") from error
        except sqlite3.Error as error:
            raise StoreError(f"store {self._path}: {error}") from error
        finally:
            self._db = None

    def rows(self, table: Table) -> Iterator[Tuple]:
        """See `tables.Archive`. NUL in text is shown as PostgreSQL's store would keep it."""
        order = "rowid" if table.order == ("written",) else ", ".join(table.order)
        cursor = self._held.execute(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {order}")  # noqa: S608
        while portion := cursor.fetchmany(_PORTION):
            yield from map(_plain(table), portion)

    def load(self, table: Table, rows: Iterable[Tuple]) -> None:
        """See `tables.Archive`."""
        if table.single:
            self._held.execute(f"DELETE FROM {table.name}")  # noqa: S608
        marks = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608
        self._held.executemany(statement, rows)

    def number(self) -> int:
        """See `tables.Archive`."""
        return int(self._held.execute("SELECT claim FROM writer").fetchone()[0])

    def begin_at(self, number: int) -> None:
        """See `tables.Archive`."""
        self._held.execute("UPDATE writer SET claim = ?, owner = 'copy'", (number,))

    def damage(self) -> list[str]:
        """See `tables.Archive`."""
        found = [text for (text,) in self._held.execute("PRAGMA integrity_check") if text != "ok"]
        return found + [f"{row[0]} points nowhere" for row in self._held.execute("PRAGMA foreign_key_check")]

    @property
    def _held(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError("the store is not held")
        return self._db


def _plain(table: Table) -> Callable[[Tuple], Tuple]:
    if table.name == "state":  # its keys may be any text
        return lambda row: row

    def plain(row: Tuple) -> Tuple:
        return tuple(value.replace("\0", "\\x00") if isinstance(value, str) else value for value in row)

    return plain
