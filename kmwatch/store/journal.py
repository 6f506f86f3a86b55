"""The inventory's journal in SQLite: entries by their number, and bases that let older ones go."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from kmwatch.core.model import Micros
from kmwatch.ports import INVENTORY, Entry

# A base is several entries of one time. The last one at or before a time; the first there is, if all are later.
_FROM = """
    SELECT min(position) FROM journal WHERE stream = :stream AND base = 1 AND at = coalesce(
        (SELECT max(at) FROM journal WHERE stream = :stream AND base = 1 AND at <= :since),
        (SELECT min(at) FROM journal WHERE stream = :stream AND base = 1))
"""
SELECT = f"""
    SELECT value FROM journal, (SELECT position AS first, at AS first_at FROM journal
        WHERE stream = :stream AND position = ({_FROM})) b
    WHERE stream = :stream AND position >= first AND (base = 0 OR at = first_at) ORDER BY position
"""  # noqa: S608  (text of ours)
_PRUNE = f"""
    DELETE FROM journal WHERE stream = :stream AND position < ({_FROM})
"""  # noqa: S608


def since(at: Micros) -> dict[str, object]:
    """The values of SELECT: what is to be known from this event time on."""
    return {"stream": INVENTORY, "since": at}


def write(db: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    """Keep entries."""
    rows = [(one.stream, one.number, one.at, int(one.base), one.value) for one in entries]
    db.executemany("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", rows)


def prune(db: sqlite3.Connection, before: Micros) -> int:
    """Forget what is older than the last base from before this time; returns how many entries."""
    return db.execute(_PRUNE, since(before)).rowcount
