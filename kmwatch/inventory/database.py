"""The inventory from the Key Manager's own database: read only, metadata tables only, one consistent snapshot.

PostgreSQL, MySQL or MariaDB, and SQLite. The account needs SELECT on the columns of `tables.TABLES`; what it could
read or write beyond them is what `excess` tells.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kmwatch.core.model import Acl, Secret
from kmwatch.inventory.rows import InventoryError, micros

if TYPE_CHECKING:  # an extra: whoever reads files needs no database library
    from sqlalchemy import Connection, Engine, Select

_SECONDS = 10  # to connect
_STATEMENT_SECONDS = 120
_BATCH = 5_000
_MOST = 20_000_000  # secrets: beyond it the memory of this process is no place for them
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "sqlite": "sqlite",
}
_WRITES = re.compile(r"\b(ALL PRIVILEGES|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|SUPER|GRANT OPTION)\b")


class Database:
    """One Key Manager database. Every method opens a connection of its own and closes it."""

    def __init__(self, url: str) -> None:
        """Take a URL such as postgresql://kmwatch:password@db/barbican, without connecting.

        Raises:
            InventoryError: the URL names no database that we read, or the libraries are not installed.
        """
        self._engine = _engine(url)
        self.shown = self._engine.url.render_as_string(hide_password=True)

    def read(self) -> tuple[Secret, ...]:
        """All secrets, the soft-deleted ones too.

        Raises:
            InventoryError: the database cannot be reached or read.
        """
        with self._connected() as connection:
            return tuple(_secrets(connection))

    def excess(self) -> list[str]:
        """What the account could do beyond its task, one sentence each.

        Raises:
            InventoryError: the database cannot be reached.
        """
        with self._connected() as connection:
            found = [
                f"the account can read {table}.{column}, which an inventory has no use for; grant it the columns of"
                " docs/guides/inventory.md only"
                for table, column in _readable(connection)
            ]
            if _writes(connection):
                found.append("the account can write to the Key Manager's database; grant it SELECT only")
            return found

    def close(self) -> None:
        """Let go of pooled connections."""
        self._engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  (an extra)

        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise InventoryError(f"the database {self.shown} cannot be read: {_why(error)}") from None
        except (ValueError, TypeError, AttributeError) as error:  # of the driver, or of what it took for a time
            what = f"what is no text or no time where the Key Manager has one ({type(error).__name__})"
            message = f"the database {self.shown} holds {what}; mend the row, or export the inventory to a file"
            raise InventoryError(message) from None


def _engine(url: str) -> Engine:
    try:
        from sqlalchemy import create_engine, make_url  # noqa: PLC0415  (an extra)
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
        from sqlalchemy.pool import NullPool  # noqa: PLC0415
    except ImportError:
        message = "an inventory from a database needs the extra: pip install 'kmwatch[database]'"
        raise InventoryError(message) from None
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise InventoryError("is no database URL; write postgresql://user:password@host/barbican") from None
    kind = parsed.get_backend_name()
    if kind not in _DRIVERS:
        raise InventoryError("is no database that kmwatch reads; it reads postgresql, mysql, mariadb and sqlite")
    parsed = parsed.set(drivername=_DRIVERS[kind])
    if kind == "sqlite":  # read only, and never made where it is not there
        path = parsed.database or ""
        parsed = parsed.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
        return create_engine(parsed, poolclass=NullPool)
    if kind in {"mysql", "mariadb"}:
        limits = {"connect_timeout": _SECONDS, "read_timeout": _STATEMENT_SECONDS}
        limits["init_command"] = "SET SESSION TRANSACTION READ ONLY"  # type: ignore[assignment]
    else:
        options = f"-c default_transaction_read_only=on -c statement_timeout={_STATEMENT_SECONDS * 1000}"
        limits = {"connect_timeout": _SECONDS, "options": options}  # type: ignore[dict-item]
    return create_engine(parsed, poolclass=NullPool, connect_args=limits, isolation_level="REPEATABLE READ")


def _secrets(connection: Connection) -> Iterator[Secret]:
    from kmwatch.inventory import tables  # noqa: PLC0415  (an extra)

    containers: defaultdict[str, list[str]] = defaultdict(list)
    for secret_id, container in connection.execute(tables.memberships()):
        containers[secret_id].append(_told(container))
    access: dict[str, bool] = {}
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for secret_id, project_access, user_id in connection.execute(tables.acls()):
        access[secret_id] = bool(project_access)
        if user_id is not None:
            readers[secret_id].append(_told(user_id))
    plugins = {row.project_id: _text(row.plugin) for row in connection.execute(tables.plugins())}
    rows = connection.execution_options(yield_per=_BATCH).execute(tables.all_secrets())
    for number, row in enumerate(rows):
        if number >= _MOST:
            raise InventoryError(f"the database holds more than {_MOST:,} secrets; export live ones to a file")
        yield Secret(
            _told(row.id),
            _text(row.name),
            _text(row.secret_type),
            _text(row.external_id),
            _text(row.creator_id),
            bool(row.deleted) or row.deleted_at is not None,
            tuple(containers.get(row.id, ())),
            None if row.created_at is None else micros(row.created_at),
            None if row.expiration is None else micros(row.expiration),
            Acl(access.get(row.id, True), tuple(readers.get(row.id, ()))),
            plugins.get(row.project_id),
        )


def _told(value: object) -> str:
    """An id. SQLite knows no types, and a database in no encoding gives bytes. Raises TypeError."""
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _text(value: object) -> str | None:
    return None if value is None else value if isinstance(value, str) else _told(value)


def _readable(connection: Connection) -> Iterator[tuple[str, str]]:
    """The forbidden columns that this account can select; in SQLite, which knows no grants, that hold anything."""
    from sqlalchemy import literal_column, select, table  # noqa: PLC0415  (an extra)
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    from kmwatch.inventory import tables  # noqa: PLC0415

    for name, column in tables.FORBIDDEN:
        asked: Select[Any] = select(literal_column(column)).select_from(table(name)).limit(1)
        if connection.dialect.name == "sqlite":
            asked = asked.where(literal_column(column).is_not(None))
        else:
            asked = asked.where(literal_column("1") == literal_column("0"))  # the right is checked, nothing is read
        try:
            with connection.begin_nested():
                rows = connection.execute(asked).all()
        except DBAPIError:
            continue
        if rows or connection.dialect.name != "sqlite":
            yield name, column


def _writes(connection: Connection) -> bool:
    from sqlalchemy import text  # noqa: PLC0415  (an extra)

    if connection.dialect.name == "postgresql":
        table = "has_table_privilege('secrets', 'INSERT, UPDATE, DELETE')"
        columns = "has_any_column_privilege('secrets', 'INSERT, UPDATE')"
        return bool(connection.execute(text(f"SELECT {table} OR {columns}")).scalar())
    if connection.dialect.name in {"mysql", "mariadb"}:
        grants = [str(row[0]) for row in connection.execute(text("SHOW GRANTS"))]
        return any(_WRITES.search(grant.partition(" ON ")[0]) or "WITH GRANT OPTION" in grant for grant in grants)
    return False


def _why(error: Exception) -> str:
    """The driver's first line; drivers name host and account, never a password."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
