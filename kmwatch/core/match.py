"""A request held against the caller map: is it explained, by what, and if not, what came closest.

Deny by default. Keys of a selector are ANDed, values of a list ORed, entries ORed; an absent key means any.
An entry with several callers is one clause for each of them. A clause is false if one of its conditions is
false, else unknown if one is unknown, else true.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from kmwatch.core.clause import Clause
from kmwatch.core.constraint import inside, parse_address
from kmwatch.core.declaration import Declarations
from kmwatch.core.model import AddressSource, AuditEvent, Kind, Match, Reason
from kmwatch.core.nearest import describe
from kmwatch.core.selector import Truth, both
from kmwatch.core.subject import Subject

_LONGEST_KEY = 256  # characters of an address or agent worth remembering
_UNPARSED = (0, 0)
_LOOK_AT = 8  # clauses looked at for the nearest declaration of a stranger


@dataclass(slots=True)
class Held:
    """One clause held against one request. `broken` is in the order in which a reason is named."""

    clause: Clause
    identity: Truth
    secret: Truth
    truth: Truth  # of the whole clause
    broken: tuple[Reason, ...]

    def closeness(self) -> tuple[int, int, int]:
        """How near the clause came: the caller counts most, then the secret, then the constraints."""
        return _rank(self.identity), _rank(self.secret), -len(self.broken)


class Request:
    """What the conditions ask for of an event, worked out once."""

    __slots__ = ("_address", "_address_open", "_event", "kind", "subject", "time")

    def __init__(self, event: AuditEvent, kind: Kind, subject: Subject, *, address_expected: bool) -> None:
        """`address_expected`: a proxy log should show the address; a missing one is a gap in the evidence."""
        self._event = event
        self._address: tuple[int, int] | None = _UNPARSED
        self._address_open = address_expected and _unseen(event)
        self.kind = kind
        self.subject = subject
        self.time = event.event_time

    def hold(self, clause: Clause, identity: Truth) -> Held:
        """Hold one clause against the request; `identity` is whether the initiator is its caller."""
        entry, user_id = clause.entry, self._event.initiator.user_id
        secret: Truth = True
        if clause.groups is not None:
            secret = self.subject.within(clause.groups)
        elif entry.created_by_caller:
            secret = self.subject.created_by(user_id)
        address = self._from(clause)
        broken = self._broken(clause, address)
        truth = False if broken else both(both(identity, secret), address)
        return Held(clause, identity, secret, truth, broken)

    def who(self, clause: Clause, identity: Truth) -> Truth:
        """Whether the initiator is the clause's caller, its being the secret's creator included."""
        if not clause.caller.entry.creator:
            return identity
        return both(self.subject.created_by(self._event.initiator.user_id), identity)

    def _from(self, clause: Clause) -> Truth:
        networks = clause.caller.networks
        if networks is None:
            return True
        if self._address is _UNPARSED:
            self._address = parse_address(self._event.initiator.address)
        if inside(self._address, networks):
            return True
        return Reason.EVIDENCE_MISSING if self._address_open else False

    def _broken(self, clause: Clause, address: Truth) -> tuple[Reason, ...]:
        entry, agents, agent = clause.entry, clause.caller.agents, self._event.initiator.agent
        broken = []
        if entry.expires is not None and self.time >= entry.expires:
            broken.append(Reason.EXPIRED)
        if self.kind not in entry.actions:
            broken.append(Reason.ACTION)
        if address is False:
            broken.append(Reason.NETWORK)
        if agents is not None and (agent is None or agents(agent) is None):
            broken.append(Reason.AGENT)
        if clause.shift is not None and not clause.shift.holds(self.time):
            broken.append(Reason.HOURS)
        return tuple(broken)


def match(
    declarations: Declarations,
    event: AuditEvent,
    action: Kind | None = None,
    *,
    address_expected_from_proxy: bool = False,
) -> Match:
    """Hold a request against the caller map.

    Args:
        declarations: the compiled map.
        event: the request.
        action: the action to judge it as, if not the event's own kind (a legacy read is a retrieval).
        address_expected_from_proxy: a proxy log is expected to show the client's address. An event for which
            no witness shows any address then leaves a network condition undecided (evidence_missing);
            otherwise a missing address breaks it. One that the audit event shows is judged, forgeable as it
            is, and text that is no address always breaks the condition: clients choose X-Forwarded-For.

    Returns:
        The verdict. Of the clauses that are true, the first in file order without a rate explains, else the
        first one, whose `rate` the caller of this function must then hold against its window, and those of
        `others`. The result depends on nothing but the arguments.
    """
    target = event.target
    kind = event.kind if action is None else action
    unseen = address_expected_from_proxy and _unseen(event)
    period = declarations.period(event.event_time) if declarations.timed else None
    key = (event.initiator, target.type, target.id, kind, unseen, period)
    found = declarations.matches.get(key)
    if found is not None:
        return found
    subject = declarations.subject(target.type, target.id)
    request = Request(event, kind, subject, address_expected=address_expected_from_proxy)
    result = _decide(declarations, request, event)
    if _memorable(result, event):
        declarations.matches.put(key, result)
    return result


def _decide(declarations: Declarations, request: Request, event: AuditEvent) -> Match:
    held: list[Held] = []
    limited: list[Clause] = []
    for clause, candidate in declarations.candidates(event.initiator):
        identity = request.who(clause, candidate)
        if identity is False:
            continue
        one = request.hold(clause, identity)
        held.append(one)
        if one.truth is True:
            if clause.entry.rate is None:
                return _explained(clause)
            limited.append(clause)
    if limited:
        others = [_explained(clause) for clause in limited[1:] if clause.entry.id != limited[0].entry.id]
        undecided = [one for one in held if one.truth is not False and one.truth is not True]
        if undecided:
            others.append(_undecided(_closest(undecided), event, request))
        return structs.replace(_explained(limited[0]), others=tuple(others)) if others else _explained(limited[0])
    return _unexplained(declarations, request, event, held)


def _unexplained(declarations: Declarations, request: Request, event: AuditEvent, held: list[Held]) -> Match:
    undecided = [one for one in held if one.truth is not False]
    if undecided:
        return _undecided(_closest(undecided), event, request)
    if not held:
        return _stranger(declarations, request, event)
    closest = _closest(held)
    fits = closest.identity is True
    name = closest.clause.caller.entry.name if fits else None
    nearest = describe(closest.clause, closest.identity, closest.secret, closest.broken, event, request.kind)
    if fits and closest.secret is True:
        entry = closest.clause.entry.id
        return Match(explained=False, reason=closest.broken[0], declaration=entry, caller=name, nearest=nearest)
    return Match(explained=False, reason=Reason.NO_DECLARATION, caller=name, nearest=nearest)


def _explained(best: Clause) -> Match:
    name = best.caller.entry.name
    return Match(explained=True, reason=Reason.DECLARED, declaration=best.entry.id, caller=name, rate=best.entry.rate)


def _undecided(best: Held, event: AuditEvent, request: Request) -> Match:
    reason = best.truth if isinstance(best.truth, Reason) else Reason.EVIDENCE_MISSING
    nearest = describe(best.clause, best.identity, best.secret, best.broken, event, request.kind)
    name = best.clause.caller.entry.name if best.identity is True else None
    return Match(explained=None, reason=reason, caller=name, nearest=nearest)


def _stranger(declarations: Declarations, request: Request, event: AuditEvent) -> Match:
    """Nobody the map knows: the nearest declaration is one for the secret, or else for the action."""
    about = _about(declarations, request)
    if not about:
        return Match(explained=False, reason=Reason.NO_DECLARATION)
    best = _closest(about)
    nearest = describe(best.clause, best.identity, best.secret, best.broken, event, request.kind)
    return Match(explained=False, reason=Reason.NO_DECLARATION, nearest=nearest)


def _about(declarations: Declarations, request: Request) -> list[Held]:
    """A bounded number of clauses to compare: the first that select the secret, else the first of all."""
    found: list[Clause] = []
    for group, clauses in declarations.by_group:
        if request.subject.known_in(group):
            found.extend(clauses)
            if len(found) >= _LOOK_AT:
                break
    found.sort(key=lambda clause: clause.order)
    return [request.hold(clause, identity=False) for clause in (found or declarations.clauses)[:_LOOK_AT]]


def _closest(held: list[Held]) -> Held:
    """The nearest; the first in file order of equals."""
    return max(held, key=Held.closeness)


def _rank(truth: Truth) -> int:
    return 2 if truth is True else 0 if truth is False else 1


def _unseen(event: AuditEvent) -> bool:
    return event.initiator.address is None and event.initiator.address_source is AddressSource.NONE


def _memorable(result: Match, event: AuditEvent) -> bool:
    """Whether the result holds for every request of its key, and no client fills the memory with it."""
    i = event.initiator
    if len(i.address or "") > _LONGEST_KEY or len(i.agent or "") > _LONGEST_KEY:
        return False
    return all(
        one.nearest is None or one.nearest.failed_field not in {"hours", "expires"} for one in (result, *result.others)
    )
