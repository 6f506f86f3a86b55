"""`kmwatch store ...`: what an operator does to a store while no instance runs on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from msgspec import MsgspecError

from kmwatch import assembly
from kmwatch.config.load import Loaded, load
from kmwatch.core.state import Memory, Row
from kmwatch.ports import StoreError
from kmwatch.store import checking, copying
from kmwatch.store.archive_sqlite import SqliteArchive
from kmwatch.store.tables import Archive, InUseError
from kmwatch.telemetry.status import totals
from kmwatch.wire.escape import visible


def copy(from_config: Path, to_config: Path) -> int:
    """Copy the store of one configuration into that of another; returns the exit code."""
    source, target = load(from_config, os.environ), load(to_config, os.environ)
    try:
        digests = copying.copy(_archive(source), _archive(target, make=True))
    except InUseError as error:
        raise StoreError(str(error)) from error
    for name, digest in digests.items():
        sys.stdout.write(f"{name:<12} {digest.rows:>10} rows  {digest.hash}\n")
    sys.stdout.write("copied; both sides have the same digests\n")
    return 0


def check(config: Path) -> int:
    """Say what in a store does not fit together; returns the exit code."""
    loaded = load(config, os.environ)
    try:
        found = checking.check(_archive(loaded), lambda rows: _restored(loaded, rows))
    except InUseError as error:
        raise StoreError(str(error)) from error
    for problem in found.problems:
        sys.stdout.write(f"{visible(problem)}\n")
    looked = ", ".join(f"{rows} in {name}" for name, rows in found.rows.items())
    verdict = "consistent" if not found.problems else f"{len(found.problems)} problems"
    sys.stdout.write(f"{verdict}: looked at {looked or 'an empty store'}\n")
    return 1 if found.problems else 0


def migrate(config: Path, url: str | None) -> int:
    """Bring a PostgreSQL store's schema up to date, as the role of that URL; returns the exit code."""
    loaded = load(config, os.environ)
    if loaded.settings.store.postgres is None:
        raise StoreError("only a PostgreSQL store is migrated by hand; SQLite's is at the next start")
    from kmwatch.store.postgres.migrate import migrate as bring_up_to_date  # noqa: PLC0415

    target = assembly.target(loaded.settings.store.postgres, url=url)
    version = bring_up_to_date(target)
    sys.stdout.write(f"{target.name}: schema {version}\n")
    return 0


def _archive(loaded: Loaded, *, make: bool = False) -> Archive:
    store = loaded.settings.store
    if store.postgres is not None:
        from kmwatch.store.postgres.archive import PostgresArchive  # noqa: PLC0415

        return PostgresArchive(assembly.target(store.postgres))
    if store.sqlite is None:
        raise ValueError(store)  # the settings hold exactly one kind
    return SqliteArchive(store.sqlite.path, make=make)


def _restored(loaded: Loaded, rows: list[Row]) -> list[str]:
    """Bring an engine to the stored state, as a start would."""
    engine = assembly.engine(loaded.settings, loaded.declarations)
    try:
        Memory(engine).restore(rows)
    except (MsgspecError, ValueError) as error:
        return [f"state: it cannot be read: {error}"]
    return [] if totals(engine).balanced else ["state: the account of records does not add up"]
