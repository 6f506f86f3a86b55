"""How much a caller takes in an hour: the whole hours in which something was done, and the rate that would do.

A rate of the caller map counts distinct secrets of one user in a window that slides. Whole hours are what is kept of
history; no window of an hour holds more than two of them, so that twice the busiest hour is room for all that was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from msgspec import Struct

from kmwatch.core.model import DAY, HOUR, Micros, Rate

LONG_ENOUGH: Micros = 7 * DAY  # of history, before its busiest hour says what is usual
_LEAST = 10  # a rate below it would only tell of chance
_STEP = 10


class Hours(Struct):
    """A set of whole hours since 1970: one bit each, from the earliest on."""

    base: int = 0
    bits: int = 0

    def add(self, time: Micros) -> None:
        """Note the hour of a time."""
        self.take(Hours(time // HOUR, 1))

    def take(self, other: Hours) -> None:
        """Note the hours of another."""
        if not self.bits:
            self.base, self.bits = other.base, other.bits
        elif other.base >= self.base:
            self.bits |= other.bits << (other.base - self.base)
        elif other.bits:
            self.base, self.bits = other.base, (self.bits << (self.base - other.base)) | other.bits

    def __iter__(self) -> Iterator[int]:
        """The hours, in order."""
        bits = self.bits
        while bits:
            low = bits & -bits
            yield self.base + low.bit_length() - 1
            bits ^= low


def busiest(hours: Iterable[tuple[Hashable, Hashable, Hours]]) -> int:
    """The most distinct secrets of one user in a whole hour, of (user, secret, when)."""
    whole: dict[tuple[Hashable, Hashable], Hours] = {}
    for user, secret, when in hours:
        whole.setdefault((user, secret), Hours()).take(when)
    counts = Counter((user, hour) for (user, _), when in whole.items() for hour in when)
    return max(counts.values(), default=0)


def rate_for(most: int) -> Rate:
    """A rate with room for twice the busiest hour."""
    wanted = max(_LEAST, 2 * most)
    return Rate(-(-wanted // _STEP) * _STEP, HOUR)
