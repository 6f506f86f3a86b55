"""A series by key, and whether its latest value is far above its own history.

The value of a day is that of its busiest hour: services restart, people work by day. So a key costs one small number
for each day, and a night of few reads does not make a morning look strange.
"""

from __future__ import annotations

from math import sqrt

from msgspec import Struct, field

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Micros


class Days(Struct):
    """`busiest` by day; `count` is that of the latest `hour`, in hours since 1970."""

    hour: int = 0
    count: int = 0
    busiest: dict[int, int] = field(default_factory=dict)


class Score(Struct, frozen=True):
    """The latest hour held against earlier days."""

    count: int
    usual: float  # mean of the busiest hours of earlier days
    above: float  # in deviations from that
    days: int  # with any value


class Series:
    """Counts by key and hour over `span`, for at most `limit` keys."""

    def __init__(self, name: str, span: Micros, limit: int) -> None:
        """Remember the busiest hour of each day of the span."""
        self.state: Keyed[Days] = Keyed(name, Days, limit)
        self._days = max(span // DAY, 1)

    def add(self, key: str, at: Micros) -> Score:
        """Count one, and hold its hour against the days before."""
        return self._score(self.count(key, at), at // DAY)

    def count(self, key: str, at: Micros) -> Days:
        """Count one; late ones count for their day if they can."""
        days, hour, day = self.state.get(key) or Days(), at // HOUR, at // DAY
        if hour > days.hour:
            days.hour, days.count = hour, 0
        if hour == days.hour:
            days.count += 1
            busiest = days.busiest.get(day)
            if busiest is None:
                days.busiest[day] = days.count
                while len(days.busiest) > self._days + 1 or min(days.busiest) < day - self._days:
                    del days.busiest[min(days.busiest)]
            elif days.count > busiest:
                days.busiest[day] = days.count
        self.state.put(key, days)
        return days

    def judge(self, key: str, at: Micros) -> Score:
        """What one more would score, without counting it."""
        days, hour = self.state.get(key) or Days(), at // HOUR
        count = days.count + 1 if hour == days.hour else 1
        return self._score(Days(hour, count, days.busiest), at // DAY)

    def _score(self, days: Days, day: int) -> Score:
        """Deviations are at least those of chance (a count's root), and at least 1."""
        before = [n for then, n in days.busiest.items() if day - self._days <= then < day]
        if not before:
            return Score(days.count, 0.0, 0.0, 0)
        usual = sum(before) / len(before)
        spread = sqrt(sum((n - usual) ** 2 for n in before) / len(before))
        return Score(days.count, usual, (days.count - usual) / max(spread, sqrt(usual), 1.0), len(before))

    def forget(self, now: Micros) -> None:
        """Let go of keys that have been quiet for longer than the span."""
        since = now // DAY - self._days
        self.state.forget_while(lambda days: max(days.busiest, default=0) < since)
