"""The ledger's SQL on PostgreSQL: a batch's rows in three statements at most, and the queries, each served by an index.

Whoever writes here has updated the writer's row before, in the same transaction (statements.FENCE): nobody else changes
the ledger meanwhile, and its count is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmwatch.core.ledger import Query, Read, Rows, places, storable
from kmwatch.core.model import Micros
from kmwatch.store.ledger import COLUMNS, to_row

_ARRAYS = {
    "event_id": "text", "event_time": "bigint", "secret_id": "text", "user_id": "text", "user_name": "text",
    "project_id": "text", "address": "text", "agent": "text", "explained": "smallint", "declaration": "text",
    "request_id": "text", "more": "text", "place": "bytea",
}  # fmt: skip
_NAMES = ", ".join(_ARRAYS)
_GIVEN = ", ".join(f"%({name})t::{kind}[]" for name, kind in _ARRAYS.items())
_AGAIN = ", ".join(f"{name} = excluded.{name}" for name in _ARRAYS if name != "event_id")
_SURPLUS = 10_000  # rows beyond the limit that a commit lets go besides its own, after the limit was lowered

# A row that is written again was locked by this transaction first, which its xmax tells; a fresh one has none. A join
# with the rows that were there would let the planner choose to read them all.
WRITE = f"""
    WITH put AS (
        INSERT INTO reads ({_NAMES}) SELECT * FROM unnest({_GIVEN})
        ON CONFLICT (event_id) DO UPDATE SET {_AGAIN} RETURNING xmax = 0 AS fresh
    )
    UPDATE ledger SET rows = rows + (SELECT count(*) FROM put WHERE fresh)
"""  # noqa: S608  (text of ours)
TAKE_BACK = """
    WITH gone AS (DELETE FROM reads WHERE event_id = ANY(%(ids)s::text[]) RETURNING 1)
    UPDATE ledger SET rows = rows - (SELECT count(*) FROM gone)
"""
# The inner limit is a number that the planner knows, so that it walks the index: only the start of it is read.
EVICT = """
    WITH gone AS (
        DELETE FROM reads WHERE ctid = ANY(ARRAY(
            SELECT oldest.ctid FROM (SELECT ctid FROM reads ORDER BY event_time, event_id LIMIT %(most)s) oldest
            LIMIT (SELECT greatest(rows - %(kept)s, 0) FROM ledger)
        )) RETURNING 1
    ), counted AS (SELECT count(*) AS n FROM gone)
    UPDATE ledger SET rows = rows - n, evicted = evicted + n FROM counted WHERE n > 0
"""
PRUNE = """
    WITH gone AS (
        DELETE FROM reads WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM reads WHERE event_time < %(before)s ORDER BY event_time LIMIT %(portion)s
        )) RETURNING 1
    ), counted AS (
        UPDATE ledger SET rows = rows - (SELECT count(*) FROM gone)
    )
    SELECT count(*) FROM gone
"""

USES = """
    SELECT secret_id, count(*), min(event_time), max(event_time) FROM reads WHERE secret_id IS NOT NULL
    GROUP BY secret_id
"""
EXTENT = "SELECT rows, (SELECT min(event_time) FROM reads), evicted FROM ledger"
FINDINGS = "SELECT body FROM outbox ORDER BY seq"
FINDINGS_OF = "SELECT body FROM outbox WHERE finding_uid = %(uid)s OR line_uid = %(uid)s ORDER BY seq"


def work(rows: Rows, kept: int) -> list[tuple[str, Mapping[str, Any]]]:
    """The statements of a batch's rows, in order.

    Args:
        rows: by event id.
        kept: how many rows may stay. Where it was lowered, it takes some commits until no more are there.
    """
    out: list[tuple[str, Mapping[str, Any]]] = []
    gone = [event_id for event_id, read in rows.items() if read is None]
    if gone:
        out.append((TAKE_BACK, {"ids": gone}))
    put = [read for read in rows.values() if read is not None]
    if put:
        out.append((WRITE, _arrays(put)))
        out.append((EVICT, {"kept": kept, "most": len(put) + _SURPLUS}))
    return out


def prune(before: Micros, portion: int) -> tuple[str, Mapping[str, Any]]:
    """Forget at most `portion` retrievals from before this event time; returns how many."""
    return PRUNE, {"before": before, "portion": portion}


def _arrays(put: list[Read]) -> Mapping[str, Any]:
    columns = zip(*map(to_row, put), strict=True)
    return dict(zip(_ARRAYS, map(list, columns), strict=True))


def select(query: Query) -> tuple[str, Mapping[str, Any]]:
    """The statement that answers a query, in the order of time, and its values."""
    conditions: list[str] = []
    values: dict[str, object] = {}

    def add(condition: str, **given: object) -> None:
        conditions.append(condition)
        values.update(given)

    if query.secret is not None:
        add("secret_id = %(secret)s", secret=storable(query.secret))
    if query.users:
        add("user_id = ANY(%(users)s)", users=[storable(user) for user in query.users])
    if query.project is not None:
        add("project_id = %(project)s", project=storable(query.project))
    if query.declaration is not None:
        add("declaration = %(declaration)s", declaration=storable(query.declaration))
    if query.request is not None:
        add("(event_id = %(request)s OR request_id = %(request)s)", request=storable(query.request))
    if query.network is not None:
        first, last = places(query.network)
        add("place BETWEEN %(first)s AND %(last)s", first=first, last=last)
    if query.since is not None:
        add("event_time >= %(since)s", since=query.since)
    if query.until is not None:
        add("event_time < %(until)s", until=query.until)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {COLUMNS} FROM reads{where} ORDER BY event_time, event_id", values  # noqa: S608  (values apart)
