"""The caller map compiled for lookup: immutable, with a digest of all that can change a verdict."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from copy import copy
from hashlib import blake2b

import msgspec

from kmwatch.core.cache import Cache
from kmwatch.core.callermap import CallerMap
from kmwatch.core.clause import Candidate, Clause, compile_caller, compile_clauses, index_clauses, shifts_of
from kmwatch.core.directory import Directory, Identities
from kmwatch.core.holdings import Holdings
from kmwatch.core.model import MINUTE, Initiator, Match, Micros, Mode, Secret
from kmwatch.core.selector import GroupTest, Truth
from kmwatch.core.subject import Subject

_MATCHES = 16_384
_SUBJECTS = 16_384
_INITIATORS = 4_096
_MINUTES = 64
_COMPARED = 128  # secret groups, and clauses of each, looked at for a stranger


class Declarations:
    """The caller map, who is who, and the inventory. All else it remembers are results of pure functions.

    Map and identities never change. The inventory does, where an engine has one of its own (`apart`, `learn`, `lose`).
    """

    def __init__(self, caller_map: CallerMap, identities: Identities, inventory: Iterable[Secret]) -> None:
        """Compile a map whose references are valid (kmwatch.config checks them).

        Raises:
            KeyError: an allow entry names a caller or a secret group that is not there.
            ValueError: a network is no CIDR, or a time zone is unknown.
        """
        self.behind = caller_map.behind
        self.holdings = Holdings(inventory)
        self.caller_map = caller_map
        self.digest = _digest(caller_map, identities, self.holdings)
        self.directory = Directory(identities)
        self._decoys = {decoy.id: decoy.label for decoy in caller_map.decoys}
        self._callers = tuple(compile_caller(entry, self.directory) for entry in caller_map.callers)
        self.clauses = compile_clauses(caller_map, self._callers, self.directory)
        self.by_group = _by_group(self.clauses)
        self._by_user, self._open = index_clauses(self.clauses)
        self._legacy = frozenset(entry.id for entry in caller_map.allow if entry.legacy)
        self._wildcards = _wildcards(caller_map)
        self._modes = {entry.id: entry.mode for entry in caller_map.allow if entry.mode is not Mode.ENFORCE}
        self._tags = {entry.name: frozenset(entry.tags) for entry in caller_map.callers if entry.tags}
        self._expiries = sorted({c.entry.expires for c in self.clauses if c.entry.expires is not None})
        self._shifts = shifts_of(self.clauses)
        self.timed = bool(self._expiries or self._shifts)  # whether any verdict depends on the time
        self._candidates: Cache[Initiator, tuple[Candidate, ...]] = Cache(_INITIATORS)
        self._on_shift: Cache[int, tuple[bool, ...]] = Cache(_MINUTES)
        self._know_nothing()

    def _know_nothing(self) -> None:
        """Forget every answer that the inventory has a part in."""
        self._subjects: Cache[tuple[str, str | None], Subject] = Cache(_SUBJECTS)
        self._declared: Cache[Initiator, tuple[str, ...]] = Cache(_INITIATORS)
        self.matches: Cache[tuple[object, ...], Match] = Cache(_MATCHES)

    def apart(self) -> Declarations:
        """The same declarations with an inventory of their own, which changes without a change here."""
        own = copy(self)
        own.holdings = self.holdings.apart()
        own._know_nothing()  # noqa: SLF001  (of the same class)
        return own

    def learn(self, secrets: Iterable[Secret], gone: Iterable[str] = ()) -> None:
        """Take what a reading of the inventory found new, changed or gone; the digest stays that of the start."""
        for secret_id in gone:
            self.holdings.lose(secret_id)
        for secret in secrets:
            self.holdings.put(secret)
        self._know_nothing()

    def restored(self) -> None:
        """Rows of the inventory were taken back."""
        self.holdings.restored()
        self._know_nothing()

    def secret(self, secret_id: str) -> Secret | None:
        """The secret as the inventory knows it."""
        return self.holdings.get(secret_id)

    def groups(self) -> tuple[GroupTest, ...]:
        """The secret groups that entries name, each once."""
        found = {group.index: group for clause in self.clauses for group in clause.groups or ()}
        return tuple(found.values())

    def callers(self) -> list[str]:
        """The names of the declared callers, in file order."""
        return [entry.name for entry in self.caller_map.callers]

    def decoys(self) -> frozenset[str]:
        """The ids of all decoys."""
        return frozenset(self._decoys)

    def decoy(self, secret_id: str) -> str | None:
        """The label of a decoy secret, or None for any other."""
        return self._decoys.get(secret_id)

    def allows_legacy(self, declaration: str | None) -> bool:
        """Whether an allow entry lets its callers take payloads by the deprecated way."""
        return declaration in self._legacy

    def is_wildcard(self, declaration: str | None) -> bool:
        """Whether an allow entry selects its secrets by something else than their ids."""
        return declaration in self._wildcards

    def mode(self, declaration: str | None) -> Mode:
        """How an allow entry counts."""
        return self._modes.get(declaration or "", Mode.ENFORCE)

    def tags(self, caller: str | None) -> frozenset[str]:
        """What a declared caller is known to do."""
        return self._tags.get(caller or "", frozenset())

    def secrets(self) -> Iterable[Secret]:
        """All secrets of the inventory."""
        return self.holdings

    def expiring(self, since: Micros, until: Micros) -> Iterable[Secret]:
        """The secrets that are not deleted and expire within [since, until), in order."""
        return self.holdings.expiring(since, until)

    def has_newer(self, secret_id: str) -> bool:
        """Whether the inventory knows a live secret of the same project, name and type that was made later."""
        return self.holdings.has_newer(secret_id)

    def is_declared(self, initiator: Initiator) -> bool:
        """Whether the map knows the initiator as a caller at all, wherever it comes from."""
        return self.declared_caller(initiator, None) is not None

    def declared_caller(self, initiator: Initiator, secret_id: str | None) -> str | None:
        """The first declared caller whose identity fits, networks and agents ignored; a bounded label.

        Callers that name users, projects or roles come first, in file order. Then come `creator` callers,
        which fit whoever created any secret of the inventory: a tenant is no stranger.
        """
        del secret_id  # the creator of this secret is the creator of some secret
        who = _identity(initiator)
        fitting = self._declared.get(who)
        if fitting is None:
            fitting = tuple(self._fitting(who))
            self._declared.put(who, fitting)
        return fitting[0] if fitting else None

    def _fitting(self, who: Initiator) -> Iterable[str]:
        created = who.user_id is not None and self.holdings.has_created(who.user_id)
        for creator in (False, True) if created else (False,):
            for caller in self._callers:
                if caller.entry.creator is creator and caller.identity(who, self.directory) is True:
                    yield caller.entry.name
                    return

    def subject(self, target_type: str, target_id: str | None) -> Subject:
        """What a request is about: a secret, a container through its members, or neither."""
        key = (target_type, target_id)
        found = self._subjects.get(key)
        if found is None:
            found = self._subject(target_type, target_id)
            self._subjects.put(key, found)
        return found

    def _subject(self, target_type: str, target_id: str | None) -> Subject:
        if target_type == "secret":
            return Subject(target_type, None if target_id is None else ((target_id, self.secret(target_id)),))
        if target_type == "container":
            members = self.holdings.members(target_id or "")
            known = None if members is None else tuple((one, self.secret(one)) for one in members)
            return Subject(target_type, known)
        return Subject(target_type, ())

    def candidates(self, initiator: Initiator) -> tuple[Candidate, ...]:
        """The clauses whose caller the initiator is or may be, in file order."""
        who = _identity(initiator)
        found = self._candidates.get(who)
        if found is None:
            found = tuple(self._held(who))
            self._candidates.put(who, found)
        return found

    def _held(self, who: Initiator) -> Iterable[Candidate]:
        clauses = self.clauses
        if who.user_id is not None:
            clauses = tuple(sorted((*self._by_user.get(who.user_id, ()), *self._open), key=_order))
        truths: dict[str, Truth] = {}
        for clause in clauses:
            name = clause.caller.entry.name
            if name not in truths:
                truths[name] = clause.caller.identity(who, self.directory)
            if truths[name] is not False:
                yield clause, truths[name]

    def period(self, time: Micros) -> tuple[int, tuple[bool, ...]]:
        """What a verdict can depend on of the time: how many expiries have passed, which hours hold."""
        expired = bisect_right(self._expiries, time)
        if not self._shifts:
            return expired, ()
        minute = time // MINUTE
        on_shift = self._on_shift.get(minute)
        if on_shift is None:
            on_shift = tuple(shift.holds(time) for shift in self._shifts)
            self._on_shift.put(minute, on_shift)
        return expired, on_shift


def _wildcards(caller_map: CallerMap) -> frozenset[str]:
    named = {group.name for group in caller_map.groups if group.ids is not None}
    return frozenset(e.id for e in caller_map.allow if e.groups is None or not named.issuperset(e.groups))


def _by_group(clauses: Iterable[Clause]) -> tuple[tuple[GroupTest, tuple[Clause, ...]], ...]:
    """The first secret groups, each with its first clauses: what a stranger's request is compared with."""
    found: dict[int, list[Clause]] = {}
    groups: dict[int, GroupTest] = {}
    for clause in clauses:
        for group in clause.groups or ():
            if len(groups) < _COMPARED or group.index in groups:
                groups[group.index] = group
                found.setdefault(group.index, []).append(clause)
    return tuple((group, tuple(found[index][:_COMPARED])) for index, group in groups.items())


def _order(clause: Clause) -> int:
    return clause.order


def _identity(initiator: Initiator) -> Initiator:
    """The initiator without what an attacker may vary at will: the key of what is remembered."""
    i = initiator
    return Initiator(i.user_id, i.user_name, i.project_id, i.project_name, i.roles)


def _digest(caller_map: CallerMap, identities: Identities, secrets: Iterable[Secret]) -> str:
    """BLAKE2b over the canonical content; the order of the map counts, that of the two snapshots does not."""
    users = sorted(identities.users, key=lambda user: user.id)
    projects = sorted(identities.projects, key=lambda project: project.id)
    inventory = sorted(secrets, key=lambda secret: secret.id)
    content = msgspec.json.encode([caller_map, users, projects, inventory], order="deterministic")
    return blake2b(content, digest_size=16).hexdigest()
