"""The Key Manager's own database in a real server: the recording's schema and some of its rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event, insert, select

SQL = Path(__file__).parent / "data" / "barbican.sql"
SECRETS = 8


def make_sqlite(path: Path) -> None:
    """Write the database as an SQLite file."""
    with sqlite3.connect(path) as database:
        database.executescript(SQL.read_text(encoding="utf-8"))
    database.close()


def copy_to(target: Engine, folder: Path) -> None:
    """Make the same tables with the same rows in another server."""
    make_sqlite(folder / "barbican.sqlite")
    source = create_engine(f"sqlite:///{folder / 'barbican.sqlite'}")
    metadata = MetaData()

    @event.listens_for(metadata, "column_reflect")
    def generic(_inspector: object, _table: object, info: Any) -> None:  # noqa: ANN401
        info["type"] = info["type"].as_generic()  # DATETIME of SQLite is TIMESTAMP elsewhere

    metadata.reflect(source)
    metadata.create_all(target)
    with source.connect() as reading, target.begin() as writing:
        for table in metadata.sorted_tables:
            rows = [dict(row._mapping) for row in reading.execute(select(table))]
            if rows:
                writing.execute(insert(table), rows)
    source.dispose()
