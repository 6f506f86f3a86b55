"""How much to take of each partition, so that all advance through time together.

The halves of a request lie on any two partitions. Whoever reads one partition ahead of another holds thousands of
requests half open, and must write them down with every batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


class Pace(Generic[P]):
    """Remembers how far each partition has got, in the stamps of its records, and how dense they lie."""

    def __init__(self) -> None:
        """Know nothing yet: equal shares."""
        self._reached: dict[P, int] = {}
        self._density: dict[P, float] = {}  # records for each unit of time, in the latest batch

    def shares(self, parts: Sequence[P], most: int) -> dict[P, int]:
        """The most records to take of each partition.

        Args:
            parts: those that have something to give.
            most: the most records of all of them.

        Returns:
            Equal shares, less what a partition is ahead of the last, by its own density; at least 1.
        """
        share = max(most // max(len(parts), 1), 1)
        last = min((self._reached.get(part, 0) for part in parts), default=0)
        return {part: max(share - self._ahead(part, last), 1) for part in parts}

    def took(self, taken: Mapping[P, tuple[int, int]]) -> None:
        """Note the stamp of the last record, and the number of records, that partitions gave."""
        for part, (stamp, count) in taken.items():
            span = stamp - self._reached.get(part, stamp)
            if span > 0:
                self._density[part] = count / span
            self._reached[part] = stamp

    def _ahead(self, part: P, last: int) -> int:
        """How many records a partition is ahead of the last one."""
        return int((self._reached.get(part, last) - last) * self._density.get(part, 0.0))
