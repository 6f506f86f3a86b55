"""Sliding windows over event time, the primitive of every rule that counts.

A window of threshold N needs no more than its N latest entries: if those lie within the span, the threshold is
reached, whatever came before. So its memory is N entries a key, and 3 N at most where clocks disagree, however many
events an attacker makes.
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
        entries, new = self.state.get(key) or [], Entry(item, citation)
        now = citation.event_time
        if entries and entries[-1].citation.event_time > now:
            return self._add_behind(key, entries, new)
        since = now - self._span
        kept = [e for e in entries if e.citation.event_time > since and e.item != item]
        kept.append(new)
        del kept[: -self._threshold]
        self.state.put(key, kept)
        return tuple(e.citation for e in kept) if len(kept) == self._threshold else ()

    def _add_behind(self, key: str, entries: list[Entry], new: Entry) -> tuple[Citation, ...]:
        """Count an item behind the latest one.

        A little behind is late. Far behind means that some host's clock is ahead: the requests around the new one
        and the latest of the others are kept side by side, so that a wrong clock does not blind the count.
        """
        same = next((e for e in entries if e.item == new.item), None)
        if same is not None and self._near(same, new) and _place(same) > _place(new):
            return ()
        kept = [e for e in entries if e is not same]
        insort(kept, new, key=_place)
        near = [e for e in kept if self._near(e, new)]
        reached = self._reached(near, new)
        others = [e for e in kept if not self._near(e, new)]
        both = near[-2 * self._threshold :] + others[-self._threshold :]
        self.state.put(key, sorted(both, key=_place))
        return reached

    def _near(self, entry: Entry, new: Entry) -> bool:
        return abs(entry.citation.event_time - new.citation.event_time) < self._span

    def _reached(self, near: list[Entry], new: Entry) -> tuple[Citation, ...]:
        """The latest entries of the first window that holds the new one and enough others."""
        for last in (e for e in near if _place(e) >= _place(new)):
            until = last.citation.event_time
            held = [
                e.citation for e in near if until - self._span < e.citation.event_time and _place(e) <= _place(last)
            ]
            if len(held) >= self._threshold:
                return tuple(held[-self._threshold :])
        return ()

    def forget(self, now: Micros) -> None:
        """Let go of keys whose latest entry is out of the span."""
        since = now - self._span
        self.state.forget_while(lambda entries: entries[-1].citation.event_time <= since)


def _place(entry: Entry) -> tuple[Micros, str]:
    return entry.citation.event_time, entry.citation.event_id
