"""How much of a declared map is used: which entry fits what, and which part of it nothing ever needed."""

from __future__ import annotations

from fnmatch import fnmatchcase

from msgspec import Struct, field

from kmwatch.core.clause import Clause
from kmwatch.core.constraint import inside, parse_address, ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.learn.place import networks
from kmwatch.core.match import Request
from kmwatch.core.model import AuditEvent, Kind, Match, Micros, Outcome, Rate

_JUDGED = frozenset({Kind.RETRIEVAL, Kind.ACL_CHANGE, Kind.DELETE, Kind.ADMINISTRATION})
_MUCH_WIDER = 16  # times as many addresses as the smallest network that would do


class EntryUse(Struct):
    """What came of one allow entry."""

    fits: int = 0  # requests it allows
    explains: int = 0  # of those, the ones that no earlier entry does
    callers: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    busiest: int = 0  # distinct secrets of one user in one of the windows of its rate


class Usage:
    """Holds every request against every clause whose caller may be its own; without bound, for recorded history."""

    def __init__(self, declarations: Declarations, *, proxy_expected: bool) -> None:
        """Watch the use of these declarations."""
        self.declarations = declarations
        self.requests = 0
        self.entries = {clause.entry.id: EntryUse() for clause in declarations.clauses}
        self.addresses: dict[str, set[str]] = {}  # of each caller that fitted
        self.names: dict[str, set[str]] = {}  # of secrets, by the group that held them
        self._windows: dict[tuple[str, str | None], tuple[int, set[str | None]]] = {}  # the latest, by entry and user
        self._proxy_expected = proxy_expected
        self._first: Micros | None = None
        self._last: Micros = 0

    @property
    def span(self) -> Micros:
        """From the first request to the last."""
        return 0 if self._first is None else self._last - self._first

    def observe(self, event: AuditEvent, match: Match | None) -> None:
        """Take a request in, with its match if it has one."""
        if event.kind not in _JUDGED or event.outcome is not Outcome.SUCCESS:
            return
        self.requests += 1
        self._first = event.event_time if self._first is None else min(self._first, event.event_time)
        self._last = max(self._last, event.event_time)
        held = self.declarations
        subject = held.subject(event.target.type, event.target.id)
        request = Request(event, event.kind, subject, address_expected=self._proxy_expected)
        for clause, candidate in held.candidates(event.initiator):
            identity = request.who(clause, candidate)
            if identity is True and request.hold(clause, identity).truth is True:
                self._fits(clause, event, request)
        if match is not None and match.explained is True and match.declaration in self.entries:
            self.entries[match.declaration].explains += 1

    def _fits(self, clause: Clause, event: AuditEvent, request: Request) -> None:
        use, caller = self.entries[clause.entry.id], clause.caller.entry.name
        use.fits += 1
        use.callers.add(caller)
        if clause.entry.rate is not None and event.kind == Kind.RETRIEVAL:
            self._pace(use, clause.entry.id, event, clause.entry.rate)
        if event.initiator.address is not None:
            self.addresses.setdefault(caller, set()).add(event.initiator.address)
        for group in clause.groups or ():
            if request.subject.within((group,)) is True:
                use.groups.add(group.name)
                secret = self.declarations.secret(event.target.id or "")
                if secret is not None and secret.name is not None:
                    self.names.setdefault(group.name, set()).add(secret.name)

    def _pace(self, use: EntryUse, entry: str, event: AuditEvent, rate: Rate) -> None:
        """Count in windows that follow one another: one that slides holds at most two of them."""
        key, number = (entry, event.initiator.user_id), event.event_time // rate.window
        known, secrets = self._windows.get(key, (number, set()))
        if number != known:
            secrets = set()
        secrets.add(event.target.id)
        self._windows[key] = number, secrets
        use.busiest = max(use.busiest, len(secrets))

    def idle_patterns(self, group: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
        """Those patterns of a group that no secret in use fits."""
        seen = self.names.get(group, set())
        return tuple(one for one in patterns if not any(fnmatchcase(name, one) for name in seen))

    def idle_networks(self, caller: str, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Those networks of a caller from which nothing came."""
        seen = [parse_address(address) for address in self.addresses.get(caller, ())]
        return tuple(one for one in declared if not any(inside(address, ranges((one,))) for address in seen))

    def narrower(self, caller: str, network: str) -> tuple[str, ...]:
        """The networks that would do in place of one that is much wider than its use; else nothing."""
        (allowed,) = ranges((network,))
        seen = {a for a in self.addresses.get(caller, ()) if inside(parse_address(a), (allowed,))}
        if not seen:
            return ()
        enough = networks(seen, ())
        size = sum(last - first + 1 for _, first, last in ranges(enough))
        return enough if size * _MUCH_WIDER <= allowed[2] - allowed[1] + 1 else ()
