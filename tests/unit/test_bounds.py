"""When the outbox is full: the bounds in lines and in octets, whichever is met first."""

from __future__ import annotations

from typing import NamedTuple, cast

import pytest

from kmwatch.core.step import Engine
from kmwatch.pipeline import LOW_WATER, Bounds, Observer, Pipeline, Router
from kmwatch.ports import Source, Store

BOUNDS = Bounds(lines=100, octets=1_000_000)


class Waiting(NamedTuple):
    """What of a store says how much waits."""

    lines: int
    octets: int

    def backlog(self) -> int:
        return self.lines

    def backlog_octets(self) -> int:
        return self.octets


def has_room(waiting: Waiting, part: float) -> bool:
    nothing = cast("Observer", None)
    made = Pipeline(
        cast("Source", None),
        cast("Store", waiting),
        lambda: cast("Engine", None),
        Router({}),
        nothing,
        bounds=BOUNDS,
        committed=lambda: None,
    )
    return made._has_room(part)


@pytest.mark.parametrize(
    ("lines", "octets", "expected"),
    [(99, 999_999, True), (100, 0, False), (1, 1_000_000, False), (100, 1_000_000, False)],
)
def test_the_outbox_is_full_at_either_bound(lines: int, octets: int, *, expected: bool) -> None:
    assert has_room(Waiting(lines, octets), 1.0) is expected


@pytest.mark.parametrize(
    ("lines", "octets", "expected"), [(79, 799_999, True), (80, 0, False), (0, 800_000, False), (99, 999_999, False)]
)
def test_reading_goes_on_below_the_low_water_of_both(lines: int, octets: int, *, expected: bool) -> None:
    assert has_room(Waiting(lines, octets), LOW_WATER) is expected
