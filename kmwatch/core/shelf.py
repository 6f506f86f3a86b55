"""Things by place and time, so that looking for what happened at a moment costs what happened then, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from kmwatch.core.model import SECOND, Micros

T = TypeVar("T")

_STEP: Micros = SECOND // 4


class Shelf(Generic[T]):
    """Items by place, quarter of a second, and a number of their own."""

    def __init__(self) -> None:
        """Be empty."""
        self._places: dict[str, dict[int, dict[int, T]]] = {}

    def put(self, place: str, at: Micros, number: int, item: T) -> None:
        """Add an item."""
        self._places.setdefault(place, {}).setdefault(at // _STEP, {})[number] = item

    def take(self, place: str, at: Micros, number: int) -> None:
        """Remove an item, if it is there."""
        steps = self._places.get(place)
        items = None if steps is None else steps.get(at // _STEP)
        if steps is None or items is None or items.pop(number, None) is None:
            return
        if not items:
            del steps[at // _STEP]
            if not steps:
                del self._places[place]

    def between(self, place: str, start: Micros, end: Micros) -> Iterator[T]:
        """The items at a place from about `start` to about `end`, in the order of time, then of numbers."""
        steps = self._places.get(place)
        if steps is None:
            return
        first, last = start // _STEP, end // _STEP
        if last - first < len(steps):
            found = [step for step in range(first, last + 1) if step in steps]
        else:
            found = sorted(step for step in steps if first <= step <= last)
        for step in found:
            yield from steps[step].values()

    def places(self) -> Iterator[str]:
        """All places that hold something."""
        return iter(self._places)
