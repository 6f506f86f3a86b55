"""Something, and then something else, by the same key within a span: the primitive of every detection of an order.

Nothing is kept of a key before the first part of its sequence, so ordinary requests cost one look-up.
"""

from __future__ import annotations

from msgspec import Struct, field

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Citation, Micros
from kmwatch.core.window import Entry


class Chain(Struct):
    """What was seen of a key: of the openers the first and the latest of the span, of the rest the latest."""

    first: list[Entry] = field(default_factory=list)
    then: list[Entry] = field(default_factory=list)


class Sequence:
    """`first` distinct items of one kind, then `then` distinct items of another, all within `span` (event time)."""

    def __init__(self, name: str, parts: tuple[int, int], span: Micros, limit: int) -> None:
        """Wait for `parts` = (first, then), each >= 1; remember at most `limit` keys."""
        self.state: Keyed[Chain] = Keyed(name, Chain, limit)
        self._first, self._then = parts
        self._span = span

    def open(self, key: str, item: str, citation: Citation) -> None:
        """Note one of the first kind. The earliest stay, so that repeating it does not begin the count anew."""
        chain, at = self.state.get(key) or Chain(), citation.event_time
        if self._is_full(chain, at):
            chain.first[self._first :] = [*chain.first[self._first + 1 :], Entry(item, citation)]
            self.state.put(key, chain)
            return
        kept = [e for e in chain.first if e.item != item and abs(e.citation.event_time - at) < self._span]
        kept = sorted([*kept, Entry(item, citation)], key=_place)
        if len(kept) > 2 * self._first:
            kept = [*kept[: self._first], *kept[-self._first :]]
        then = [e for e in chain.then if abs(e.citation.event_time - at) < self._span]
        self.state.put(key, Chain(kept, then))

    def _is_full(self, chain: Chain, at: Micros) -> bool:
        """Whether the latest alone makes room for the next: what a flood comes to."""
        first = chain.first
        return (
            len(first) == 2 * self._first
            and first[-1].citation.event_time < at
            and at - first[0].citation.event_time < self._span
        )

    def is_open(self, key: str) -> bool:
        """Whether anything of the first kind was noted, so that `follow` may have something to say."""
        return self.state.get(key) is not None

    def follow(self, key: str, item: str, citation: Citation) -> tuple[Citation, ...]:
        """Note one of the second kind.

        Returns:
            All requests of the sequence if it is complete, in order; else nothing.
        """
        chain = self.state.get(key)
        if chain is None:
            return ()
        at = citation.event_time
        openers = [e for e in chain.first if at - self._span < e.citation.event_time <= at][: self._first]
        if len(openers) < self._first:
            return ()
        since = openers[-1].citation.event_time
        kept = [e for e in chain.then if e.item != item and abs(e.citation.event_time - at) < self._span]
        kept = sorted([*kept, Entry(item, citation)], key=_place)[-2 * self._then :]
        self.state.put(key, Chain(chain.first, kept))
        reached = [e for e in kept if e.citation.event_time >= since and e.item not in {o.item for o in openers}]
        if len(reached) < self._then:
            return ()
        return tuple(e.citation for e in (*openers, *reached))

    def drop(self, key: str) -> None:
        """Forget a key: what it has done counts no more."""
        if self.state.get(key) is not None:
            self.state.pop(key)

    def forget(self, now: Micros) -> None:
        """Let go of keys whose latest part is out of the span."""
        since = now - self._span
        self.state.forget_while(
            lambda chain: max((e.citation.event_time for e in (*chain.first, *chain.then)), default=0) <= since
        )


def _place(entry: Entry) -> tuple[Micros, str]:
    return entry.citation.event_time, entry.citation.event_id
