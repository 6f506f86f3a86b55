"""A PostgreSQL store for daemons of tests: its configuration, and what it holds, looked at behind their back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kmwatch.store.archive_sqlite import SqliteArchive
from kmwatch.store.copying import copy
from kmwatch.store.postgres.archive import PostgresArchive
from kmwatch.store.postgres.connection import Target
from tests.servers.postgres import PostgresServer
from tests.support.daemon import Config


class Moved(NamedTuple):
    """One move of a stream's position, in the order of the commits."""

    epoch: int
    stream: str
    before: int | None
    after: int


@dataclass(frozen=True)
class Database:
    """A database of its own on a server."""

    server: PostgresServer
    url: str

    def store(self, *, port: int | None = None, lease: str = "2s") -> Config:
        """The configuration's `store`; `port` is a proxy's."""
        url = self.url.replace(f":{self.server.port}/", f":{port or self.server.port}/")
        return {"postgres": {"url": url, "password": self.server.password, "tls": "disable", "lease": lease}}

    @property
    def target(self) -> Target:
        return Target(self.url, password=self.server.password, sslmode="disable")

    def look(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the store's schema."""
        url = f"{self.url}?password={self.server.password}&options=-csearch_path%3Dkmwatch"
        return self.server.sql(statement, url=url)

    def watch_moves(self) -> None:
        """From now on remember, in the same transactions, which epoch moved which stream; see `moves`."""
        self.look(
            """
            CREATE TABLE test_moves (id bigserial, epoch bigint, stream text, before bigint, after bigint);
            CREATE FUNCTION test_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO test_moves (epoch, stream, before, after)
                SELECT epoch, NEW.stream, CASE WHEN TG_OP = 'UPDATE' THEN OLD.next END, NEW.next FROM writer;
                RETURN NULL; END $$;
            CREATE TRIGGER test_moves AFTER INSERT OR UPDATE ON offsets FOR EACH ROW EXECUTE FUNCTION test_moved();
            """
        )

    def moves(self) -> list[Moved]:
        """In the order of the commits: the fence is taken before a stream is moved, and held until the commit."""
        return [Moved(*row) for row in self.look("SELECT epoch, stream, before, after FROM test_moves ORDER BY id")]

    def as_sqlite(self, path: Path) -> Path:
        """A copy of the whole store as an SQLite file, for the tests that read those."""
        copy(PostgresArchive(self.target), SqliteArchive(path, make=True))
        return path
