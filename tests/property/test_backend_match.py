"""The matching leaves over as few points as there can be, and proves each of them."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.backend.match import Cover, Left, Point, Pool, Rank

intervals = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=5)
moments = st.lists(st.integers(0, 18), max_size=5)


def pool(spans: list[tuple[int, int]], tolerance: int = 0) -> Pool:
    made = Pool("p", tolerance, 1000)
    for number, (began, length) in enumerate(spans):
        made.open(Cover(f"c{number}", began, began + length))
    return made


def placed(made: Pool, times: list[int]) -> list[Left]:
    found = [made.place(Point(f"p{number}", at)) for number, at in enumerate(times)]
    return [left for left in found if left is not None]


def fewest(spans: list[tuple[int, int]], times: list[int]) -> int:
    """By brute force: the fewest points that no choice of distinct intervals can hold."""
    for size in range(min(len(spans), len(times)), 0, -1):
        for chosen in combinations(times, size):
            for order in permutations(spans, size):
                if all(began <= at <= began + length for at, (began, length) in zip(chosen, order, strict=True)):
                    return len(times) - size
    return len(times)


@given(intervals, moments)
def test_no_more_is_left_over_than_brute_force_leaves(spans: list[tuple[int, int]], times: list[int]) -> None:
    assert len(placed(pool(spans), sorted(times))) == fewest(spans, times)


@given(intervals, moments)
def test_the_order_in_which_points_come_does_not_change_how_many_are_left(
    spans: list[tuple[int, int]], times: list[int]
) -> None:
    assert len(placed(pool(spans), times)) == len(placed(pool(spans), sorted(times)))


@given(intervals, moments)
def test_what_is_left_is_proved_by_points_that_are_one_more_than_all_intervals_they_can_use(
    spans: list[tuple[int, int]], times: list[int]
) -> None:
    made = pool(spans)
    for number, at in enumerate(sorted(times)):
        left = made.place(Point(f"p{number}", at))
        if left is None:
            continue
        points = [one for key in left.points if (one := made.points.get(key)) is not None]
        usable = {cover.id for one in points for cover in made.holding(one) if made.is_near(one, cover)}
        held = [key for key in left.points if (one := made.points.get(key)) is not None and one.cover is not None]
        assert usable == set(left.covers)
        assert len(held) == len(left.covers)
        assert left.point in left.points


@given(intervals, moments)
def test_a_restored_pool_goes_on_as_if_nothing_had_happened(spans: list[tuple[int, int]], times: list[int]) -> None:
    times = sorted(times)
    straight, first, second = pool(spans), pool(spans), Pool("p", 0, 1000)
    expected = placed(straight, times)
    cut = len(times) // 2
    out = [left for n, at in enumerate(times[:cut]) if (left := first.place(Point(f"p{n}", at))) is not None]
    for before, after in zip(first.states(), second.states(), strict=True):
        for key, value in before.take_changes():
            if value is not None:
                after.restore(key, value)
    second.index()
    out += [
        left for n, at in enumerate(times[cut:], start=cut) if (left := second.place(Point(f"p{n}", at))) is not None
    ]
    assert out == expected


def test_a_second_point_in_one_interval_is_one_too_many_and_both_are_named() -> None:
    (left,) = placed(pool([(0, 10)]), [3, 5])
    assert (left.points, left.covers) == (("p0", "p1"), ("c0",))


def test_clocks_may_differ_by_the_tolerance_and_no_more() -> None:
    assert placed(pool([(10, 2)], tolerance=3), [7]) == []
    assert len(placed(pool([(10, 2)], tolerance=3), [6])) == 1


@pytest.mark.parametrize(("secret", "left"), [("s", 0), ("t", 1), (None, 1)])
def test_where_the_key_is_known_only_requests_for_that_secret_count(secret: str | None, left: int) -> None:
    made = Pool("p", 0, 10)
    made.open(Cover("c", 0, 10, secret="s", keyed=True))
    assert len([1 for _ in [made.place(Point("p", 5, secret))] if _ is not None]) == left


def test_the_surest_requests_are_used_up_first() -> None:
    made = Pool("p", 0, 10)
    made.open(Cover("maybe", 0, 4, Rank.MAYBE))
    made.open(Cover("sure", 0, 9))
    assert made.place(Point("a", 2)) is None
    assert made.covers.get("sure").points == ["a"]  # type: ignore[union-attr]
    assert made.place(Point("b", 3)) is None
    assert made.covers.get("maybe").points == ["b"]  # type: ignore[union-attr]


def test_a_doubt_accounts_for_a_point_and_is_told() -> None:
    made = Pool("p", 0, 10)
    made.open(Cover("lost", 0, 9, Rank.DOUBT))
    left = made.place(Point("a", 2))
    assert left is not None
    assert left.doubt == "lost"


def test_who_is_not_known_as_the_key_manager_is_not_excused_by_a_request_that_may_have_read_nothing() -> None:
    made = Pool("p", 0, 10)
    made.open(Cover("maybe", 0, 4, Rank.MAYBE))
    assert made.place(Point("a", 2, sure_only=True)) is not None


def test_retired_requests_go_with_their_points() -> None:
    made = pool([(0, 2), (5, 2)])
    placed(made, [1, 3, 6])
    assert [cover.id for cover in made.retire(5)] == ["c0"]
    assert [key for key, _ in made.points.items()] == ["p2"]
    assert len(made.covers) == 1
