"""The learning period: baselines are trained from the first event on, and speak only when it is over.

It begins once for a store, in event time. So a cold start, a restart and a replay of old records never flood: what
happened before the period was over trains, whenever it arrives.
"""

from __future__ import annotations

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, AuditEvent, Micros

LEARNING: Micros = 14 * DAY
_KEY = "began"


class Learning:
    """Shared by all rules with a baseline."""

    def __init__(self, period: Micros = LEARNING) -> None:
        """Learn for so long."""
        self.state: Keyed[Micros] = Keyed("learning", int, 1)
        self._period = period

    def is_over(self, event: AuditEvent) -> bool:
        """Whether a baseline may speak of this event: it happened after the period."""
        began = self.state.get(_KEY)
        if began is None:
            began = event.observed_time
            self.state.put(_KEY, began)
        return event.event_time - began >= self._period

    def watched(self, now: Micros) -> Micros:
        """For how long events have been seen; 0 before the first."""
        began = self.state.get(_KEY)
        return 0 if began is None else now - began
