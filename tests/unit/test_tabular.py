"""Rows as a table, JSON lines and CSV: for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.wire.escape import visible
from kmwatch.wire.tabular import Output, Row, write
from tests.support.findings import HOSTILE

FIELDS = ("name", "count", "told")


async def written(rows: list[Row], output: Output, pages: int = 1) -> str:
    async def paged() -> AsyncIterator[list[Row]]:
        for number in range(pages):
            yield rows[number::pages]

    out = StringIO()
    assert await write(out, paged(), output, FIELDS, {"name": "NAME", "told": "TOLD"}) == len(rows)
    return out.getvalue()


ROWS: list[Row] = [
    {"name": "lb", "count": 2, "told": True, "more": "x"},
    {"name": None, "count": 0, "told": None, "more": ""},
]


async def test_a_table_is_aligned_and_shows_what_has_room() -> None:
    assert await written(ROWS, "table") == "NAME  TOLD\nlb    true\n-     -\n"


async def test_json_is_one_object_a_line_with_the_fields_in_order() -> None:
    lines = (await written(ROWS, "json")).splitlines()
    assert lines == ['{"name":"lb","count":2,"told":true}', '{"name":null,"count":0,"told":null}']


async def test_csv_has_a_header_and_empty_cells_for_what_is_not_known() -> None:
    assert await written(ROWS, "csv") == "name,count,told\nlb,2,true\n,0,\n"


@pytest.mark.parametrize("output", ["csv", "table", "json"])
async def test_without_rows_there_is_a_header_at_most(output: Output) -> None:
    assert await written([], output) in {"name,count,told\n", "NAME  TOLD\n", ""}


async def test_wide_characters_keep_the_columns_straight() -> None:
    told = await written([{"name": "鍵", "count": 0, "told": "x"}, {"name": "ab", "count": 0, "told": "y"}], "table")
    assert told == "NAME  TOLD\n鍵    x\nab    y\n"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r\n=1"])
async def test_no_spreadsheet_takes_a_name_for_a_formula(name: str) -> None:
    ((_, cell),) = [
        ("", row[0])
        for row in list(csv.reader(StringIO(await written([{"name": name, "count": 0, "told": None}], "csv"))))[1:]
    ]
    assert cell[0] not in "=+-@\t\r"


@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.just(HOSTILE))
async def test_text_of_an_attacker_breaks_no_line_and_keeps_its_value_in_json(name: str) -> None:
    rows: list[Row] = [{"name": name, "count": 1, "told": "end"}]
    table, lines = await written(rows, "table"), await written(rows, "json")
    assert len(table.split("\n")) == 3
    assert visible(table, keep_newlines=True) == table
    assert json.loads(lines)["name"] == name
    assert len(list(csv.reader(StringIO(await written(rows, "csv"))))) == 2
