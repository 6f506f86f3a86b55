from __future__ import annotations

from kmwatch.core.closed import ClosedKeys, digest_of

KEYS = [digest_of(f"req-{number}") for number in range(10)]


def test_an_unknown_request_has_no_slots() -> None:
    assert ClosedKeys().slots(KEYS[0]) == 0


def test_what_was_seen_of_a_request_adds_up() -> None:
    closed = ClosedKeys()
    closed.add(KEYS[0], 1)
    assert closed.slots(KEYS[0]) == 1
    closed.add(KEYS[0], 2)
    assert closed.slots(KEYS[0]) == 3


def test_a_complete_request_has_every_slot() -> None:
    closed = ClosedKeys()
    closed.add(KEYS[0], -1)
    assert closed.slots(KEYS[0]) & 0x7F == 0x7F


def test_at_least_a_generation_is_remembered_and_at_most_two() -> None:
    closed = ClosedKeys(generation=3)
    for number, key in enumerate(KEYS):
        closed.add(key, 1)
        remembered = [old for old in KEYS[: number + 1] if closed.slots(old)]
        assert set(KEYS[max(0, number - 2) : number + 1]) <= set(remembered)
        assert len(remembered) <= 6


def test_what_was_added_brings_another_memory_to_the_same_state() -> None:
    closed, other = ClosedKeys(generation=4), ClosedKeys(generation=4)
    for number, key in enumerate(KEYS):
        closed.add(key, -1 if number % 3 == 0 else 1 + number % 2)
        if number % 4 == 3:
            other.restore(bytes(closed.fresh))
            closed.fresh.clear()
    other.restore(bytes(closed.fresh))
    assert [other.slots(key) for key in KEYS] == [closed.slots(key) for key in KEYS]


def test_different_keys_have_different_digests() -> None:
    plain = "req-c87aa996-611b-402c-b6b3-ea85285d55bb"
    keys = {plain, plain[:-1] + "c", "req-" + "x" * 36, "req-1", "", "cadf-1", "req-" + " " * 36, "\ud800"}
    assert len({digest_of(key) for key in keys}) == len(keys)
    assert {len(digest_of(key)) for key in keys} == {16}
