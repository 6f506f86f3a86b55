"""KMW-017: one address asks again and again without valid credentials.

The audit middleware sits behind authentication and never sees a 401, so proxy and access log alone tell of them, and
nobody knows who asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief
from kmwatch.core.rules.counting import Sparing
from kmwatch.core.window import Sliding

META = Meta(
    "KMW-017",
    1,
    "unauthenticated-burst",
    ("T1110",),
    Settings(20, 5 * MINUTE, Severity.LOW, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)


class UnauthenticatedBurst:
    """Counts 401s of any kind of request. A flood is told of once a minute: anybody may make one."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` addresses."""
        self._refusals = Sliding("KMW-017/refusals", settings.threshold, settings.window, limit)
        self._told = Sparing("KMW-017/told", 1, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Whatever was refused with 401."""
        return failure is Failure.UNAUTHENTICATED

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count the refusals of this address."""
        event = case.event
        address = brief(event.initiator.address or "unknown")
        key = f"address:{address}"
        refusals = self._refusals.add(key, event.event_id, case.citation)
        if not refusals or not self._told.allows(key, event.observed_time):
            return ()
        span = (refusals[-1].event_time - refusals[0].event_time) / 1e6
        message = f"{address} was refused at least {len(refusals)} times without valid credentials within {span:.0f} s"
        return (Hit(key, refusals, message, reason=Failure.UNAUTHENTICATED),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The windows of addresses, and when they were told of."""
        return (self._refusals.state, self._told.state)

    def forget(self, now: Micros) -> None:
        """Let go of quiet addresses."""
        self._refusals.forget(now)
        self._told.forget(now)
