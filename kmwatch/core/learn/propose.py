"""A caller map proposed from history: least privilege as far as it was seen, in groups that a person can review."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct, structs

from kmwatch.core.callermap import AllowEntry, CallerEntry, ProjectSelector, SecretGroup, UserSelector
from kmwatch.core.learn.callers import (
    Cluster,
    Family,
    Listed,
    adopt,
    family,
    forgive,
    is_own,
    of_kind,
    parted,
    people,
    served,
    services,
)
from kmwatch.core.learn.evidence import SPARSE, Support, doubts, strays, support
from kmwatch.core.learn.family import head
from kmwatch.core.learn.history import History, Who
from kmwatch.core.learn.pace import LONG_ENOUGH, rate_for
from kmwatch.core.learn.place import networks
from kmwatch.core.model import Kind

_FEW_CREATORS = 2  # more than these, and a group is told by the projects that own it
_MOST_IDS = 50
_ILLEGAL = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 48
_ACTIONS = {Kind.ACL_CHANGE: "grants", Kind.DELETE: "clean-up"}


class Entry(Struct, frozen=True):
    """One proposed allow entry. With `doubts` it is shown and not part of the map."""

    allow: AllowEntry
    support: Support
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class Proposal(Struct):
    """A whole map with what each entry rests on."""

    callers: list[CallerEntry]
    groups: list[SecretGroup]
    entries: list[Entry]
    left: int = 0  # acts that no entry was proposed for: grants and deletions of others' secrets


def propose(history: History, *, sparse: int = SPARSE) -> Proposal:
    """Propose a map.

    Args:
        history: what was seen.
        sparse: how few acts are an anecdote.

    Returns:
        The map. It depends on nothing but the history, whatever the order in which that was seen.
    """
    return _Proposer(history, sparse).run()


class _Proposer:
    def __init__(self, history: History, sparse: int) -> None:
        self._history, self._sparse = history, sparse
        self._directory = history.declarations.directory
        self._made = Proposal([], [], [])
        self._entry_of: dict[int, CallerEntry] = {}

    def run(self) -> Proposal:
        self._history.settle()
        acts = self._history.acts
        aside = strays({act: times for act, times in acts.items() if act.kind is Kind.RETRIEVAL})
        serve = served(self._history, [pair for pair in of_kind(acts, Kind.RETRIEVAL) if pair[0] not in aside])
        for act, why in aside.items():
            if not serve(act, acts[act]):
                acts[act].doubts.add(why)
        forgive(self._history)
        reads = of_kind(acts, Kind.RETRIEVAL)
        clean = [pair for pair in reads if not pair[1].doubts]
        doubtful = [pair for pair in reads if pair[1].doubts]
        serving = services(self._history, clean)
        taken = {pair[0] for cluster in serving for pair in cluster.acts}
        at_home = people(self._history, [pair for pair in clean if pair[0] not in taken])
        for cluster in (*serving, *at_home, *people(self._history, doubtful)):
            self._reads(cluster)
        for kind in _ACTIONS:
            self._others(kind, [*serving, *at_home])
        return self._made

    # ------------------------------------------------------------------------------------------------- reads

    def _reads(self, cluster: Cluster) -> None:
        history = self._history
        known, unknown = parted(cluster.acts, lambda act: history.secret(act.secret_id) is not None)
        own, foreign = parted(known, lambda act: is_own(history, act))
        if own:
            self._named(cluster, own, own=True)
        by_head: dict[str, Listed] = {}
        for pair in foreign:
            names, _ = family(self._history, pair[0])
            by_head.setdefault(head(names) if names else "", []).append(pair)
        for _, listed in sorted(by_head.items()):
            self._named(cluster, listed, own=False)
        if unknown:
            self._by_id(cluster, unknown, "not in the inventory")

    def _named(self, cluster: Cluster, listed: Listed, *, own: bool) -> None:
        """Entries for secrets whose names tell their family, and one by id for the others."""
        told, untold = parted(listed, lambda act: family(self._history, act)[0] is not None)
        if told:
            families = {family(self._history, pair[0]) for pair in told}
            group = self._group(cluster, told, families, own=own)
            self._allow(cluster, self._known_group(group), told)
        if untold:
            self._by_id(cluster, untold, "names tell no family")

    def _group(self, cluster: Cluster, listed: Listed, families: set[Family], *, own: bool) -> SecretGroup:
        patterns = tuple(sorted({names for names, _ in families if names is not None}))
        types = tuple(sorted({kind for _, kind in families if kind is not None}))
        called = f"{cluster.name}-own" if own and cluster.who is not None else head(patterns[0])
        secrets = [s for pair in listed if (s := self._history.secret(pair[0].secret_id)) is not None]
        creators = sorted({s.creator_id for s in secrets if s.creator_id is not None})
        projects = sorted({s.project_id for s in secrets if s.project_id is not None})
        by_creator = cluster.who is not None and creators and (own or len(creators) <= _FEW_CREATORS)
        return SecretGroup(
            _slug(called),
            names=patterns,
            types=types or None,
            creators=tuple(self._user(creator, None) for creator in creators) if by_creator else None,
            projects=tuple(self._project(project) for project in projects) if projects and not by_creator else None,
        )

    def _by_id(self, cluster: Cluster, listed: Listed, why: str) -> None:
        ids = sorted({act.secret_id for act, _ in listed})
        group = SecretGroup(_slug(f"{cluster.name}-ids"), ids=tuple(ids[:_MOST_IDS]))
        cut = (f"{len(ids) - _MOST_IDS} more secrets are left out",) if len(ids) > _MOST_IDS else ()
        self._allow(cluster, self._known_group(group), listed, (f"by id: {why}", *cut))

    def _known_group(self, group: SecretGroup) -> str:
        """The name of a group that selects the same, or of this one, made unique."""
        for known in self._made.groups:
            if structs.replace(known, name="") == structs.replace(group, name=""):
                return known.name
        name = _unique(group.name, {known.name for known in self._made.groups})
        self._made.groups.append(structs.replace(group, name=name))
        return name

    def _allow(self, cluster: Cluster, group: str, listed: Listed, remarks: tuple[str, ...] = ()) -> None:
        caller = self._caller(cluster)
        name = _unique(_slug(group if group.startswith(cluster.name) else f"{caller.name}-{group}"), self._ids())
        allow = AllowEntry(name, (caller.name,), (group,))
        against = doubts(listed, self._history)
        if cluster.who is None and cluster.name == "several-users":
            against = (*against, "tokens of several users from one address, by no agent that names a service")
        self._put(allow, listed, remarks, against)

    # ------------------------------------------------------------------------------------- grants, deletions

    def _others(self, kind: Kind, callers: list[Cluster]) -> None:
        """Entries for who changes the ACL of, or deletes, what it created itself."""
        acts = of_kind(self._history.acts, kind)
        own, _ = parted(acts, lambda act: is_own(self._history, act))
        self._made.left += sum(times.count for act, times in acts) - sum(times.count for _, times in own)
        for clean in (True, False):
            chosen = [pair for pair in own if bool(pair[1].doubts) is not clean]
            shared = adopt(callers if clean else [], chosen, self._history)
            if not shared:
                continue
            names = tuple(dict.fromkeys(self._caller(cluster).name for cluster, _ in shared))
            listed = [pair for _, mine in shared for pair in mine]
            allow = AllowEntry(
                _unique(_ACTIONS[kind], self._ids()), names, None, created_by_caller=True, actions=(kind,)
            )
            self._put(allow, listed, (), doubts(listed, self._history))

    # ----------------------------------------------------------------------------------------------- shared

    def _put(self, allow: AllowEntry, listed: Listed, remarks: tuple[str, ...], against: tuple[str, ...]) -> None:
        found = support(listed)
        if any(caller.networks is None for caller in self._made.callers if caller.name in allow.callers):
            remarks = (*remarks, "no address was seen that is one: allowed from anywhere")
        if found.acts < self._sparse:
            remarks = (*remarks, f"SPARSE: seen {found.acts} times")
        bursts = sorted({rule for _, times in listed for rule in times.bursts})
        if bursts:
            remarks = (*remarks, f"many at once at times ({', '.join(bursts)})")
        if allow.actions == (Kind.RETRIEVAL,):
            allow, said = self._paced(allow, found)
            remarks = (*remarks, said)
        self._made.entries.append(Entry(allow, found, remarks, against))

    def _paced(self, allow: AllowEntry, found: Support) -> tuple[AllowEntry, str]:
        """The entry with a rate, where history is long enough to know what is usual; and what was seen."""
        rate = rate_for(found.busiest)
        most = f"at most {found.busiest} secret{'s' if found.busiest != 1 else ''} of a user in an hour"
        if found.acts >= self._sparse and self._history.span >= LONG_ENOUGH:
            return structs.replace(allow, rate=rate), most
        return allow, f"{most}; too little history for a rate: {rate.limit}/1h would do"

    def _caller(self, cluster: Cluster) -> CallerEntry:
        known = self._entry_of.get(id(cluster))
        if known is not None:
            return known
        own = {act.address for act, _ in cluster.acts if act.address is not None}
        called = f"{cluster.name}-for-users" if cluster.who is None else cluster.name
        name = _unique(_slug(called), {caller.name for caller in self._made.callers})
        where = networks(own, self._history.addresses) or None
        if cluster.who is None:
            entry = CallerEntry(name, creator=True, networks=where)
        else:
            entry = CallerEntry(name, users=(self._user(cluster.who.user_id, cluster.who),), networks=where)
        self._entry_of[id(cluster)] = entry
        self._made.callers.append(entry)
        return entry

    def _user(self, user_id: str | None, who: Who | None) -> UserSelector:
        """A user by name if identities tell it from all others, else by id; with the project of its token."""
        known = self._directory.user(user_id)
        project = None if who is None else self._directory.project(who.project_id)
        scoped = None if who is None else (project.name if project is not None else who.project_id)
        if project is not None and len(self._directory.project_ids(project.name)) > 1:
            scoped = project.id
        if known is not None:
            domain = known.domain_name or known.domain_id
            if self._directory.user_ids(known.name, domain) == (known.id,):
                return UserSelector(name=known.name, project=scoped, domain=domain)
        if user_id is not None:
            return UserSelector(id=user_id, project=scoped)
        return UserSelector(name=(who.user_name if who is not None else None) or "nobody", project=scoped)

    def _project(self, project_id: str) -> ProjectSelector:
        known = self._directory.project(project_id)
        if known is not None:
            domain = known.domain_name or known.domain_id
            if self._directory.project_ids(known.name) == (known.id,):
                return ProjectSelector(name=known.name)
            if domain is not None and self._directory.project_ids(known.name, domain) == (known.id,):
                return ProjectSelector(name=known.name, domain=domain)
        return ProjectSelector(id=project_id)

    def _ids(self) -> set[str]:
        return {entry.allow.id for entry in self._made.entries}


def _slug(text: str) -> str:
    """A name that the map's grammar takes, whatever a stranger called himself."""
    found = _ILLEGAL.sub("-", text).strip("-._")[:_LONGEST].rstrip("-._")
    return found or "unnamed"


def _unique(name: str, taken: Iterable[str]) -> str:
    known, number, found = set(taken), 1, name
    while found in known:
        number += 1
        found = f"{name}-{number}"
    return found
