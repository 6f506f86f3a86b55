"""When something was last seen: the primitive of first-seen sets, of last use, and of silence.

A key costs one number, and is written again only when it has moved on by a 256th of the span, so that a caller who
reads all day costs a row every now and then. What it says is exact to that.
"""

from __future__ import annotations

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import SECOND, Micros

_STEPS = 256


class LastSeen:
    """The latest time of each key, forgotten after `span`; for at most `limit` keys, least recent first."""

    def __init__(self, name: str, span: Micros, limit: int) -> None:
        """Remember keys for `span` microseconds after they were last seen."""
        self.state: Keyed[Micros] = Keyed(name, int, limit)
        self._span = span
        self._grain = max(span // _STEPS, SECOND)

    def see(self, key: str, at: Micros) -> Micros | None:
        """Note a key; returns when it was seen before, None if not within the span. Late sights change nothing."""
        before = self.state.get(key)
        if before is None or at - before >= self._grain:
            self.state.put(key, at)
        return before if before is not None and at - before <= self._span else None

    def last(self, key: str, at: Micros) -> Micros | None:
        """When a key was last seen within the span before this time, without noting it."""
        before = self.state.get(key)
        return before if before is not None and at - before <= self._span else None

    def forget(self, now: Micros) -> None:
        """Let go of keys that have not been seen for longer than the span."""
        since = now - self._span
        self.state.forget_while(lambda at: at < since)
