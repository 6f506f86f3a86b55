from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import MINUTE, Match, Rate, Reason
from kmwatch.core.rate import Rates
from tests.support.audit import EXPLAINED, event

LIMITED = replace(EXPLAINED, rate=Rate(2, 5 * MINUTE))


def read(rates: Rates, secret: str, at: int = 0, match: Match = LIMITED, user: str = "user-1") -> bool | None:
    return rates.hold(match, event(at=at, secret=secret, user=user)).explained


def test_as_many_distinct_secrets_as_declared_are_explained() -> None:
    rates = Rates(10)
    assert [read(rates, name) for name in "abac"] == [True, True, True, False]


def test_the_broken_rate_names_itself() -> None:
    rates = Rates(10)
    for name in "ab":
        read(rates, name)
    broken = rates.hold(LIMITED, event(secret="c", at=0))
    assert (broken.explained, broken.reason, broken.declaration) == (False, Reason.RATE, "own")
    assert broken.nearest is not None
    assert (broken.nearest.failed_field, broken.nearest.expected) == ("rate", "2 distinct secrets in 5 min")


def test_reading_the_same_again_is_no_further_secret() -> None:
    rates = Rates(10)
    assert all(read(rates, "ab"[n % 2], n) for n in range(50))


def test_the_window_is_exact() -> None:
    rates = Rates(10)
    read(rates, "a", 0)
    read(rates, "b", MINUTE)
    assert read(rates, "c", 5 * MINUTE - 1) is False
    rates = Rates(10)
    read(rates, "a", 0)
    read(rates, "b", MINUTE)
    assert read(rates, "c", 5 * MINUTE) is True


def test_callers_and_declarations_are_held_apart() -> None:
    rates = Rates(10)
    other = replace(LIMITED, declaration="other")
    for name in "ab":
        read(rates, name)
    assert read(rates, "c", user="user-2") is True
    assert read(rates, "c", match=other) is True


def test_without_a_rate_nothing_is_held() -> None:
    rates = Rates(10)
    assert all(read(rates, str(n), match=EXPLAINED) for n in range(50))
    assert len(rates.state) == 0


def test_memory_is_one_more_than_the_limit() -> None:
    rates = Rates(10)
    for number in range(100):
        read(rates, str(number), number)
    assert [len(reads) for _, reads in rates.state.items()] == [3]


def test_a_late_read_does_not_stretch_the_window() -> None:
    rates = Rates(10)
    read(rates, "a", 60 * MINUTE)
    read(rates, "b", 61 * MINUTE)
    assert read(rates, "c", 10 * MINUTE) is True
    assert read(rates, "a", 30 * MINUTE) is True
    assert read(rates, "d", 62 * MINUTE) is False


def test_a_late_read_within_the_window_counts() -> None:
    rates = Rates(10)
    read(rates, "a", 60 * MINUTE)
    read(rates, "b", 61 * MINUTE)
    assert read(rates, "c", 59 * MINUTE) is False


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdef")), max_size=40), st.integers(1, 4))
def test_it_agrees_with_counting_everything(steps: list[tuple[int, str]], limit: int) -> None:
    rates, history, now = Rates(10), list[tuple[int, str]](), 0
    limited = replace(EXPLAINED, rate=Rate(limit, 10))
    for pause, name in steps:
        now += pause
        history.append((now, name))
        distinct = {secret for time, secret in history if time > now - 10}
        assert read(rates, name, now, limited) is (len(distinct) <= limit)
