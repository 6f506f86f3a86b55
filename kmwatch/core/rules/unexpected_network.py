"""KMW-024: a request came from outside the management networks, past the proxy, or over plain HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from kmwatch.core.constraint import Range, inside, parse_address
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, AddressSource, AuditEvent, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person
from kmwatch.core.rules.counting import MOST_CITED, Sparing

META = Meta(
    "KMW-024",
    1,
    "unexpected-network",
    ("T1090.003",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    early=False,
)
_HEALTH = frozenset({"/", "/healthcheck"})  # what load balancers and monitors ask, from wherever they stand


class Network(Struct, frozen=True):
    """From where, and how, requests are to come."""

    management: tuple[Range, ...] = ()  # none: from anywhere
    plain_http: bool = False  # whether a request over plain HTTP is an anomaly
    past_proxy: bool = True  # whether one that came past the proxy is
    zones: tuple[tuple[str, tuple[Range, ...]], ...] = ()  # where one caller should not be in two of at a time


ANYWHERE = Network()
_TOLD = {
    "past_proxy": "came past the proxy",
    "network": "came from outside the management networks",
    "plain_http": "came over plain HTTP",
}


class UnexpectedNetwork:
    """Any request of the API counts, granted or not: who can ask at all has a way in that nobody declared.

    One finding an address and anomaly; a caller, where the address is only what the audit event shows.
    """

    meta = META

    def __init__(self, limit: int, network: Network) -> None:
        """Take the declared networks; be sparing with at most `limit` addresses."""
        self._network = network
        if not network.management:
            self.flags = frozenset({"past_proxy", "plain_http"})
        self._told = Sparing("KMW-024/told", MOST_CITED, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """All but questions for the version."""
        network = self._network
        return kind is not Kind.VERSION and bool(network.management or network.plain_http or network.past_proxy)

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when the way that the request took is not the declared one."""
        event = case.event
        reasons = self._reasons(event)
        if not reasons or event.path in _HEALTH:
            return ()
        who = event.initiator
        address = brief(who.address or "unknown")
        unproven = who.address_source is AddressSource.AUDIT  # a client may write another into each request
        key = f"{'+'.join(reasons)} {case.caller if unproven else address}"
        if not self._told.allows(key, event.observed_time):
            return ()
        how = " and ".join(_TOLD[reason] for reason in reasons)
        believed = " (as the service was told, unproven)" if unproven else ""
        message = f"a request of {person(event)} from {address}{believed} {how}: {case.citation.operation}"
        return (Hit(key, (case.citation,), message, case.match, reasons[0]),)

    def _reasons(self, event: AuditEvent) -> list[str]:
        network, address = self._network, event.initiator.address
        out = []
        if network.past_proxy and "past_proxy" in event.flags:
            out.append("past_proxy")
        if network.management and address is not None and not inside(parse_address(address), network.management):
            out.append("network")
        if network.plain_http and "plain_http" in event.flags:
            out.append("plain_http")
        return out

    def states(self) -> Iterable[Keyed[Any]]:
        """How often each address was told of."""
        return (self._told.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet addresses."""
        self._told.forget(now)
