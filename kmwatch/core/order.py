"""Records in the order of their time, whatever order they came in.

All that follows sees records sorted by time, up to a frontier that only moves forward. Joins, rules and their
deadlines therefore run over one sequence that does not depend on partitions, batches or restarts; that sequence is
what makes a replay the same as the day itself.

The time of a record is its own, except where it comes later than its stream allows: then it is where its stream had
got to, for what lies behind that may be over. A record behind the frontier all the same (its stream lay idle while
others went on) is let through at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

from kmwatch.core.model import Micros
from kmwatch.core.record import AccessRecord, Witnessed
from kmwatch.core.request import own_words

# Its place in time, what settles ties whatever the order of arrival, its stream, a number, the record.
# Plain tuples, because sorting them costs no call into Python.
Waiting = tuple[Micros, str, int, str, int, Witnessed]

_place = itemgetter(0)


class Order:
    """Records that wait for the frontier. `limit` bounds them: beyond it the oldest go first, counted."""

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` records back."""
        self.waiting: list[Waiting] = []
        self.frontier: Micros = -(2**62)
        self.evicted = 0
        self._limit = limit
        self._number = 0
        self._taken = 0  # numbers below this were handed out by `take_fresh`
        self._sorted = True

    def put(self, stream: str, records: Sequence[Witnessed], seen: Micros, lateness: Micros) -> tuple[Micros, int]:
        """Take records of one stream, in their order there; they come out of a later `release`.

        Args:
            stream: where they stood.
            records: what was decoded.
            seen: the latest time the stream has shown so far.
            lateness: by how much its records may be later than that.

        Returns:
            The latest time the stream has shown now, and how many of the records came later than allowed.
        """
        number, late, put = self._number, 0, self.waiting.append
        for record in records:
            at = record.observed_time
            if at > seen:
                seen = at
            elif at <= seen - lateness:
                at = seen - lateness + 1
                late += 1
            number += 1
            put((at, record.key or _tie(record), record.slot, stream, number, record))
        self._number, self._sorted = number, False
        return seen, late

    def release(self, frontier: Micros | None) -> list[Waiting]:
        """Move the frontier and let out what it has passed, in order."""
        waiting = self.waiting
        if not self._sorted:
            waiting.sort()
            self._sorted = True
        if frontier is not None and frontier > self.frontier:
            self.frontier = frontier
        excess = len(waiting) - self._limit
        if excess > 0:
            self.evicted += excess
            self.frontier = max(self.frontier, waiting[excess - 1][0])
        cut = bisect_right(waiting, self.frontier, key=_place)
        out = waiting[:cut]
        del waiting[:cut]
        return out

    def flush(self) -> list[Waiting]:
        """Let everything out: the input has ended."""
        return self.release(max((item[0] for item in self.waiting), default=self.frontier))

    def take_fresh(self) -> list[Waiting]:
        """What waits and did not at the last call."""
        fresh = [item for item in self.waiting if item[4] > self._taken]
        self._taken = self._number
        return fresh

    def restore(self, written: Iterable[Waiting], frontier: Micros) -> None:
        """Take back what waited at the last commit.

        Args:
            written: what earlier commits found waiting: some of it has gone since.
            frontier: where it stood.
        """
        self.frontier = frontier
        self.waiting = sorted(item for item in written if item[0] > frontier)
        self._number = self._taken = max((item[4] for item in self.waiting), default=0)


def _tie(record: Witnessed) -> str:
    """Tells records without a join key apart that stand at the same time."""
    return own_words(record) if isinstance(record, AccessRecord) else repr(record)
