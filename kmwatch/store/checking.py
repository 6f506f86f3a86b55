"""Reads a whole store and says what in it does not fit together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from msgspec import MsgspecError, Struct, json

from kmwatch.core.ledger import place
from kmwatch.core.model import Finding
from kmwatch.core.state import Row
from kmwatch.store.ledger import to_read
from kmwatch.store.tables import TABLES, Archive, Table, Tuple

_TABLES = {table.name: table for table in TABLES}
_finding = json.Decoder(Finding).decode
_MOST = 20  # problems of one kind that are shown; the rest is counted


class Checked(Struct):
    """How much was looked at, and what is wrong with it."""

    rows: dict[str, int]
    problems: list[str]


def check(archive: Archive, restore: Callable[[list[Row]], list[str]]) -> Checked:
    """Look at everything.

    Args:
        archive: the store; every instance is kept out of it meanwhile.
        restore: brings an engine to the stored state; returns what of it does not add up.

    Returns:
        What was found.
    """
    looked: Counter[str] = Counter()

    def rows(name: str) -> Iterator[Tuple]:
        table: Table = _TABLES[name]
        for row in archive.rows(table):
            looked[name] += 1
            yield row

    with archive.held(write=False):
        problems = archive.damage()
        problems += [f"offsets: {stream} is at {at}" for stream, at, _ in rows("offsets") if _number(at) < 0]
        lines = _lines(rows("outbox"), problems)
        _deliveries(rows("deliveries"), rows("sink_totals"), lines, problems)
        looked["rejected"] += sum(1 for _ in archive.rows(_TABLES["rejected"]))
        _reads(rows("reads"), rows("ledger"), problems)
        stored = [
            Row(str(kind), str(key), value if isinstance(value, bytes) else b"") for kind, key, value in rows("state")
        ]
        problems += restore(stored)
    return Checked(dict(looked), problems)


def _lines(rows: Iterator[Tuple], problems: list[str]) -> set[int]:
    """The numbers of the lines; each must be readable and bear its own ids."""
    known: set[int] = set()
    wrong: list[str] = []
    for seq, line_uid, finding_uid, *_, body in rows:
        known.add(_number(seq))
        try:
            finding = _finding(str(body))
        except MsgspecError as error:
            wrong.append(f"outbox: line {seq} cannot be read: {error}")
            continue
        if (finding.line_uid, finding.uid) != (line_uid, finding_uid):
            wrong.append(f"outbox: line {seq} is not the one that its ids say")
    problems += _some(wrong)
    return known


def _deliveries(rows: Iterator[Tuple], totals: Iterator[Tuple], lines: set[int], problems: list[str]) -> None:
    """What is routed is pending, delivered or dead; delivered lines may have been pruned, the others may not."""
    states: dict[str, Counter[int]] = {}
    wrong: list[str] = []
    for seq, sink, state, *_ in rows:
        states.setdefault(str(sink), Counter())[_number(state)] += 1
        if seq not in lines:
            wrong.append(f"deliveries: {sink} waits for line {seq}, which is not there")
    known = set()
    for sink, routed, delivered, dead, forgotten in totals:
        known.add(sink)
        found = states.get(str(sink), Counter())
        pending = found[0]
        if _number(routed) != _number(delivered) + _number(dead) + _number(forgotten) + pending:
            wrong.append(
                f"sink_totals: {sink}: {routed} routed are not {delivered} delivered, {dead} dead, {forgotten}"
                f" forgotten and {pending} pending"
            )
        if found[1] > _number(delivered) or found[2] != _number(dead):
            wrong.append(f"sink_totals: {sink}: deliveries show {found[1]} delivered and {found[2]} dead")
    wrong += [f"sink_totals: nothing is counted for {sink}" for sink in states.keys() - known]
    problems += _some(wrong)


def _reads(rows: Iterator[Tuple], ledger: Iterator[Tuple], problems: list[str]) -> None:
    """Each retrieval can be read and is found where its address says; the ledger has as many as it says."""
    wrong: list[str] = []
    total = 0
    for *values, where in rows:
        total += 1
        try:
            read = to_read(tuple(values))
        except MsgspecError as error:
            wrong.append(f"reads: {values[0]} cannot be read: {error}")
            continue
        if place(read.address) != where:
            wrong.append(f"reads: {read.event_id} is not found by its address")
    problems += _some(wrong)
    counted = [kept for _, kept, _ in ledger]
    if counted != [total]:
        problems.append(f"ledger: {counted[0] if counted else 'nothing'} is counted of {total} retrievals")


def _some(wrong: list[str]) -> list[str]:
    more = len(wrong) - _MOST
    return wrong if more <= 0 else [*wrong[:_MOST], f"... and {more} more like these"]


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1
