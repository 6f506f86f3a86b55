"""What laws of the engine are held against: what it says, whatever the batches and the restarts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from kmwatch.core.detect import Judged
from kmwatch.core.model import Finding
from kmwatch.core.record import Decoded
from kmwatch.core.state import Memory, Row
from kmwatch.core.step import Engine, Output
from tests.support.audit import balances, step

Batch = Sequence[tuple[str, Decoded]]
Said = tuple[list[Judged], list[Finding]]


class Rows:
    """What a store would hold: rows by kind and key, in the order they were last written."""

    def __init__(self) -> None:
        """Begin with a new store."""
        self._rows: dict[tuple[str, str], Row] = {}

    def write(self, rows: Sequence[Row]) -> None:
        """One commit."""
        for row in rows:
            self._rows.pop((row.kind, row.key), None)
            if row.value is not None:
                self._rows[row.kind, row.key] = row

    def read(self) -> list[Row]:
        """What a restart finds."""
        return list(self._rows.values())

    def of(self, kind: str) -> list[Row]:
        """The rows of one kind."""
        return [row for row in self._rows.values() if row.kind == kind]


def cut(items: Batch, sizes: Sequence[int]) -> list[Batch]:
    """The items in batches of these sizes, the last of them repeated."""
    out, at, number = list[Batch](), 0, 0
    while at < len(items):
        size = sizes[min(number, len(sizes) - 1)]
        out.append(list(items[at : at + size]))
        at, number = at + size, number + 1
    return out


def end(made: Engine, streams: Collection[str]) -> list[Output]:
    """As a pipeline ends: every stream is at its end, then the input is over."""
    outs = [step(made, [], streams), made.flush()]
    assert balances(made)
    assert not made.join.open
    assert made.account.events_made == made.account.events_evaluated
    return outs


def said(outs: Sequence[Output]) -> Said:
    """What a replay shows: events and alerts, sorted as the files are."""
    judged = [one for out in outs for one in out.judged]
    findings = [one for out in outs for one in out.findings]
    judged.sort(key=lambda one: (one.event.event_time, one.event.event_id))
    findings.sort(key=lambda one: (one.time, one.line_uid))
    return judged, findings


def of_requests(findings: Sequence[Finding]) -> list[Finding]:
    """Without those of the feed itself, whose rules count records, duplicates too."""
    return [finding for finding in findings if finding.event_ids]


def restarting(
    fresh: Callable[[], Engine], batches: Sequence[Batch], restarts: Collection[int], streams: Collection[str]
) -> tuple[list[Output], Engine]:
    """Run with a commit after each batch, and begin again from the rows after some of them; no stream holds time up."""
    rows, made = Rows(), fresh()
    memory, outs = Memory(made), list[Output]()
    for number, batch in enumerate(batches):
        outs.append(step(made, batch, streams))
        assert balances(made)
        rows.write(memory.changes())
        if number in restarts:
            made = fresh()
            memory = Memory(made)
            memory.restore(rows.read())
    return outs, made
