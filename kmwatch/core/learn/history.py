"""What was seen of each caller, secret by secret, and what speaks against learning from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct, field

from kmwatch.core.declaration import Declarations
from kmwatch.core.learn.pace import Hours
from kmwatch.core.model import AuditEvent, Finding, Flag, Kind, Match, Micros, Outcome, Secret

_LEARNED = frozenset({Kind.RETRIEVAL, Kind.ACL_CHANGE, Kind.DELETE})
_FEW_AGENTS = 8
_DOUBTFUL = frozenset({
    Flag.ADDRESS_FORGED, Flag.CONFLICTING_DUPLICATE, Flag.IDENTITY_DISAGREES, Flag.PATH_DISAGREES, Flag.PHASES_DISAGREE,
    Flag.STATUS_DISAGREES, Flag.UNROUTED_SUCCESS,
})  # fmt: skip
# What rests on the declared map, or counts what is new, says nothing of a caller whom no map knows yet.
BURSTS = frozenset({"KMW-005", "KMW-006", "KMW-019"})  # many at once, which a service that restarts is too
_SIGNS = BURSTS | {"KMW-011", "KMW-013", "KMW-014", "KMW-015", "KMW-022", "KMW-024", "KMW-027"}
# Findings that make all that the same user did from the same address suspect, whatever requests they cite.
_OF_THE_CALLER = frozenset({"KMW-013", "KMW-015", "KMW-022", "KMW-024", "KMW-027"})
ODD_PATH = "odd spelling of the path"


class Who(NamedTuple):
    """A caller as the logs name it."""

    user_id: str | None
    user_name: str | None
    project_id: str | None
    project_name: str | None


class Act(NamedTuple):
    """The same caller doing the same thing to the same secret from the same address."""

    who: Who
    kind: Kind
    address: str | None
    secret_id: str


class Times(Struct):
    """How often, and when."""

    count: int
    first: Micros
    last: Micros
    undeclared: int = 0  # how many of them no declaration explains
    agents: set[str] = field(default_factory=set)
    doubts: set[str] = field(default_factory=set)  # what speaks against them: rule ids and flags of events
    bursts: set[str] = field(default_factory=set)  # rules that only said: many at once
    hours: Hours = field(default_factory=Hours)

    def take(self, other: Times) -> None:
        """Add what another has seen."""
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.undeclared += other.undeclared
        self.agents |= other.agents
        self.doubts |= other.doubts
        self.bursts |= other.bursts
        self.hours.take(other.hours)


class History:
    """Successful reads, grants and deletions, and the addresses that any request came from.

    Bounded by `limit` different acts and addresses; what was left out beyond it is counted.
    """

    def __init__(self, declarations: Declarations, limit: int = 2_000_000) -> None:
        """Look secrets up in these declarations."""
        self.declarations = declarations
        self.acts: dict[Act, Times] = {}
        self.addresses: set[str] = set()
        self.left_out = 0
        self.requests = 0
        self.first: Micros | None = None
        self.last: Micros = 0
        self._limit = limit
        self._of_event: dict[str, Act] = {}
        self._suspects: dict[tuple[str, str | None], set[str]] = {}

    @property
    def span(self) -> Micros:
        """From the first request to the last."""
        return self.last - (self.last if self.first is None else self.first)

    def secret(self, secret_id: str) -> Secret | None:
        """The secret as the inventory knows it."""
        return self.declarations.secret(secret_id)

    def observe(self, event: AuditEvent, match: Match | None) -> None:
        """Take a request in, with its match where it was held against the declared map."""
        self.requests += 1
        self.first = event.event_time if self.first is None else min(self.first, event.event_time)
        self.last = max(self.last, event.event_time)
        who = event.initiator
        if who.address is not None and len(self.addresses) < self._limit:
            self.addresses.add(who.address)
        target = event.target
        if event.kind not in _LEARNED or event.outcome is not Outcome.SUCCESS or target.type != "secret":
            return
        if target.id is None:
            return
        caller = Who(who.user_id or None, who.user_name or None, who.project_id or None, who.project_name or None)
        key = Act(caller, event.kind, who.address, target.id)
        explained = match is not None and match.explained is True
        seen = Times(1, event.event_time, event.event_time, int(not explained))
        seen.hours.add(event.event_time)
        if who.agent:
            seen.agents.add(who.agent[:200])
        seen.doubts.update(_DOUBTFUL.intersection(event.flags))
        if event.path_raw.partition("?")[0] != event.path:
            seen.doubts.add(ODD_PATH)
        known = self.acts.get(key)
        if known is not None:
            seen.agents = seen.agents if len(known.agents) < _FEW_AGENTS else set()
            known.take(seen)
        elif len(self.acts) < self._limit:
            self.acts[key] = seen
        else:
            self.left_out += 1
            return
        self._of_event[event.event_id] = key

    def blame(self, findings: Iterable[Finding]) -> None:
        """Note what a detection said of requests that were taken in."""
        for finding in findings:
            if finding.rule not in _SIGNS:
                continue
            for citation in finding.citations:
                key = self._of_event.get(citation.event_id)
                if key is not None:
                    self.acts[key].doubts.add(finding.rule)
                if finding.rule in _OF_THE_CALLER and citation.user_id is not None:
                    self._suspects.setdefault((citation.user_id, citation.address), set()).add(finding.rule)

    def settle(self) -> None:
        """History is complete: what a caller did suspect is suspect wherever it stood in time."""
        for act, times in self.acts.items():
            times.doubts |= self._suspects.get((act.who.user_id or "", act.address), set())
