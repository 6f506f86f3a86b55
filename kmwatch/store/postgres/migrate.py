"""Makes the schema, or brings it up to date, where this role may; otherwise says who has to."""

from __future__ import annotations

import psycopg
from psycopg import sql

from kmwatch.ports import StoreError
from kmwatch.store.postgres.connection import Connection, Target, connect, text, until
from kmwatch.store.postgres.schema import MIGRATIONS

_LOCK = 0x6B6D_7761_7463_68  # "kmwatch": two instances that start at once migrate one after the other
_SECONDS = 600.0
# A query and not `to_regclass`, which may answer from a cache that has not heard of another session's commit.
_FOUND = """
    SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname = %s AND relkind IN ('r', 'p')
"""


def ensure(db: Connection, target: Target) -> None:
    """Bring the schema up to date if need be.

    Raises:
        StoreError: it is another program's, a newer release's, or out of date and not ours to change.
    """
    if _known(db, target) == len(MIGRATIONS):
        return
    try:
        _migrate(db, target)
    except psycopg.errors.InsufficientPrivilege as error:
        message = f"the store {target.name} has no schema of this release, and its role may not make it: {text(error)}"
        raise StoreError(f"{message}; run `kmwatch store migrate` as its owner (docs/guides/postgres.md)") from error


def migrate(target: Target) -> int:
    """Bring the schema up to date; returns its version. Raises StoreError."""
    try:
        with connect(target, seconds=_SECONDS, lease=_SECONDS) as db:
            ensure(db, target)
    except psycopg.Error as error:
        raise StoreError(f"store {target.name}: {text(error)}") from error
    return len(MIGRATIONS)


def version(db: Connection, target: Target) -> int:
    """The schema's version; 0 for one that is empty or is not there. Raises StoreError for another program's."""
    tables = {name for (name,) in db.execute(_FOUND, (target.schema,))}
    ours, others = "schema_version" in tables, bool(tables)
    if not ours:
        if others:
            raise StoreError(f"{target.name} holds tables of something else; name another in store.postgres.schema")
        return 0
    return int(db.execute("SELECT version FROM schema_version").fetchall()[0][0])


def _known(db: Connection, target: Target) -> int:
    found = version(db, target)
    if found > len(MIGRATIONS):
        message = f"the store {target.name} was made by a newer release (schema {found}); run that release"
        raise StoreError(f"{message}, or start with a store of its own")
    return found


def _migrate(db: Connection, target: Target) -> None:
    db.gives_up = until(_SECONDS)
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if not db.execute("SELECT FROM pg_namespace WHERE nspname = %s", (target.schema,)).fetchall():
            db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target.schema)))
        for number, script in enumerate(MIGRATIONS[_known(db, target) :], _known(db, target) + 1):
            db.execute(script.encode())
            db.execute("UPDATE schema_version SET version = %s", (number,))
