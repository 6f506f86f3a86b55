"""KMW-032: a report for the quarterly review of secrets.

It tells of those that never expire, that nobody has read for long, and that are read though their successor exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Failure, Kind, Micros, Mode, Outcome, Secret, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings
from kmwatch.core.rules.history import Reads
from kmwatch.core.succession import GRACE, successors

META = Meta(
    "KMW-032",
    2,
    "orphaned-secret",
    (),
    Settings(1, 90 * DAY, Severity.INFORMATIONAL, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
_LISTED = 200  # secrets of a report
_SINCE = "since"


class OrphanedSecret:
    """One report for each window of event time, the first when a whole window was watched: before, nobody knows."""

    meta = META

    def __init__(self, settings: Settings, declarations: Declarations, reads: Reads) -> None:
        """Take threshold (secrets worth a report) and window (how long unread is long)."""
        self.shared = (reads,)
        self._threshold, self._window = settings.threshold, settings.window
        self._declarations, self._reads = declarations, reads
        self._last: Keyed[Micros] = Keyed("KMW-032/last", int, 1)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """None: reads are remembered for several rules."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing to look at."""
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Report, once a window."""
        since = self._last.get(_SINCE)
        if since is not None and pulse.now - since < self._window:
            return ()
        self._last.put(_SINCE, pulse.now)
        return () if since is None else self._report(pulse.now)

    def _report(self, now: Micros) -> Iterable[Hit]:
        live = [s for s in self._declarations.secrets() if not s.deleted]
        endless = [s for s in live if s.expires is None]
        unread = [s for s in live if not self._is_read(s, now)]
        superseded = sorted(self._superseded(live, now))
        orphans = sorted({s.id for s in unread}.union(s.id for s in endless))
        if len(set(orphans).union(superseded)) < self._threshold:
            return
        days = self._window // DAY
        message = f"of {len(live)} secrets {len(endless)} never expire and {len(unread)} were not read for {days} days"
        if superseded:
            message += f"; {len(superseded)} are still read though their successor exists"
        listed = [*superseded, *sorted({s.id for s in unread}.difference(superseded))] or orphans
        yield Hit(
            "inventory", (), message, None, "review", None, now, "inventory",
            secrets=tuple(listed[:_LISTED]),
        )  # fmt: skip

    def _superseded(self, live: list[Secret], now: Micros) -> Iterable[str]:
        """Secrets that were read in this window, and long enough after their successor was made."""
        for old, newer in successors(live).items():
            read = self._reads.last(old)
            if read is not None and now - read.at <= self._window and read.at > (newer.created or 0) + GRACE:
                yield old

    def _is_read(self, secret: Secret, now: Micros) -> bool:
        read = self._reads.last(secret.id)
        young = secret.created is not None and now - secret.created < self._window
        return young or (read is not None and now - read.at <= self._window)

    def states(self) -> Iterable[Keyed[Any]]:
        """Reads by secret, and when the last report was."""
        return (self._reads.state, self._last)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._reads.forget(now)
