"""What rules of shares and floods count with: bounded, persisted, in the order in which events are told.

These windows run over `observed_time`, an event's place among all others: it never goes back, and no client can
choose it. Windows of one caller's behaviour run over the time of the requests instead (window.py).
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import MINUTE, SECOND, Citation, Micros

_STEPS = 15  # of a window: what it holds is exact to a fifteenth of its length
MOST_CITED = 16  # requests that one hit names, or that one key is told of in a minute
MOST_TOLD = 4  # hits in one minute of a rule that is about the whole Key Manager; a pulse tells the rest


class Buckets:
    """Several counters by key over one span.

    A count holds what lies within the span for sure, and at most one step of what came just before.
    """

    def __init__(self, name: str, columns: int, span: Micros, limit: int) -> None:
        """Count in `columns` counters over `span` microseconds, for at most `limit` keys."""
        self.state: Keyed[dict[int, list[int]]] = Keyed(name, dict[int, list[int]], limit)
        self._columns = columns
        self._step = max(span // _STEPS, SECOND)
        self._kept = max(span // self._step, 1)

    def add(self, key: str, at: Micros, column: int, more: int = 1) -> None:
        """Add to one counter; `more` may be negative to take back what was counted at that time."""
        step, steps = at // self._step, self.state.get(key)
        counters = None if steps is None else steps.get(step)
        if counters is not None:
            counters[column] += more
            self.state.changed[key] = None
        elif more > 0:
            counters = [0] * self._columns
            counters[column] = more
            kept = {old: counts for old, counts in (steps or {}).items() if old >= step - self._kept}
            self.state.put(key, {**kept, step: counters})

    def sums(self, key: str, at: Micros) -> list[int]:
        """The counters of the span that ends at this time."""
        since = at // self._step - self._kept
        out = [0] * self._columns
        for step, counters in (self.state.get(key) or {}).items():
            if step >= since:
                out = [total + count for total, count in zip(out, counters, strict=True)]
        return out

    def forget(self, now: Micros) -> None:
        """Let go of keys that have been quiet for longer than the span."""
        since = now // self._step - self._kept
        self.state.forget_while(lambda steps: max(steps, default=0) < since)


class Seen(Struct, frozen=True, gc=False):
    """A request worth citing, and its place among events."""

    at: Micros
    citation: Citation


class Recent:
    """The latest requests by key, to cite."""

    def __init__(self, name: str, most: int, span: Micros, limit: int) -> None:
        """Hold the `most` latest within `span`, for at most `limit` keys."""
        self.state: Keyed[list[Seen]] = Keyed(name, list[Seen], limit)
        self._most = most
        self._span = span

    def add(self, key: str, at: Micros, citation: Citation) -> None:
        """Remember a request, once."""
        kept = [s for s in self.state.get(key) or () if s.citation.event_id != citation.event_id]
        self.state.put(key, [*kept, Seen(at, citation)][-self._most :])

    def drop(self, key: str, event_id: str) -> None:
        """Forget a request: it turned out not to be worth citing."""
        seen = self.state.get(key) or []
        if any(s.citation.event_id == event_id for s in seen):
            self.state.put(key, [s for s in seen if s.citation.event_id != event_id])

    def latest(self, key: str) -> Micros:
        """The place of the latest; 0 if there is none."""
        seen = self.state.get(key)
        return seen[-1].at if seen else 0

    def within(self, key: str, at: Micros) -> tuple[Citation, ...]:
        """Those within the span that ends at this time, oldest first."""
        return tuple(s.citation for s in self.state.get(key) or () if s.at > at - self._span)

    def forget(self, now: Micros) -> None:
        """Let go of keys that have been quiet for longer than the span."""
        self.state.forget_while(lambda seen: not seen or seen[-1].at <= now - self._span)


class Sparing:
    """A limit on how often one key is told of in a minute: whoever floods a rule must not flood its readers.

    What was held back can be asked for when the minute is over.
    """

    def __init__(self, name: str, most: int, limit: int) -> None:
        """Allow `most` in each minute, for at most `limit` keys."""
        self.state: Keyed[tuple[int, int, bool]] = Keyed(name, tuple[int, int, bool], limit)
        self._most = most

    def allows(self, key: str, at: Micros) -> bool:
        """Whether one more may be told of now; if so it counts."""
        minute, told = at // MINUTE, self.state.get(key)
        used = told[1] if told is not None and told[0] == minute else 0
        if used >= self._most:
            if told is not None and not told[2]:
                self.state.put(key, (minute, used, True))
            return False
        self.state.put(key, (minute, used + 1, False))
        return True

    def is_spent(self, key: str, at: Micros) -> bool:
        """Whether nothing more may be told of in this minute."""
        told = self.state.get(key)
        return told is not None and told[0] == at // MINUTE and told[1] >= self._most

    def owes(self, key: str, at: Micros) -> bool:
        """Whether something was held back in a minute that is over; asked once."""
        told = self.state.get(key)
        return told is not None and told[0] < at // MINUTE and self.owes_at_last(key)

    def owes_at_last(self, key: str) -> bool:
        """Whether something was held back, the minute be over or not; asked once."""
        told = self.state.get(key)
        if told is None or not told[2]:
            return False
        self.state.pop(key)
        return True

    def forget(self, now: Micros) -> None:
        """Let go of keys of earlier minutes."""
        minute = now // MINUTE
        self.state.forget_while(lambda told: told[0] < minute)
