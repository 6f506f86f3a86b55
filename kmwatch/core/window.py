"""Sliding windows over event time, the primitive of every rule that counts.

A window of threshold N needs no more than its N latest entries: if those lie within the span, the threshold is
reached, whatever came before. So its memory is N entries a key, however many events an attacker makes.
"""

from __future__ import annotations

from bisect import insort

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
        entries = self.state.get(key) or []
        if entries and entries[-1].citation.event_time > citation.event_time:
            return self._add_late(key, entries, Entry(item, citation))
        since = citation.event_time - self._span
        kept = [e for e in entries if e.citation.event_time > since and e.item != item]
        kept.append(Entry(item, citation))
        return self._keep(key, kept)

    def _add_late(self, key: str, entries: list[Entry], late: Entry) -> tuple[Citation, ...]:
        """Count an item behind the latest one. The span still ends at the latest: it may not be stretched."""
        same = next((e for e in entries if e.item == late.item), None)
        if _place(late)[0] <= entries[-1].citation.event_time - self._span or (same and _place(same) > _place(late)):
            return ()
        kept = [e for e in entries if e is not same]
        insort(kept, late, key=_place)
        return self._keep(key, kept)

    def _keep(self, key: str, kept: list[Entry]) -> tuple[Citation, ...]:
        if len(kept) > self._threshold:
            del kept[: len(kept) - self._threshold]
        self.state.put(key, kept)
        return tuple(e.citation for e in kept) if len(kept) == self._threshold else ()

    def forget(self, now: Micros) -> None:
        """Let go of keys whose latest entry is out of the span."""
        since = now - self._span
        self.state.forget_while(lambda entries: entries[-1].citation.event_time <= since)


def _place(entry: Entry) -> tuple[Micros, str]:
    return entry.citation.event_time, entry.citation.event_id
