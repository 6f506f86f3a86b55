"""`kmwatch outbox` and `kmwatch sink test`: what an operator asks of deliveries, beside a running daemon or without."""

from __future__ import annotations

import csv
import io
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
from msgspec import structs

from kmwatch import assembly, outlets
from kmwatch.clock import Clock
from kmwatch.config.load import Loaded
from kmwatch.core.itself import about_itself
from kmwatch.core.model import SECOND, Finding
from kmwatch.ports import Owed, PartialError, Selection, SourceError, Store
from kmwatch.wire.common import iso
from kmwatch.wire.escape import visible

Output = Literal["table", "json", "csv"]
CONFIRM = "lose-them"
_COLUMNS = ("sink", "state", "line", "finding", "rule", "severity", "stored", "attempts", "error")
_WIDEST = 60  # characters of an error in a table


async def listing(loaded: Loaded, clock: Clock, selection: Selection, limit: int) -> list[Owed]:
    """What waits or is dead. Raises StoreError, SourceError for an unknown sink."""
    store = _opened(loaded, clock, selection)
    try:
        return await store.owed(selection, limit)
    finally:
        await store.close()


async def change(loaded: Loaded, clock: Clock, selection: Selection, action: Literal["retry", "drop"]) -> int:
    """Send dead lines again, or let go of them; returns how many.

    Raises:
        StoreError: the store cannot be used.
        SourceError: there is no such sink.
    """
    store = _opened(loaded, clock, selection)
    try:
        return await (store.retry(selection) if action == "retry" else store.forget(selection))
    finally:
        await store.close()


def render(rows: Sequence[Owed], output: Output) -> Iterator[str]:
    """Lines for people or machines; text of receivers is made safe to show."""
    if output == "json":
        for row in rows:
            yield msgspec.json.encode(_shown(row)).decode()
    elif output == "csv":
        yield _csv(_COLUMNS)
        for row in rows:
            yield _csv([str(cell) for cell in _shown(row).values()])
    else:
        yield from _table([_cells(row) for row in rows])


def _shown(row: Owed) -> dict[str, str | int | None]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    error = None if row.error is None else visible(row.error)
    return values | {"stored": iso(int(row.stored * SECOND)), "error": error}


def _cells(row: Owed) -> list[str]:
    shown = _shown(row) | {
        "error": visible(row.error or "", _WIDEST),
        "stored": iso(int(row.stored * SECOND))[:19] + "Z",
    }
    return [str(cell) for cell in shown.values()]


def _csv(cells: Sequence[str]) -> str:
    """One line; a cell that a spreadsheet would take for a formula is text."""
    out = io.StringIO()
    csv.writer(out).writerow([f"'{cell}" if cell[:1] in {"=", "+", "-", "@"} else cell for cell in cells])
    return out.getvalue().rstrip("\r\n")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(cell) for cell in column) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        yield "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()


def _opened(loaded: Loaded, clock: Clock, selection: Selection) -> Store:
    """The store, which must be there already: a look at a path that is wrong must not make one."""
    names = [sink.name for sink in loaded.settings.sinks]
    sqlite = loaded.settings.store.sqlite
    if sqlite is not None and not sqlite.path.exists():
        raise SourceError(f"there is no store at {sqlite.path}; has kmwatch run with this configuration?")
    if selection.sink is not None and selection.sink not in names:
        known = ", ".join(names)
        sys.stderr.write(f"kmwatch: no sink {visible(selection.sink)} is configured ({known}); looking for its lines\n")
    return assembly.store(loaded.settings, clock)


# ------------------------------------------------------------------------------------------------------ sink test


async def try_sink(loaded: Loaded, clock: Clock, name: str) -> str:
    """Send one marked finding through a sink, past the outbox; returns what the receiver said.

    Raises:
        SourceError: there is no such sink.
        SinkError: it was not accepted.
    """
    given = next((sink for sink in loaded.settings.sinks if sink.name == name), None)
    if given is None:
        known = ", ".join(sink.name for sink in loaded.settings.sinks)
        raise SourceError(f"there is no sink {name}; there are: {known}")
    sink = outlets.sink(given, clock)
    try:
        said = await sink.send([marked(clock)])
    except PartialError as outcome:
        raise outcome.cause or SourceError(next(iter(outcome.refused.values()), str(outcome))) from outcome
    finally:
        await sink.close()
    return said or "handed over; this kind of receiver says nothing"


def marked(clock: Clock) -> Finding:
    """A finding that says of itself that it is none."""
    now = int(clock.now() * SECOND)
    uid = f"test-{socket.gethostname()}-{os.getpid()}-{now}"
    said = about_itself(
        uid=uid,
        line_uid=uid,
        rule="KMW-TEST",
        title="sink-test",
        time=now,
        message="kmwatch sink test: this is no alert. Somebody asked whether alerts arrive here, and they do",
        reason="test",
        subject="sink test",
    )
    return structs.replace(said, flags=("test",))
