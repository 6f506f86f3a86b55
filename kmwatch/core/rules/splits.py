"""By what the memory of each detection splits, for the day one process is not enough (docs/adr/0009).

A process that sees every event of its keys, and hears of the time from all others, says what one process would say
of them. Baselines (learning.py) begin when the feed did, which all have to be told. A detection that speaks of two
kinds of keys is shown an event for each of them, and speaks only of those that are its own. Every detection of the
catalogue has its line here; tests/property/test_split_laws.py holds it to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from kmwatch.core.model import AddressSource, AuditEvent, Failure, Kind
from kmwatch.core.rules.base import Case, brief

Routes = frozenset[str]
EVERYWHERE: Final[Routes] = frozenset({"*"})  # shown to every process, to be known and not to be spoken of
OWN_KEYS_ONLY: Final = frozenset({"KMW-015"})  # shown events for two keys: a hit is its process's whose key it bears
_FEED: Final[Routes] = frozenset({"feed"})


def by_caller(event: AuditEvent) -> Routes:
    """By the user, or the address where no user is known: `Case.caller`, and rates of declarations."""
    who = event.initiator
    return frozenset({who.user_id or f"address:{brief(who.address or '')}"})


def by_address(event: AuditEvent) -> Routes:
    """By the address alone."""
    return frozenset({f"address:{brief(event.initiator.address or 'unknown')}"})


def by_way(event: AuditEvent) -> Routes:
    """By the address, or by the caller where the client may have chosen the address."""
    return by_caller(event) if event.initiator.address_source is AddressSource.AUDIT else by_address(event)


def by_caller_and_address(event: AuditEvent) -> Routes:
    """Windows of callers and of addresses; what was deleted everybody has to know."""
    return by_caller(event) | by_address(event) if event.failure is Failure.NOT_FOUND else EVERYWHERE


def by_caller_knowing_grants(event: AuditEvent) -> Routes:
    """By the caller; changes of ACLs, which are few, everybody has to know."""
    return EVERYWHERE if event.kind is Kind.ACL_CHANGE else by_caller(event)


def by_hit(event: AuditEvent) -> Routes:  # noqa: ARG001
    """In two stages: the rule's memory by STAGES, and the findings by the key of each hit."""
    return EVERYWHERE


def _secret(case: Case) -> str:
    return brief(case.event.target.id or "")


def _declaration(case: Case) -> str:
    return "" if case.match is None else case.match.declaration or ""


STAGES: Final[dict[str, Callable[[Case], str]]] = {
    "KMW-008": _secret,
    "KMW-010": _secret,
    "KMW-020": _secret,
    "KMW-028": _declaration,
}


def by_feed(event: AuditEvent) -> Routes:  # noqa: ARG001
    """Not at all: shares of all traffic, silence, the inventory, one account. docs/adr/0009 says which, and why."""
    return _FEED


SPLITS: Final[dict[str, Callable[[AuditEvent], Routes]]] = {
    "KMW-001": by_caller,
    "KMW-002": by_caller,
    "KMW-003": by_caller,
    "KMW-004": by_caller,
    "KMW-005": by_caller,
    "KMW-006": by_caller,
    "KMW-007": by_caller,
    "KMW-008": by_hit,
    "KMW-009": by_caller,
    "KMW-010": by_hit,
    "KMW-011": by_caller_knowing_grants,
    "KMW-012": by_caller,
    "KMW-013": by_caller,
    "KMW-014": by_caller_knowing_grants,
    "KMW-015": by_caller_and_address,
    "KMW-016": by_caller,
    "KMW-017": by_address,
    "KMW-018": by_caller,
    "KMW-019": by_caller,
    "KMW-020": by_hit,
    "KMW-022": by_caller,
    "KMW-023": by_caller,
    "KMW-024": by_way,
    "KMW-025": by_feed,
    "KMW-026": by_feed,
    "KMW-027": by_caller,
    "KMW-028": by_hit,
    "KMW-029": by_feed,
    "KMW-030": by_feed,
    "KMW-031": by_feed,
    "KMW-032": by_feed,
    "KMW-033": by_feed,
    "KMW-034": by_caller,
    "KMW-035": by_feed,
    "KMW-036": by_feed,
    "KMW-037": by_feed,
    "KMW-038": by_feed,
    "KMW-039": by_feed,
    "KMW-040": by_feed,
    "KMW-041": by_feed,
    "KMW-042": by_feed,
    "KMW-043": by_feed,
    "KMW-044": by_feed,
    "KMW-045": by_feed,
    "KMW-046": by_feed,
    "KMW-047": by_feed,
}
