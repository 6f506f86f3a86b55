"""A bounded memory of pure results: what it forgets is computed again, so it can never change an answer."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Two generations of a dict: constant time, at most 2 x `size` entries, however keys vary.

    When the young generation is full it becomes the old one, and the old one is forgotten; an entry found in
    the old generation moves to the young one, so what is in use stays.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        """A cache of `size` (>= 1) entries a generation."""
        self._size = size
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The value of the key, or None where it is not (or no longer) known."""
        found = self._young.get(key)
        if found is None and (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Remember a value."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        """How many entries are held, those of both generations counted twice."""
        return len(self._young) + len(self._old)
