from __future__ import annotations

from kmwatch.core.watermark import Watermark


def test_nothing_is_over_until_every_expected_stream_has_shown_where_it_stands() -> None:
    mark = Watermark(10)
    mark.expect(["a", "b"])
    mark.observe("a", 100)
    assert mark.advance() is None
    mark.observe("b", 50)
    assert mark.advance() == 40


def test_the_slowest_stream_counts_minus_the_lateness() -> None:
    mark = Watermark(10)
    mark.observe("a", 100)
    mark.observe("b", 70)
    assert mark.advance() == 60


def test_a_stream_at_its_end_holds_nobody_up() -> None:
    mark = Watermark(10)
    mark.expect(["quiet", "a", "b"])
    mark.observe("a", 100)
    mark.observe("b", 500)
    assert mark.advance({"quiet", "a"}) == 490


def test_it_never_goes_back() -> None:
    mark = Watermark(10)
    mark.observe("a", 100)
    assert mark.advance() == 90
    mark.observe("b", 20)
    assert mark.advance() == 90


def test_with_all_streams_at_their_end_time_goes_on_at_the_pace_of_the_clock() -> None:
    mark = Watermark(10)
    mark.observe("a", 100)
    mark.observe("b", 70)
    assert mark.advance({"a", "b"}, elapsed=0) == 90
    assert mark.advance({"a", "b"}, elapsed=15) == 105


def test_without_any_record_there_is_no_time() -> None:
    mark = Watermark(10)
    mark.expect(["a"])
    assert mark.advance({"a"}, elapsed=1000) is None
    assert Watermark(10).advance() is None


def test_a_record_is_late_if_it_lies_at_or_behind_what_its_stream_has_left_behind() -> None:
    mark = Watermark(10)
    assert not mark.observe("a", 100)
    assert not mark.observe("a", 91)
    assert mark.observe("a", 90)
    assert mark.observe("a", 1)
    assert not mark.observe("b", 1)  # another stream has its own pace


def test_a_stream_that_is_no_longer_read_holds_nobody_up() -> None:
    mark = Watermark(10)
    mark.observe("gone", 5)
    mark.observe("a", 100)
    mark.expect(["a"])
    assert mark.advance() == 90


def test_expecting_a_known_stream_keeps_its_progress() -> None:
    mark = Watermark(10)
    mark.observe("a", 100)
    mark.expect(["a", "b"])
    mark.observe("b", 200)
    assert mark.advance() == 90
