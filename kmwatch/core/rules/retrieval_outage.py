"""KMW-033: payload reads fail with server errors, whoever asks: the HSM or the store behind the Key Manager is away.

Where the backend's own log is at hand, the message says what that shows of the cause: its errors, a seal, or silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Citation, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.record import Deed, Result
from kmwatch.core.rules.backed import BackendCase, Silent
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief
from kmwatch.core.rules.counting import MOST_CITED, MOST_TOLD, Buckets, Recent, Sparing

META = Meta(
    "KMW-033",
    1,
    "retrieval-outage",
    ("T1499",),
    Settings(10, 5 * MINUTE, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
FAILING: Final = 5  # one read in so many is an outage
_ALL, _FAILED = 0, 1
_KEY = "reads"
_FAILURE = Failure.SERVER_ERROR  # looking a member up in its enum costs more than using it


class Backend(Struct):
    """What the backend's log has shown last."""

    last: Micros
    fault: str | None = None  # its latest failure or seal
    fault_at: Micros = 0


class RetrievalOutage(Silent):
    """Reads that were refused (4xx) say nothing of the backend and do not count: nobody can drown an outage in them."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold (reads) and window."""
        self._threshold, self._minutes = settings.threshold, settings.window / MINUTE
        self._reads = Buckets("KMW-033/reads", 2, settings.window, limit)
        self._failed = Recent("KMW-033/failed", MOST_CITED, settings.window, limit)
        self._told = Sparing("KMW-033/told", MOST_TOLD, limit)
        self._backend: Keyed[Backend] = Keyed("KMW-033/backend", Backend, 1)
        self._window = settings.window

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Payload reads that succeeded, or failed with 5xx."""
        return kind is Kind.RETRIEVAL and (outcome is Outcome.SUCCESS or failure is Failure.SERVER_ERROR)

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count this read, and look at the share of those that fail."""
        event = case.event
        at, failed = event.observed_time, event.failure is _FAILURE
        if case.before is not None:
            return ()
        self._reads.add(_KEY, at, _ALL)
        if failed:
            self._reads.add(_KEY, at, _FAILED)
            self._failed.add(_KEY, at, case.citation)
        elif not self._failed.latest(_KEY) or self._reads.sums(_KEY, at)[_ALL] != self._threshold:
            return ()  # the share of failures falls, unless this read is what makes them enough
        hits = self._judge(at)
        return hits if hits and self._told.allows(_KEY, at) else ()

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Note what the backend's log shows of its health."""
        record, known = case.record, self._backend.get("") or Backend(0)
        known.last = max(known.last, record.observed_time)
        sealed = record.deed is Deed.CHANGE and (record.path or "").startswith("sys/seal")
        if sealed or (record.result is Result.FAILED and (case.ours or case.control)):
            known.fault, known.fault_at = brief(record.detail), record.observed_time
        self._backend.put("", known)
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Tell of the failures that were too many to tell at once."""
        return self._judge(pulse.now) if self._told.owes(_KEY, pulse.now) else ()

    def rest(self) -> Iterable[Hit]:
        """Tell of the failures that were too many to tell at once."""
        return self._judge(self._failed.latest(_KEY)) if self._told.owes_at_last(_KEY) else ()

    def _judge(self, at: Micros) -> tuple[Hit, ...]:
        reads, failing = self._reads.sums(_KEY, at)
        cited = self._failed.within(_KEY, at)
        if reads < self._threshold or failing * FAILING < reads or not cited:
            return ()
        message = f"{failing} of {reads} payload reads failed with a server error within {self._minutes:g} min"
        return (Hit(_KEY, cited, message + self._cause(cited, at), reason=Failure.SERVER_ERROR),)

    def _cause(self, cited: tuple[Citation, ...], at: Micros) -> str:
        """What the backend's log says of it; nothing, where there is none."""
        known = self._backend.get("")
        if known is None:
            return ""
        if known.fault is not None and known.fault_at > at - self._window:
            return f"; the backend's log shows {known.fault!a}"
        if known.last <= max(citation.event_time for citation in cited):
            return "; the backend's log has shown nothing since: it is away, or its log is"
        return "; the backend's log shows no failure"

    def states(self) -> Iterable[Keyed[Any]]:
        """The counts, and the reads to cite."""
        return (self._reads.state, self._failed.state, self._told.state, self._backend)

    def forget(self, now: Micros) -> None:
        """Let go of what is out of the window."""
        self._reads.forget(now)
        self._failed.forget(now)
        self._told.forget(now)
