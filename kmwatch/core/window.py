"""Sliding windows over event time, the primitive of every rule that counts.

A window of threshold N needs no more than its N latest entries: if those lie within the span, the threshold is
reached, whatever came before. So its memory is N entries a key, however many events an attacker makes.
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Citation, Micros


class Entry(Struct, frozen=True, gc=False):
    """One thing counted, and the request that brought it."""

    item: str
    citation: Citation


class Sliding:
    """Counts distinct items by key within a span; of an item that comes again the latest request stays.

    To count requests instead of distinct things, let each request's own id be the item.
    """

    def __init__(self, name: str, threshold: int, span: Micros, limit: int) -> None:
        """Reach `threshold` (>= 1) distinct items within `span` microseconds, for at most `limit` keys."""
        self.state: Keyed[list[Entry]] = Keyed(name, list[Entry], limit)
        self._threshold = threshold
        self._span = span

    def add(self, key: str, item: str, citation: Citation) -> tuple[Citation, ...]:
        """Count one item.

        Returns:
            The requests within the span if the threshold is reached, oldest first; else nothing.
        """
        since = citation.event_time - self._span
        entries = self.state.get(key) or []
        kept = [e for e in entries if e.citation.event_time > since and e.item != item]
        kept.append(Entry(item, citation))
        if len(kept) > self._threshold:
            del kept[: len(kept) - self._threshold]
        self.state.put(key, kept)
        if len(kept) < self._threshold:
            return ()
        return tuple(sorted((e.citation for e in kept), key=lambda c: (c.event_time, c.event_id)))

    def forget(self, now: Micros) -> None:
        """Let go of keys whose latest entry is out of the span."""
        since = now - self._span
        self.state.forget_while(lambda entries: entries[-1].citation.event_time <= since)
