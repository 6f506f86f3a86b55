"""Event time: how far the streams have got, and so what can no longer be overtaken.

Every stream (a Kafka partition, a file) moves by the times its own records show. The watermark is the least of
the streams that still have something to say, minus the allowed lateness; a stream that has been read to its end
does not hold the others up. When all are at their end, event time goes on at the pace of the clock that the shell
reports, counted from the last record: a skewed clock of ours, or of theirs, makes no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from kmwatch.core.model import Micros


class Watermark:
    """The progress of every stream. `seen` is what must outlive the process."""

    def __init__(self, lateness: Micros) -> None:
        """Allow records to come this much later than the latest of their stream."""
        self.lateness = lateness
        self.seen: dict[str, Micros | None] = {}
        self.value: Micros | None = None

    def expect(self, streams: Iterable[str]) -> None:
        """Wait for these streams and no others: until one shows a record or its end, nothing is over.

        One that is gone (a file, a topic no longer read) would otherwise hold up all that remain, for good.
        """
        self.seen = {stream: self.seen.get(stream) for stream in streams}

    def observe(self, stream: str, at: Micros) -> bool:
        """Note a record; returns whether it came as late as its own stream allows, or later.

        What lies at the watermark itself may be over, so it counts as late; else the cut of batches would decide.
        """
        seen = self.seen.get(stream)
        if seen is None or at > seen:
            self.seen[stream] = at
            return False
        return at <= seen - self.lateness

    def advance(self, at_end: Collection[str] = (), elapsed: Micros = 0) -> Micros | None:
        """Move the watermark; it never goes back.

        Args:
            at_end: streams with nothing more to read for now.
            elapsed: clock time since the last record of any stream, if all are at their end.

        Returns:
            The watermark, or None while some stream has not shown where it stands.
        """
        active = [seen for stream, seen in self.seen.items() if stream not in at_end]
        if active:
            if None in active:
                return self.value
            reached = min(seen for seen in active if seen is not None)
        else:
            known = [seen for seen in self.seen.values() if seen is not None]
            if not known:
                return self.value
            reached = max(known) + elapsed
        reached -= self.lateness
        if self.value is None or reached > self.value:
            self.value = reached
        return self.value
