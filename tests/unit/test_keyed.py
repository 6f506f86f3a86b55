from __future__ import annotations

from kmwatch.core.keyed import Keyed


def state(limit: int = 3, on_evict: list[tuple[str, int]] | None = None) -> Keyed[int]:
    heard = None if on_evict is None else lambda key, value: on_evict.append((key, value))
    return Keyed("name", int, limit, heard)


def test_the_least_recently_set_goes_first_counted_and_told() -> None:
    heard: list[tuple[str, int]] = []
    keyed = state(on_evict=heard)
    for key in ("a", "b", "c", "a", "d"):
        keyed.put(key, len(heard))
    assert [key for key, _ in keyed.items()] == ["c", "a", "d"]
    assert ([key for key, _ in heard], keyed.evicted) == (["b"], 1)


def test_looking_does_not_keep_a_key() -> None:
    keyed = state()
    for key in ("a", "b", "c"):
        keyed.put(key, 1)
    assert keyed.get("a") == 1
    keyed.put("d", 1)
    assert keyed.get("a") is None


def test_changes_are_told_once_deletions_too() -> None:
    keyed = state()
    keyed.put("a", 1)
    keyed.put("b", 2)
    keyed.pop("a")
    assert list(keyed.take_changes()) == [("b", b"\x02"), ("a", None)]
    assert list(keyed.take_changes()) == []


def test_an_evicted_key_is_told_as_deleted() -> None:
    keyed = state(limit=1)
    keyed.put("a", 1)
    keyed.put("b", 2)
    assert dict(keyed.take_changes()) == {"a": None, "b": b"\x02"}


def test_rows_restored_in_the_order_they_were_told_keep_the_order_of_use() -> None:
    keyed, other = state(limit=10), state(limit=10)
    for key in "hgfedcba" + "geb":
        keyed.put(key, 1)
    for key, packed in keyed.take_changes():
        assert packed is not None
        other.restore(key, packed)
    assert list(other.items()) == list(keyed.items())


def test_forgetting_stops_at_the_first_that_still_matters() -> None:
    keyed = state()
    for key, value in (("a", 1), ("b", 9), ("c", 1)):
        keyed.put(key, value)
    keyed.forget_while(lambda value: value < 5)
    assert [key for key, _ in keyed.items()] == ["b", "c"]


def test_a_lower_limit_than_before_holds_from_the_next_change_on() -> None:
    heard: list[tuple[str, int]] = []
    keyed = state(limit=2, on_evict=heard)
    for key in ("a", "b", "c", "d"):
        keyed.restore(key, b"\x01")
    keyed.put("e", 1)
    assert [key for key, _ in keyed.items()] == ["d", "e"]
    assert [key for key, _ in heard] == ["a", "b", "c"]
    assert len(keyed) == 2
