"""The inventory's journal in PostgreSQL; see store.journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kmwatch.core.model import Micros
from kmwatch.ports import INVENTORY, Entry

WRITE = """
    INSERT INTO journal (stream, position, at, base, value)
    SELECT * FROM unnest(%(streams)s::text[], %(positions)s::bigint[], %(times)s::bigint[], %(bases)s::smallint[],
        %(values)b::bytea[])
"""
# A base is several entries of one time. The last one at or before a time; the first there is, if all are later.
_FROM = """
    SELECT min(position) FROM journal WHERE stream = %(stream)s AND base = 1 AND at = coalesce(
        (SELECT max(at) FROM journal WHERE stream = %(stream)s AND base = 1 AND at <= %(since)s),
        (SELECT min(at) FROM journal WHERE stream = %(stream)s AND base = 1))
"""
SELECT = f"""
    SELECT value FROM journal, (SELECT position AS first, at AS first_at FROM journal
        WHERE stream = %(stream)s AND position = ({_FROM})) b
    WHERE stream = %(stream)s AND position >= first AND (base = 0 OR at = first_at) ORDER BY position
"""  # noqa: S608  (text of ours)
_PRUNE = f"""
    WITH gone AS (
        DELETE FROM journal WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM journal WHERE stream = %(stream)s AND position < ({_FROM})
            ORDER BY position LIMIT %(portion)s
        )) RETURNING 1
    )
    SELECT count(*) FROM gone
"""  # noqa: S608


def rows(entries: Sequence[Entry]) -> dict[str, Any]:
    """The values of WRITE."""
    return {
        "streams": [one.stream for one in entries],
        "positions": [one.number for one in entries],
        "times": [one.at for one in entries],
        "bases": [int(one.base) for one in entries],
        "values": [one.value for one in entries],
    }


def since(at: Micros) -> dict[str, Any]:
    """The values of SELECT: what is to be known from this event time on."""
    return {"stream": INVENTORY, "since": at}


def prune(before: Micros, portion: int) -> tuple[str, Mapping[str, Any]]:
    """Forget what is older than the last base from before this time, so many entries at once."""
    return _PRUNE, {**since(before), "portion": portion}
