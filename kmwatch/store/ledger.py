"""The ledger's SQL: writing rows within a batch's transaction, and the queries, each of which an index serves."""

from __future__ import annotations

import sqlite3

from msgspec import json

from kmwatch.core.ledger import More, Query, Read, Rows, place, places, storable
from kmwatch.core.model import Micros

_more = json.Decoder(More).decode
COLUMNS = (
    "event_id, event_time, secret_id, user_id, user_name, project_id, address, agent, explained, declaration,"
    " request_id, more"
)
_INSERT = (
    f"INSERT INTO reads ({COLUMNS}, place) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  (ours)
    " ON CONFLICT (event_id) DO NOTHING"
)
_UPDATE = (
    "UPDATE reads SET event_time = ?, secret_id = ?, user_id = ?, user_name = ?, project_id = ?, address = ?,"
    " agent = ?, explained = ?, declaration = ?, request_id = ?, more = ?, place = ? WHERE event_id = ?"
)
_OLDEST = "DELETE FROM reads WHERE event_id IN (SELECT event_id FROM reads ORDER BY event_time, event_id LIMIT ?)"


def write(db: sqlite3.Connection, rows: Rows, limit: int) -> None:
    """Write a batch's rows, and let the oldest go beyond `limit`; within the caller's transaction."""
    if not rows:
        return
    gone = [(event_id,) for event_id, read in rows.items() if read is None]
    told = [to_row(read) for read in rows.values() if read is not None]
    grown = db.executemany(_INSERT, told).rowcount if told else 0
    if grown < len(told):  # some were known: they are told anew, and what is new is just written
        db.executemany(_UPDATE, [(*values[1:], values[0]) for values in told])
    if gone:
        grown -= db.executemany("DELETE FROM reads WHERE event_id = ?", gone).rowcount
    total = int(db.execute("SELECT rows FROM ledger").fetchone()[0]) + grown
    old = db.execute(_OLDEST, (total - limit,)).rowcount if total > limit else 0
    db.execute("UPDATE ledger SET rows = ?, evicted = evicted + ?", (total - old, old))


def prune(db: sqlite3.Connection, before: Micros) -> int:
    """Forget retrievals from before this event time; within the caller's transaction. Returns how many."""
    gone = db.execute("DELETE FROM reads WHERE event_time < ?", (before,)).rowcount
    db.execute("UPDATE ledger SET rows = rows - ?", (gone,))
    return gone


def to_row(read: Read) -> tuple[object, ...]:
    """The values of COLUMNS and `place`."""
    return (
        read.event_id,
        read.event_time,
        read.secret_id,
        read.user_id,
        read.user_name,
        read.project_id,
        read.address,
        read.agent,
        None if read.explained is None else int(read.explained),
        read.declaration,
        read.request_id,
        json.encode(read.more).decode(),
        place(read.address),
    )


def to_read(row: tuple[object, ...]) -> Read:
    """A read of the values of COLUMNS."""
    *values, explained, declaration, request_id, more = row
    told = None if explained is None else bool(explained)
    return Read(*values, told, declaration, request_id, _more(str(more)))  # type: ignore[call-arg,arg-type]  # COLUMNS


def select(query: Query) -> tuple[str, list[object]]:
    """The statement that answers a query, in the order of time, and its values.

    The conditions are written so that one of the table's indexes leads to the rows: none of them scans what grows.
    """
    conditions: list[str] = []
    values: list[object] = []

    def add(condition: str, *given: object) -> None:
        conditions.append(condition)
        values.extend(given)

    if query.secret is not None:
        add("secret_id = ?", storable(query.secret))
    if query.users:
        add(f"user_id IN ({', '.join('?' for _ in query.users)})", *map(storable, query.users))
    if query.project is not None:
        add("project_id = ?", storable(query.project))
    if query.declaration is not None:
        add("declaration = ?", query.declaration)
    if query.request is not None:
        known = storable(query.request)
        add("event_id IN (SELECT event_id FROM reads WHERE event_id IN (?, 'api:' || ?) UNION"
            " SELECT event_id FROM reads WHERE request_id = ? AND event_id <> 'api:' || request_id)",
            known, known, known)  # fmt: skip
    if query.network is not None:
        add("place BETWEEN ? AND ?", *places(query.network))
    if query.since is not None:
        add("event_time >= ?", query.since)
    if query.until is not None:
        add("event_time < ?", query.until)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {COLUMNS} FROM reads{where} ORDER BY event_time, event_id", values  # noqa: S608  (values apart)
