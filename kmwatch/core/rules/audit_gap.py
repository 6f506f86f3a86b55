"""KMW-025: requests that the audit trail lacks, requests that never got their answer, and witnesses that fell silent.

Which requests can have an audit event at all, the join knows (testimony.py): a 401, a health check or what the proxy
answered by itself never gets one of the flags that count here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, AuditEvent, Failure, Kind, Micros, Mode, Outcome, Severity, Witness
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings
from kmwatch.core.rules.counting import MOST_CITED, MOST_TOLD, Buckets, Recent, Sparing
from kmwatch.core.rules.silence import LACKING, Silence
from kmwatch.core.traffic import EventClass, Traffic

META = Meta(
    "KMW-025",
    1,
    "audit-gap",
    ("T1685.002", "T1562.008"),
    Settings(1, 10 * MINUTE, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
TOLERATED: Final = 200  # one request in so many may lack its record: 0.5 %
_FLAGS = ("audit_missing", "response_missing")
_KEY = "trail"
_CADF = Witness.CADF  # looking a member up in its enum costs more than using it


def _audited(of: EventClass) -> bool:
    """Requests that the audit trail shows."""
    return _CADF in of.seen_in


def _lost(of: EventClass) -> bool:
    """Requests that it should show."""
    return "audit_missing" in of.flags


class AuditGap:
    """What comes late and fills a gap takes it back; what was told of it stays told.

    A trail that has never shown anything has not begun: requests from before its first event are no gap. If it
    never begins, it is silent.
    """

    meta = META
    flags = frozenset({*_FLAGS, *LACKING})

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; the window is also how long a witness may be silent."""
        self._threshold, self._window = settings.threshold, settings.window
        self._traffic = Traffic()
        self._lacking = Buckets("KMW-025/lacking-count", 1, settings.window, limit)
        self._gaps = Recent("KMW-025/gaps", MOST_CITED, settings.window, limit)
        self._told = Sparing("KMW-025/told", MOST_TOLD, limit)
        self._silence = Silence(settings.severity, settings.window)

    def shares(self, traffic: Traffic) -> None:
        """Ask for all requests that the trail has or should have."""
        self._traffic = traffic
        traffic.keep(self._window)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Everything."""
        return True

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count a request that the audit trail lacks."""
        event, before = case.event, case.before
        lacks = self._lacks(event)
        if before is not None:
            self._fill(before, lacks)
            return ()
        self._silence.observe(case)
        if lacks is None:
            return ()
        at = event.observed_time
        self._lacking.add(_KEY, at, 0)
        self._gaps.add(_KEY, at, case.citation)
        hits = () if self._told.is_spent(_KEY, at) else self._judge(at)
        return hits if (hits or self._told.is_spent(_KEY, at)) and self._told.allows(_KEY, at) else ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Tell of the gaps that were too many to tell at once, and look for silent witnesses."""
        if self._told.owes(_KEY, pulse.now):
            yield from self._judge(pulse.now)
        yield from self._silence.pulse(pulse)

    def rest(self) -> Iterable[Hit]:
        """Tell of the gaps that were too many to tell at once."""
        return self._judge(self._gaps.latest(_KEY)) if self._told.owes_at_last(_KEY) else ()

    def _lacks(self, event: AuditEvent) -> str | None:
        """What the audit trail lacks of a request."""
        flag = next((flag for flag in _FLAGS if flag in event.flags), None)
        if flag == "audit_missing":
            began = self._traffic.began.get(_CADF)
            return flag if began is not None and event.event_time >= began else None
        return flag

    def _fill(self, before: AuditEvent, lacks: str | None) -> None:
        """Late evidence: a gap that is none any more counts no more."""
        if lacks is None and before.flags and self._lacks(before) is not None:
            self._lacking.add(_KEY, before.observed_time, 0, -1)
            self._gaps.drop(_KEY, before.event_id)

    def _judge(self, at: Micros) -> tuple[Hit, ...]:
        (lacking,) = self._lacking.sums(_KEY, at)
        cited = self._gaps.within(_KEY, at)
        if lacking < self._threshold or not cited:
            return ()
        requests = max(lacking, sum(self._traffic.within(self._window, at, (_audited, _lost))))
        if lacking * TOLERATED <= requests:
            return ()
        reason = next(flag for flag in _FLAGS if flag in cited[-1].flags)
        what = "no audit event" if reason == "audit_missing" else "no answer in the audit trail"
        span = f"within {self._window / MINUTE:g} min"
        message = f"{lacking} of {requests} requests {span} lack audit records; the last has {what}"
        return (Hit(_KEY, cited, message, reason=reason, subject=Witness.CADF.value),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The count, the gaps to cite, and the witnesses."""
        own = (self._lacking.state, self._gaps.state, self._told.state)
        return (*own, *self._silence.states())

    def forget(self, now: Micros) -> None:
        """Let go of what is out of the window."""
        self._lacking.forget(now)
        self._gaps.forget(now)
        self._told.forget(now)
