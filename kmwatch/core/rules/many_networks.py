"""KMW-023: one caller comes from several declared zones within a short time: its credential is in two hands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.constraint import inside, parse_address
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, AddressSource, Citation, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person
from kmwatch.core.rules.unexpected_network import Network

META = Meta(
    "KMW-023",
    1,
    "one-credential-many-networks",
    ("T1550.001",),
    Settings(2, 10 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)


class ManyNetworks:
    """Zones are declared under `network.zones`; what lies in none counts as none.

    An address that only the audit event shows may be forged, which is strange enough: it counts, at most at low.
    """

    meta = META

    def __init__(self, settings: Settings, limit: int, network: Network) -> None:
        """Take threshold (zones) and window; remember at most `limit` callers."""
        self._threshold, self._window, self._zones = settings.threshold, settings.window, network.zones
        self._unproven = min(settings.severity, Severity.LOW)
        self._latest: Keyed[dict[str, Citation]] = Keyed("KMW-023/zones", dict[str, Citation], limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Whatever an identity was shown for, if there are zones."""
        return bool(self._zones) and failure is not Failure.UNAUTHENTICATED

    def observe(self, case: Case) -> Iterable[Hit]:
        """Note the zone of a request, and find the other zones of its caller."""
        event = case.event
        user, zone = event.initiator.user_id, self._zone(event.initiator.address)
        if user is None or zone is None:
            return ()
        at, known = event.event_time, self._latest.get(user) or {}
        last = known.get(zone)
        if len(known) == 1 and last is not None and at - last.event_time < MINUTE:
            return ()  # the common case: nothing new
        kept = {name: c for name, c in known.items() if abs(at - c.event_time) < self._window}
        if last is None or at >= last.event_time:
            kept[zone] = case.citation
        self._latest.put(user, kept)
        if len(kept) < self._threshold:
            return ()
        cited = sorted(kept.values(), key=lambda c: (c.event_time, c.event_id))
        unproven = any(c.address_source is AddressSource.AUDIT for c in cited)
        zones = ", ".join(sorted(kept))
        message = f"{person(event)} came from {len(kept)} zones within {self._window / MINUTE:g} min: {zones}"
        return (Hit(user, tuple(cited), message, None, "zones", self._unproven if unproven else None),)

    def _zone(self, address: str | None) -> str | None:
        parsed = parse_address(address)
        return next((name for name, networks in self._zones if inside(parsed, networks)), None)

    def states(self) -> Iterable[Keyed[Any]]:
        """The latest request from each zone, by caller."""
        return (self._latest,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        since = now - self._window
        self._latest.forget_while(lambda zones: max((c.event_time for c in zones.values()), default=0) < since)
