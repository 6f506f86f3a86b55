"""A join on its own, and what its witnesses say of a request."""

from __future__ import annotations

from kmwatch.core.expected import Expected
from kmwatch.core.join import Join, Joined, Ready
from kmwatch.core.model import AuditEvent, Micros
from kmwatch.core.record import Sighting
from tests.support.audit import START


class Joining:
    """A join with the time it is told, as the engine drives it, and all that it tells."""

    def __init__(self, expected: Expected | None = None, limit: int = 1000) -> None:
        """Begin at START."""
        self.join = Join(Expected() if expected is None else expected, limit)
        self.now: Micros = START
        self.told: list[Ready] = []

    def add(self, record: Sighting, stream: str = "a", at: Micros | None = None) -> Joined:
        """Take one record at its own time, or at a later place in time because it came late; time never goes back."""
        place = record.observed_time if at is None else at
        if place > self.now:
            self.due(place)
        return self.join.add(record.key, record, stream, self.now, self.told.append)

    def due(self, now: Micros) -> list[Ready]:
        """Let time pass; returns what that tells."""
        before, self.now = len(self.told), now
        if now >= self.join.next:
            self.join.due(now, self.told.append)
        return self.told[before:]

    def crowd(self) -> list[Ready]:
        """Hold the limits, as at the end of a batch; returns what that tells."""
        before = len(self.told)
        self.join.crowd(self.now, self.told.append)
        return self.told[before:]

    def flush(self) -> list[Ready]:
        """The input has ended; returns what that tells."""
        before = len(self.told)
        self.join.flush(self.now, self.told.append)
        return self.told[before:]

    @property
    def last(self) -> AuditEvent:
        """The event told last."""
        return self.told[-1].event

    @property
    def events(self) -> list[AuditEvent]:
        """The last word on each request, in the order in which they were told first."""
        return list({told.event.event_id: told.event for told in self.told if not told.early}.values())
