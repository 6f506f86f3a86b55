"""KMW-024: a request came from outside the management networks, past the proxy, or over plain HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from kmwatch.core.constraint import Range, inside, parse_address
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, AddressSource, AuditEvent, Failure, Kind, Micros, Mode, Outcome, Severity, Witness
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person
from kmwatch.core.rules.counting import MOST_CITED, Recent, Sparing

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
_UNSEEN = "unseen_by_proxy"
_LACKS = "proxy_log_missing"
_TOLD = {
    "past_proxy": "came past the proxy",
    "network": "came from outside the management networks",
    "plain_http": "came over plain HTTP",
}


class UnexpectedNetwork:
    """Any request of the API counts, granted or not: who can ask at all has a way in that nobody declared.

    One finding an address and anomaly; a caller, where the address is only what the audit event shows.

    A client that connects to the web server directly can write into its log, or have its line blanked, and so be seen
    there as the proxy itself. The proxy's log does not show the request all the same: where that log has gone on since,
    the request came past it, or its line was lost.
    """

    meta = META

    def __init__(self, limit: int, network: Network) -> None:
        """Take the declared networks; be sparing with at most `limit` addresses."""
        self._network = network
        if not network.management:
            self.flags = frozenset({"past_proxy", "plain_http", _LACKS})
        self._told = Sparing("KMW-024/told", MOST_CITED, limit)
        self._unseen = Recent("KMW-024/unseen", MOST_CITED, HOUR, limit)
        self._heard: Keyed[Micros] = Keyed("KMW-024/heard", int, 1)  # when the proxy's log was heard first

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """All but questions for the version."""
        network = self._network
        return kind is not Kind.VERSION and bool(network.management or network.plain_http or network.past_proxy)

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when the way that the request took is not the declared one."""
        event = case.event
        self._note_unseen(case)
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

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Tell of requests that the proxy's log passed over."""
        heard = pulse.last_seen.get(Witness.PROXY_LOG)
        if heard is None:
            return
        if not len(self._heard):
            self._heard.put(Witness.PROXY_LOG.value, heard)
        yield from self._passed_over(heard, pulse.now)

    def rest(self) -> Iterable[Hit]:
        """The input has ended: the proxy's log, if there is one, says no more."""
        if len(self._heard):
            latest = max((seen[-1].at for _, seen in self._unseen.state.items() if seen), default=0)
            yield from self._passed_over(latest, latest)

    def _passed_over(self, heard: Micros, now: Micros) -> Iterable[Hit]:
        for caller in [key for key, seen in self._unseen.state.items() if seen and seen[-1].at <= heard]:
            cited = self._unseen.within(caller, now)
            self._unseen.state.pop(caller)
            if not cited:
                continue
            who = cited[-1].user_name or cited[-1].user_id or "somebody"
            message = (
                f"{len(cited)} requests of {brief(who)} reached the Key Manager, and the proxy's log, which went"
                f" on, does not show them: they came past it, or its lines were lost; the last: {cited[-1].operation}"
            )
            yield Hit(f"{_UNSEEN} {caller}", cited, message, None, _UNSEEN)

    def _note_unseen(self, case: Case) -> None:
        """Remember a request that was answered and that the proxy's log lacks, until that log is heard again."""
        event, before = case.event, case.before
        if before is not None and _LACKS in before.flags:
            self._unseen.drop(case.caller, event.event_id)
        if not self._network.past_proxy or event.status is None or event.path in _HEALTH:
            return
        if _LACKS in event.flags and event.initiator.address_source is AddressSource.AUDIT:
            self._unseen.add(case.caller, event.observed_time, case.citation)

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
        """How often each address was told of, and what the proxy's log lacks."""
        return (self._told.state, self._unseen.state, self._heard)

    def forget(self, now: Micros) -> None:
        """Let go of quiet addresses and callers."""
        self._told.forget(now)
        self._unseen.forget(now)
