"""What an operator does to the outbox (`kmwatch outbox`), beside a running daemon or without one. SQLite."""

from __future__ import annotations

import sqlite3

from msgspec import json

from kmwatch.core.model import Finding
from kmwatch.ports import Owed, Selection

_PENDING, _DEAD = 0, 2
_finding = json.Decoder(Finding).decode


def owed(db: sqlite3.Connection, selection: Selection, limit: int) -> list[Owed]:
    """What waits or is dead, by sink and in outbox order."""
    where, values = _where(selection)
    columns = "d.sink, d.state, o.line_uid, o.finding_uid, o.rule, o.body, o.stored, d.attempts, d.error"
    tables = f"deliveries d JOIN outbox o USING (seq) WHERE d.state IN (0, 2) {where}"
    sql = f"SELECT {columns} FROM {tables} ORDER BY d.sink, d.seq LIMIT ?"  # noqa: S608  (text of ours)
    return [
        Owed(
            sink,
            "dead" if state == _DEAD else "pending",
            line,
            finding,
            rule,
            _finding(body).severity.name.lower(),
            stored,
            attempts,
            error,
        )
        for sink, state, line, finding, rule, body, stored, attempts, error in db.execute(sql, (*values, limit))
    ]


def retry(db: sqlite3.Connection, selection: Selection) -> int:
    """Have dead lines wait again; within a transaction of the caller's."""
    rows = _dead(db, selection)
    size = "(SELECT length(CAST(body AS BLOB)) FROM outbox o WHERE o.seq = deliveries.seq)"
    sql = f"UPDATE deliveries SET state = 0, attempts = 0, octets = {size} WHERE sink = ? AND seq = ?"  # noqa: S608
    db.executemany(sql, rows)
    db.executemany("UPDATE sink_totals SET dead = dead - 1 WHERE sink = ?", [(sink,) for sink, _ in rows])
    return len(rows)


def forget(db: sqlite3.Connection, selection: Selection) -> int:
    """Let go of dead lines for good; within a transaction of the caller's. Pruning takes them when they are old."""
    rows = _dead(db, selection)
    db.executemany("DELETE FROM deliveries WHERE sink = ? AND seq = ?", rows)
    sql = "UPDATE sink_totals SET dead = dead - 1, forgotten = forgotten + 1 WHERE sink = ?"
    db.executemany(sql, [(sink,) for sink, _ in rows])
    return len(rows)


def _dead(db: sqlite3.Connection, selection: Selection) -> list[tuple[str, int]]:
    where, values = _where(selection)
    sql = f"SELECT d.sink, d.seq FROM deliveries d JOIN outbox o USING (seq) WHERE d.state = 2 {where}"  # noqa: S608
    return [(sink, seq) for sink, seq in db.execute(sql, values)]


def _where(selection: Selection) -> tuple[str, list[str]]:
    text, values = "", list[str]()
    if selection.sink is not None:
        text, values = "AND d.sink = ?", [selection.sink]
    if selection.lines is not None:
        lines = sorted(selection.lines)
        text += f" AND o.line_uid IN ({', '.join('?' * len(lines))})"
        values += lines
    return text, values
