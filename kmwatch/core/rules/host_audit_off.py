"""KMW-043: the host's audit was weakened: a watch removed, auditd stopped, auditing disabled, or records missing.

Events of one host carry consecutive serial numbers. Where they have been consecutive so far, a gap is loss: by a full
backlog, a cut log, or a shipper that was stopped. A feed that is filtered on its way never was consecutive, and then
gaps say nothing. ATT&CK: T1562.012 (Disable or Modify Linux Audit System) and its successor.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, field

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Micros, Mode, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.record import HostRecord
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import HostCase, NoRequests, hit

META = Meta(
    "KMW-043",
    1,
    "host-audit-off",
    ("T1685.004", "T1562.012"),
    Settings(1, 0, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=False,
)
_WEAKENED: Final = ("op=remove_rule", "audit_enabled=0", "audit_pid=0", "DAEMON_END", "DAEMON_ABORT")
_PROVEN: Final = 100  # events without a gap before a gap means something
_MOST_MISSING: Final = 256  # numbers that are awaited; a larger gap is a restart, or certain at once
_PATIENCE: Micros = MINUTE


class Serials(Struct):
    """How far the serial numbers of a host have come."""

    last: int
    run: int = 0  # events without a lasting gap
    missing: dict[int, Micros] = field(default_factory=dict)  # number -> when it was missed
    gone: int = 0  # of a gap too large to be awaited


class HostAuditOff(NoRequests):
    """Missing numbers are awaited for a minute: shippers reorder."""

    meta = META

    def __init__(self, limit: int) -> None:
        """Follow at most `limit` hosts."""
        self._serials: Keyed[Serials] = Keyed("KMW-043/serials", Serials, limit)

    def on_host(self, case: HostCase) -> Iterable[Hit]:
        """Hit on what weakens the audit, and follow the serial numbers."""
        self._follow(case.event)
        for change in case.event.changes:
            if any(word in change for word in _WEAKENED) and "res=0" not in change.split(" "):
                yield hit(case, None, f"weakened the host's audit: {change!a}", "weakened")

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Tell of numbers that never came."""
        for host, serials in list(self._serials.items()):
            lost = [number for number, since in serials.missing.items() if since <= pulse.now - _PATIENCE]
            count, proven = len(lost) + serials.gone, serials.run >= _PROVEN
            if not count:
                continue
            for number in lost:
                del serials.missing[number]
            serials.gone, serials.run = 0, 0
            self._serials.put(host, serials)
            if proven:
                where = f" of {host}" if host else ""
                message = f"{count} events{where} are missing from the audit log, by their serial numbers"
                yield Hit(f"missing {host}", (), message, None, "missing", Severity.HIGH, pulse.now, host or "host")

    def states(self) -> Iterable[Keyed[Any]]:
        """The serial numbers."""
        return (self._serials,)

    def _follow(self, event: HostRecord) -> None:
        host, serial, now = event.node or "", event.serial, event.observed_time
        known = self._serials.get(host)
        if known is None or serial < known.last - _MOST_MISSING:  # the first, or the host has started again
            self._serials.put(host, Serials(serial))
            return
        if serial in known.missing:
            del known.missing[serial]
        elif serial > known.last:
            gap = serial - known.last - 1
            if gap <= _MOST_MISSING - len(known.missing):
                known.missing.update(dict.fromkeys(range(known.last + 1, serial), now))
            else:
                known.gone += gap
            known.last = serial
        known.run += 1
        self._serials.put(host, known)
