"""Rows for people and programs: an aligned table, JSON lines, or CSV. Text of an attacker stays text in each.

A table shows it escaped (wire/escape.py). JSON keeps its value. CSV is opened in spreadsheets, which take a cell that
begins like a formula for one; such a cell gets an apostrophe in front, the mark that spreadsheets know for text.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Mapping, Sequence
from io import StringIO
from typing import Literal, TextIO

import msgspec

from kmwatch.wire.escape import json_line, visible
from kmwatch.wire.terminal import columns

Output = Literal["table", "json", "csv"]
OUTPUTS: tuple[Output, ...] = ("table", "json", "csv")

Value = str | int | bool | None | Sequence[str] | Mapping[str, str | None]
Row = Mapping[str, Value]

_CELL = 48  # characters of a cell of a table
_GAP = "  "
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


async def write(
    out: TextIO, pages: AsyncIterator[list[Row]], output: Output, fields: Sequence[str], shown: Mapping[str, str]
) -> int:
    """Write rows as they come.

    Args:
        out: where to.
        pages: rows, each with all the keys that are asked for.
        output: the form.
        fields: the keys that JSON and CSV show, in this order.
        shown: the keys that a table has room for, with their headings.

    Returns:
        How many rows there were.
    """
    count, widths = 0, list[int]()
    if output == "csv":
        out.write(_csv([fields]))
    async for page in pages:
        if output == "json":
            chosen = ({key: row[key] for key in fields} for row in page)
            out.writelines(json_line(msgspec.json.encode(row)).decode() + "\n" for row in chosen)
        elif output == "csv":
            out.write(_csv([[_unarmed(row[key]) for key in fields] for row in page]))
        else:
            cells = [[_cell(row[key]) for key in shown] for row in page]
            if not widths:
                cells = [list(shown.values()), *cells]
                widths = [max(columns(line[index]) for line in cells) for index in range(len(shown))]
            out.writelines(_line(line, widths) for line in cells)
        count += len(page)
    return count


def _csv(lines: Sequence[Sequence[str]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _unarmed(value: Value) -> str:
    text = visible(_flat(value))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _flat(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {item or ''}" for key, item in value.items())
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else "; ".join(value)


def _cell(value: Value) -> str:
    return visible(_flat(value), _CELL) or "-"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f"{cell}{' ' * (width - columns(cell))}" for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(padded).rstrip() + "\n"
