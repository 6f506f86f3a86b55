"""Events in the order of their time, whatever order their records came in.

Rules see events sorted by (event_time, event_id), up to a frontier that only moves forward. That is what makes
findings independent of partitions, batches and restarts. An event behind the frontier is late: it is let through
at once, flagged, because a late record still counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from kmwatch.core.model import AuditEvent, Micros


class Waiting(Struct, frozen=True, gc=False, order=True):
    """An event with its place in the order. `event_id` is unique among waiting events of one time."""

    event_time: Micros
    event_id: str
    event: AuditEvent


class Order:
    """Events that wait for the frontier. `limit` bounds them: beyond it the oldest go first, counted."""

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` events back."""
        self.waiting: list[Waiting] = []
        self.frontier: Micros = -(2**62)
        self.evicted = 0
        self._limit = limit
        self._late: list[AuditEvent] = []

    def put(self, event: AuditEvent) -> None:
        """Take an event; it comes out of a later `release`."""
        if event.event_time <= self.frontier:
            self._late.append(_flagged_late(event))
        else:
            self.waiting.append(Waiting(event.event_time, event.event_id, event))

    def replace(self, event: AuditEvent) -> None:
        """Take an event that may amend one that still waits: a response that came after its request was closed."""
        self.waiting = [item for item in self.waiting if item.event_id != event.event_id]
        self.put(event)

    def release(self, frontier: Micros | None) -> list[AuditEvent]:
        """Move the frontier and let out what it has passed, late events first, the rest in order."""
        out, self._late = sorted(self._late, key=lambda event: (event.event_time, event.event_id)), []
        waiting = self.waiting
        waiting.sort(key=_place)
        excess = len(waiting) - self._limit
        if excess > 0:
            self.evicted += excess
            frontier = max(frontier or self.frontier, waiting[excess - 1].event_time)
        if frontier is not None and frontier > self.frontier:
            self.frontier = frontier
            cut = bisect_right(waiting, frontier, key=_time)
            out.extend(item.event for item in waiting[:cut])
            self.waiting = waiting[cut:]
        return out

    def flush(self) -> list[AuditEvent]:
        """Let everything out: the input has ended."""
        return self.release(max((item.event_time for item in self.waiting), default=self.frontier))

    def restore(self, waiting: Iterable[Waiting], frontier: Micros) -> None:
        """Take back what waited when the last commit was written."""
        self.waiting, self.frontier = list(waiting), frontier


def _place(item: Waiting) -> tuple[Micros, str]:
    return item.event_time, item.event_id


def _time(item: Waiting) -> Micros:
    return item.event_time


def _flagged_late(event: AuditEvent) -> AuditEvent:
    return event if "late" in event.flags else replace(event, flags=tuple(sorted((*event.flags, "late"))))
