"""KMW-026: the audit trail shows changes and no reads any more: somebody has blinded it to what matters.

keystonemiddleware can be told to leave methods out (`ignore_req_list = GET`), and a filter on the way to Kafka can
drop them. Changes still arrive, so nothing looks broken.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity, Witness
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings
from kmwatch.core.rules.counting import Recent
from kmwatch.core.traffic import EventClass, Traffic

META = Meta(
    "KMW-026",
    1,
    "read-audit-blinded",
    ("T1685.002", "T1562.008"),
    Settings(10, 15 * MINUTE, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
READS = frozenset({Kind.RETRIEVAL, Kind.METADATA_READ, Kind.LIST, Kind.ACL_READ, Kind.CONTAINER_READ, Kind.ORDER_READ})
CHANGES = frozenset(
    {
        Kind.CREATE,
        Kind.PAYLOAD_WRITE,
        Kind.UPDATE,
        Kind.DELETE,
        Kind.ACL_CHANGE,
        Kind.CONSUMER_CHANGE,
        Kind.CONTAINER_CREATE,
        Kind.CONTAINER_DELETE,
        Kind.ORDER_CREATE,
        Kind.ORDER_DELETE,
        Kind.ADMINISTRATION,
    }
)
_KEY = "reads"
_CITED = 8
_CADF = Witness.CADF  # looking a member up in its enum costs more than using it


def _changes(of: EventClass) -> bool:
    return of.kind in CHANGES and _CADF in of.seen_in


def _confirmed(of: EventClass) -> bool:
    return _changes(of) and len(of.seen_in) > 1


def _reads(of: EventClass) -> bool:
    return of.kind in READS and _CADF in of.seen_in


def _lacking(of: EventClass) -> bool:
    return of.kind in READS and "audit_missing" in of.flags


class ReadsBlinded:
    """Held at each whole minute, and never before a whole window has been watched.

    Where other witnesses tell of the same changes and of no reads, there were none: silent. Where they tell of reads
    that the trail lacks, it is certain. Where nobody else tells of the changes, the trail's own word is all there is.
    """

    meta = META
    flags = frozenset({"audit_missing"})

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold (changes) and window."""
        self._threshold, self._window = settings.threshold, settings.window
        self._traffic = Traffic()
        self._lacking = Recent("KMW-026/lacking", _CITED, settings.window, limit)
        self._since: Keyed[Micros] = Keyed("KMW-026/since", int, limit)

    def shares(self, traffic: Traffic) -> None:
        """Ask for reads and changes."""
        self._traffic = traffic
        traffic.keep(self._window)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Reads, granted or not."""
        return kind in READS

    def observe(self, case: Case) -> Iterable[Hit]:
        """Remember a read that the audit trail should have shown."""
        event, before = case.event, case.before
        if before is None:
            self._lacking.add(_KEY, event.observed_time, case.citation)
        elif _CADF in event.seen_in:
            self._lacking.drop(_KEY, event.event_id)
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Hit when there are changes enough and no reads at all."""
        since = self._since.get(_KEY)
        if since is None:
            self._since.put(_KEY, since := pulse.now)
        if pulse.now - since < self._window:
            return ()
        tests = (_changes, _confirmed, _reads, _lacking)
        changes, confirmed, reads, lacking = self._traffic.within(self._window, pulse.now, tests)
        if changes < self._threshold or reads:
            return ()
        if not lacking and confirmed * 2 > changes:
            return ()
        shown = f"the audit trail shows {changes} changes and no read within {self._window / MINUTE:g} min"
        why = (
            f"others show {lacking} reads that it lacks" if lacking else "no other witness tells whether there were any"
        )
        reason = "reads_missing" if lacking else "no_reads"
        cited = self._lacking.within(_KEY, pulse.now)
        return (Hit(_KEY, cited, f"{shown}; {why}", None, reason, None, pulse.now, Witness.CADF.value),)

    def states(self) -> Iterable[Keyed[Any]]:
        """The reads to cite, and since when all is watched."""
        return (self._lacking.state, self._since)

    def forget(self, now: Micros) -> None:
        """Let go of what is out of the window."""
        self._lacking.forget(now)
