from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmwatch.sinks.window import Window, WindowLimits

frames = st.lists(st.binary(min_size=1, max_size=20), max_size=40)


@given(frames, st.integers(1, 20), st.integers(1, 200))
def test_a_window_holds_the_newest_frames_within_its_bounds(items: list[bytes], messages: int, octets: int) -> None:
    window = Window(WindowLimits(messages, octets, 10))
    for item in items:
        window.add(0, [item])
    kept = window.frames()
    assert kept == items[len(items) - len(kept) :]
    assert len(kept) <= messages
    assert sum(map(len, kept)) <= octets
    one_more = items[len(items) - len(kept) - 1 :] if len(kept) < len(items) else None
    assert one_more is None or len(one_more) > messages or sum(map(len, one_more)) > octets


def test_frames_older_than_the_window_are_forgotten() -> None:
    window = Window(WindowLimits(seconds=10))
    window.add(0, [b"old"])
    window.add(5, [b"new"])
    window.prune(12)
    assert window.frames() == [b"new"]


def test_what_was_sent_again_counts_as_new() -> None:
    window = Window(WindowLimits(seconds=10))
    window.add(0, [b"old"])
    window.restamp(100)
    window.prune(105)
    assert window.frames() == [b"old"]
