"""KMW-006: a caller reads far more than it used to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kmwatch.core.keyed import Keyed
from kmwatch.core.learning import Learning
from kmwatch.core.model import DAY, HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person
from kmwatch.core.series import Series

META = Meta(
    "KMW-006",
    1,
    "read-volume-anomaly",
    ("T1119",),
    Settings(3, 14 * DAY, Severity.LOW, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
FLOOR: Final = 5  # reads above the usual hour, at least: small numbers vary
_DAYS: Final = 3  # of history; less is no habit


class ReadVolume:
    """An hour's reads held against the busiest hours of the caller's own earlier days.

    `threshold` is the score: how many deviations above its mean.
    """

    meta = META

    def __init__(self, settings: Settings, limit: int, learning: Learning) -> None:
        """Take the score and the length of the history; remember at most `limit` callers."""
        self._score = settings.threshold
        self._series = Series("KMW-006/hours", settings.window, limit)
        self._learning = learning

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count this read, and hold its hour against the caller's history."""
        if case.before is not None:
            return ()
        event = case.event
        if not self._learning.is_over(event):
            if case.confirmed:
                self._series.count(case.caller, event.event_time)
            return ()
        add = self._series.add if case.confirmed else self._series.judge
        found = add(case.caller, event.event_time)
        if found.days < _DAYS or found.above < self._score or found.count - found.usual < FLOOR:
            return ()
        message = (
            f"{person(event)} made {found.count} reads within an hour; "
            f"its busiest hours of the last {found.days} days had {found.usual:.0f}"
        )
        return (Hit(case.caller, (case.citation,), message, case.match, "volume"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The histories of callers, and since when they are learned."""
        return (self._series.state, self._learning.state)

    def forget(self, now: Micros) -> None:
        """Let go of callers that have been quiet for longer than the history."""
        self._series.forget(now)
