"""What detections of order and of habit are made of: last seen, sequence, series, learning period."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kmwatch.core.keyed import Keyed
from kmwatch.core.lastseen import LastSeen
from kmwatch.core.learning import Learning
from kmwatch.core.model import DAY, HOUR, MINUTE, SECOND, Citation, Micros
from kmwatch.core.rules.base import cite
from kmwatch.core.sequence import Sequence
from kmwatch.core.series import Series
from tests.support.audit import event
from tests.support.scenes import BASE, at

# Last seen


def test_a_key_is_new_once_and_again_when_its_span_is_over() -> None:
    seen = LastSeen("x", DAY, 10)
    assert seen.see("a", BASE) is None
    assert seen.see("a", BASE + DAY) == BASE
    assert seen.see("a", BASE + 2 * DAY) == BASE + DAY
    assert seen.see("a", BASE + 3 * DAY + 1) is None


def test_what_is_seen_often_is_written_seldom() -> None:
    seen = LastSeen("x", 256 * MINUTE, 10)
    for second in range(0, 600, 10):
        seen.see("a", BASE + second * SECOND)
    assert len(list(seen.state.take_changes())) == 1
    assert seen.last("a", BASE) == BASE + 9 * MINUTE


def test_a_late_sight_moves_nothing_back() -> None:
    seen = LastSeen("x", DAY, 10)
    seen.see("a", BASE)
    assert seen.see("a", BASE - HOUR) == BASE
    assert seen.last("a", BASE) == BASE


def test_looking_finds_what_was_seen_within_the_span() -> None:
    seen = LastSeen("x", DAY, 10)
    seen.see("a", BASE)
    assert seen.last("a", BASE + DAY) == BASE
    assert seen.last("a", BASE + DAY + 1) is None


def test_looking_notes_nothing() -> None:
    seen = LastSeen("x", DAY, 10)
    assert seen.last("a", BASE) is None
    assert len(seen.state) == 0


def test_the_least_recent_makes_room_and_is_counted() -> None:
    seen = LastSeen("x", DAY, 3)
    for number in range(5):
        seen.see(str(number), BASE + number * HOUR)
    assert [key for key, _ in seen.state.items()] == ["2", "3", "4"]
    assert seen.state.evicted == 2
    seen.forget(BASE + DAY + 3 * HOUR)
    assert [key for key, _ in seen.state.items()] == ["3", "4"]


# Learning


def test_learning_is_over_when_its_period_has_passed_since_the_first_event() -> None:
    learning = Learning(DAY)
    first = event(at=BASE)
    assert not learning.is_over(first)
    assert not learning.is_over(event(at=BASE + DAY - 1))
    assert learning.is_over(event(at=BASE + DAY))
    assert not learning.is_over(event(at=BASE - 30 * DAY)), "an old record, replayed"
    assert learning.watched(BASE + HOUR) == HOUR


def test_nothing_was_watched_before_the_first_event() -> None:
    assert Learning().watched(BASE) == 0


def test_without_a_period_the_first_event_may_be_spoken_of() -> None:
    assert Learning(0).is_over(event(at=BASE))


# Sequence


def cited(number: int, seconds: float) -> Citation:
    return cite(event(number, at=at(seconds)))


def follow(chains: Sequence, number: int, seconds: float, item: str | None = None) -> int:
    return len(chains.follow("k", item or str(number), cited(number, seconds)))


def test_the_second_part_counts_only_after_the_first_and_within_the_span() -> None:
    chains = Sequence("x", (1, 2), MINUTE, 10)
    assert follow(chains, 1, 0) == 0
    chains.open("k", "o", cited(2, 10))
    assert follow(chains, 3, 9) == 0, "before it"
    assert follow(chains, 4, 10) == 0
    assert follow(chains, 5, 69) == 3
    assert follow(chains, 6, 70) == 0, "a minute after it"


def test_a_first_part_of_several_must_be_whole() -> None:
    chains = Sequence("x", (3, 1), MINUTE, 10)
    for number in range(2):
        chains.open("k", str(number), cited(number, number))
    chains.open("k", "1", cited(1, 1))
    assert follow(chains, 8, 10) == 0
    chains.open("k", "2", cited(2, 2))
    assert follow(chains, 9, 11) == 4


def test_what_the_first_part_says_again_changes_neither_its_beginning_nor_the_count() -> None:
    chains = Sequence("x", (1, 3), MINUTE, 10)
    found = []
    for number in range(3):
        chains.open("k", f"o{number}", cited(number, 10 * number))
        found.append(follow(chains, 10 + number, 10 * number + 1))
    assert found == [0, 0, 4]


def test_the_latest_first_part_counts_when_the_earliest_is_too_old() -> None:
    chains = Sequence("x", (1, 1), MINUTE, 10)
    for number in range(6):
        chains.open("k", f"o{number}", cited(number, 10 * number))
    assert follow(chains, 9, 105) == 2
    assert follow(chains, 10, 111) == 0


def test_memory_of_a_key_does_not_grow_with_what_an_attacker_repeats() -> None:
    chains = Sequence("x", (3, 2), HOUR, 10)
    for number in range(100):
        chains.open("k", str(number), cited(number, number))
        follow(chains, 1000 + number, number)
    chain = chains.state.get("k")
    assert chain is not None
    assert (len(chain.first), len(chain.then)) == (6, 4)


def test_of_one_item_the_latest_counts_once() -> None:
    chains = Sequence("x", (1, 2), MINUTE, 10)
    chains.open("k", "o", cited(1, 0))
    assert [follow(chains, n, n, "same") for n in range(2, 9)] == [0] * 7


def test_quiet_keys_are_forgotten_and_dropped_ones_too() -> None:
    chains = Sequence("x", (1, 1), MINUTE, 10)
    chains.open("k", "o", cited(1, 0))
    chains.forget(at(59))
    assert len(chains.state) == 1
    chains.forget(at(60))
    assert len(chains.state) == 0
    chains.open("k", "o", cited(1, 0))
    chains.drop("k")
    chains.drop("k")
    assert follow(chains, 2, 1) == 0


# Series


def fill(series: Series, counts: list[int]) -> None:
    """So many on each day, in one hour."""
    for day, count in enumerate(counts):
        for number in range(count):
            series.add("k", at(number, days=day))


def test_an_hour_is_held_against_the_busiest_hours_of_earlier_days() -> None:
    series = Series("x", 14 * DAY, 10)
    fill(series, [4, 4, 4])
    score = series.judge("k", at(days=3))
    assert (score.count, score.usual, score.days) == (1, 4.0, 3)
    assert score.above == pytest.approx(-1.5)
    for number in range(10):
        score = series.add("k", at(number, days=3))
    assert score.count == 10
    assert score.above == pytest.approx(3.0)


def test_the_busiest_hour_counts_for_its_day_and_other_hours_do_not_add_up() -> None:
    series = Series("x", 14 * DAY, 10)
    for hour in range(3):
        for number in range(hour + 2):
            series.add("k", at(hour * 3600 + number))
    days = series.state.get("k")
    assert days is not None
    assert list(days.busiest.values()) == [4]


def test_days_that_vary_allow_more() -> None:
    series = Series("x", 14 * DAY, 10)
    fill(series, [0, 20, 1, 20, 1])
    score = series.judge("k", at(days=5))
    assert score.usual == pytest.approx(10.5)
    assert score.above == pytest.approx(-1.0)


def test_judging_counts_nothing_and_a_stranger_has_no_history() -> None:
    series = Series("x", 14 * DAY, 10)
    assert series.judge("k", at()).days == 0
    assert len(series.state) == 0
    series.add("k", at())
    assert series.judge("k", at(1)).count == 2
    assert series.judge("k", at(1)).count == 2


def test_a_day_beyond_the_span_is_forgotten_and_a_quiet_key_with_it() -> None:
    series = Series("x", 3 * DAY, 10)
    fill(series, [1] * 9)
    days = series.state.get("k")
    assert days is not None
    assert len(days.busiest) == 4
    assert series.judge("k", at(days=9)).days == 3
    series.forget(at(days=11))
    assert len(series.state) == 1
    series.forget(at(days=12))
    assert len(series.state) == 0


def test_what_comes_late_for_an_earlier_hour_is_no_part_of_the_latest() -> None:
    series = Series("x", 3 * DAY, 10)
    series.add("k", at(3600))
    assert series.add("k", at(0)).count == 1


@pytest.mark.parametrize("state", [LastSeen("x", DAY, 2).state, Series("y", DAY, 2).state])
def test_memory_is_bounded(state: Keyed[object]) -> None:
    assert state._limit == 2


def test_a_citation_of_a_scene_has_its_time() -> None:
    moment: Micros = at(5)
    assert cite(replace(event(), event_time=moment)).event_time == moment
