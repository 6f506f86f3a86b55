"""Windows over event time (kmwatch.core.window)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.rules.base import cite
from kmwatch.core.window import Sliding
from tests.support.audit import event


def window(threshold: int = 3, span: int = 10) -> Sliding:
    return Sliding("w", threshold, span, 100)


def add(to: Sliding, item: str, time: int, number: int = 0) -> list[int]:
    return [c.event_time for c in to.add("key", item, cite(event(number or time, at=time)))]


def test_the_threshold_is_reached_by_the_item_that_completes_it() -> None:
    sliding = window()
    assert [add(sliding, item, time) for time, item in enumerate("abc")] == [[], [], [0, 1, 2]]


def test_every_further_item_reaches_it_again_with_the_latest() -> None:
    sliding = window()
    for time, item in enumerate("abc"):
        add(sliding, item, time)
    assert add(sliding, "d", 3) == [1, 2, 3]


def test_the_span_is_exact() -> None:
    just_in, just_out = window(), window()
    assert [add(just_in, item, time) for time, item in ((0, "a"), (1, "b"), (9, "c"))][-1] == [0, 1, 9]
    assert [add(just_out, item, time) for time, item in ((0, "a"), (1, "b"), (10, "c"))][-1] == []


def test_the_same_item_counts_once_with_its_latest_request() -> None:
    sliding = window()
    for time in range(5):
        assert add(sliding, "a", time) == []
    add(sliding, "b", 5)
    assert add(sliding, "c", 6) == [4, 5, 6]


def test_keys_do_not_count_together() -> None:
    sliding = window(threshold=2)
    assert sliding.add("x", "a", cite(event(1))) == ()
    assert sliding.add("y", "b", cite(event(2))) == ()


def test_a_threshold_of_one_is_reached_at_once() -> None:
    assert add(window(threshold=1), "a", 5) == [5]


def test_memory_is_no_more_than_the_threshold() -> None:
    sliding = window(threshold=3, span=10**9)
    for time in range(1000):
        add(sliding, str(time), time)
    assert [len(entries) for _, entries in sliding.state.items()] == [3]


def test_a_late_item_counts_where_the_window_still_reaches() -> None:
    sliding = window()
    add(sliding, "a", 5)
    add(sliding, "b", 8)
    assert add(sliding, "c", 3) == [3, 5, 8]


def test_a_late_item_does_not_stretch_the_window() -> None:
    sliding = window()
    add(sliding, "a", 100)
    add(sliding, "b", 109)
    assert add(sliding, "c", 99) == []  # 99 to 109 is more than the span
    assert add(sliding, "d", 110) == []  # and it did not stay


def test_a_late_copy_of_an_item_does_not_make_it_older() -> None:
    sliding = window(threshold=2)
    add(sliding, "a", 9)
    assert add(sliding, "a", 1) == []
    assert add(sliding, "b", 15) == [9, 15]


def test_quiet_keys_are_forgotten_and_busy_ones_stay() -> None:
    sliding = window()
    sliding.add("quiet", "a", cite(event(1, at=0)))
    sliding.add("busy", "a", cite(event(2, at=5)))
    sliding.forget(10)
    assert [key for key, _ in sliding.state.items()] == ["busy"]


def test_a_late_item_does_not_let_a_busy_key_be_forgotten() -> None:
    sliding = window()
    add(sliding, "a", 20)
    add(sliding, "b", 12)
    sliding.forget(25)
    assert sliding.state.get("key") is not None


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), max_size=40),
    st.integers(1, 5),
    st.integers(1, 12),
)
def test_it_agrees_with_counting_everything(steps: list[tuple[int, str]], threshold: int, span: int) -> None:
    sliding, history, now = window(threshold, span), list[tuple[int, str]](), 0
    for number, (pause, item) in enumerate(steps):
        now += pause
        history.append((now, item))
        distinct = {name for time, name in history if time > now - span}
        assert bool(add(sliding, item, now, number + 1)) == (len(distinct) >= threshold)


def test_a_clock_that_was_ahead_for_a_moment_does_not_blind_the_count() -> None:
    sliding = window()
    for number in range(2):
        add(sliding, f"ahead-{number}", 10_000 + number)
    assert [bool(add(sliding, f"now-{number}", number)) for number in range(5)] == [False, False, True, True, True]


def test_two_clocks_at_once_still_let_one_of_them_be_counted() -> None:
    sliding = window()
    reached = []
    for number in range(5):
        reached.append(bool(add(sliding, f"ahead-{number}", 10_000 + number)))
        add(sliding, f"now-{number}", number, 100 + number)
    assert reached == [False, False, True, True, True]
