"""Events in the order of their time, whatever order their records came in.

Rules see events sorted by (observed_time, event_id), up to a frontier that only moves forward. That is what makes
findings independent of partitions, batches and restarts. The observed time of an event whose request was recorded is
its event time. Where only the end was recorded, the request may have begun long before: its place is then where its
record was made, for only that is sure to lie before the frontier, however the records were cut into batches.

An event behind the frontier is late: it is let through at once, flagged, because a late record still counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import count

from msgspec.structs import replace

from kmwatch.core.model import AuditEvent, Micros

# Time, id, a number that settles ties, event: plain tuples, because sorting them costs no call into Python.
Waiting = tuple[Micros, str, int, AuditEvent]


class Order:
    """Events that wait for the frontier. `limit` bounds them: beyond it the oldest go first, counted."""

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` events back."""
        self.waiting: list[Waiting] = []
        self.frontier: Micros = -(2**62)
        self.evicted = 0
        self._limit = limit
        self._numbers = count()
        self._taken = 0  # numbers below this were handed out by `take_fresh`
        self._late: list[AuditEvent] = []

    def put(self, event: AuditEvent) -> None:
        """Take an event; it comes out of a later `release`."""
        if event.observed_time <= self.frontier:
            self._late.append(_flagged_late(event))
        else:
            self.waiting.append((event.observed_time, event.event_id, next(self._numbers), event))

    def release(self, frontier: Micros | None) -> list[AuditEvent]:
        """Move the frontier and let out what it has passed, late events first, the rest in order."""
        out, self._late = sorted(self._late, key=lambda event: (event.observed_time, event.event_id)), []
        waiting = self.waiting
        waiting.sort()
        excess = len(waiting) - self._limit
        if excess > 0:
            self.evicted += excess
            frontier = max(frontier or self.frontier, waiting[excess - 1][0])
        if frontier is not None and frontier > self.frontier:
            self.frontier = frontier
            cut = bisect_right(waiting, frontier, key=lambda item: item[0])
            out.extend(item[3] for item in waiting[:cut])
            del waiting[:cut]
        return out

    def flush(self) -> list[AuditEvent]:
        """Let everything out: the input has ended."""
        return self.release(max((item[0] for item in self.waiting), default=self.frontier))

    def take_fresh(self) -> list[AuditEvent]:
        """The events that wait and did not at the last call, in the order of their arrival."""
        fresh = [item[3] for item in self.waiting if item[2] >= self._taken]
        self._taken = next(self._numbers)
        return fresh

    def restore(self, written: Iterable[AuditEvent], frontier: Micros) -> None:
        """Take back what waited at the last commit.

        Args:
            written: what earlier commits found waiting, in the order of arrival: some of it has gone since.
            frontier: where it stood.
        """
        self.frontier = frontier
        latest = {(e.observed_time, e.event_id): e for e in written if e.observed_time > frontier}
        self.waiting = [(*place, next(self._numbers), event) for place, event in latest.items()]
        self._taken = next(self._numbers)


def _flagged_late(event: AuditEvent) -> AuditEvent:
    return event if "late" in event.flags else replace(event, flags=tuple(sorted((*event.flags, "late"))))
