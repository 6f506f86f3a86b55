"""Callers and allow entries, compiled: one clause for each caller of each entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap
from kmwatch.core.constraint import Matcher, Range, Shift, patterns, ranges
from kmwatch.core.directory import Directory
from kmwatch.core.model import Initiator, Mode, Reason
from kmwatch.core.selector import (
    GroupTest,
    ProjectTest,
    Truth,
    UserTest,
    both,
    group_test,
    project_test,
    user_test,
    users_hold,
)


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """A compiled caller."""

    entry: CallerEntry
    users: tuple[UserTest, ...] | None
    projects: ProjectTest | None
    roles: frozenset[str] | None
    networks: tuple[Range, ...] | None
    agents: Matcher | None

    def identity(self, initiator: Initiator, directory: Directory) -> Truth:
        """Whether the initiator is this caller, `creator` aside: that depends on the secret."""
        result: Truth = True
        if self.users is not None:
            result = users_hold(self.users, initiator, directory)
        if result is not False and self.projects is not None:
            project = self.projects.holds(initiator.project_id, initiator.project_name, directory)
            result = both(result, project)
        if result is not False and self.roles is not None:
            shown = initiator.roles
            result = both(result, not self.roles.isdisjoint(shown) if shown else Reason.EVIDENCE_MISSING)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Clause:
    """One allow entry for one of its callers; `order` is file order, of entries, then of their callers."""

    order: int
    entry: AllowEntry
    caller: Caller
    groups: tuple[GroupTest, ...] | None
    shift: Shift | None


Candidate = tuple[Clause, Truth]  # a clause and whether the initiator is its caller, `creator` aside


def compile_caller(entry: CallerEntry, directory: Directory) -> Caller:
    """Compile a caller."""
    return Caller(
        entry=entry,
        users=None if entry.users is None else tuple(user_test(user, directory) for user in entry.users),
        projects=None if entry.projects is None else project_test(entry.projects, directory),
        roles=None if entry.roles is None else frozenset(entry.roles),
        networks=None if entry.networks is None else ranges(entry.networks),
        agents=None if entry.agents is None else patterns(entry.agents),
    )


def compile_clauses(caller_map: CallerMap, callers: tuple[Caller, ...], directory: Directory) -> tuple[Clause, ...]:
    """Compile the allow entries, in file order."""
    groups = {g.name: group_test(index, g, directory) for index, g in enumerate(caller_map.groups)}
    named = {caller.entry.name: caller for caller in callers}
    clauses: list[Clause] = []
    for entry in caller_map.allow:
        if entry.mode is Mode.OFF:
            continue
        selected = None if entry.groups is None else tuple(groups[name] for name in entry.groups)
        shift = None if entry.hours is None else Shift(entry.hours, ZoneInfo(entry.hours.timezone))
        for name in entry.callers:
            clauses.append(Clause(len(clauses), entry, named[name], selected, shift))
    return tuple(clauses)


def index_clauses(clauses: Iterable[Clause]) -> tuple[dict[str, tuple[Clause, ...]], tuple[Clause, ...]]:
    """The clauses by user id, and those that no user id selects."""
    by_user: dict[str, list[Clause]] = {}
    others: list[Clause] = []
    for clause in clauses:
        ids = {None} if clause.caller.users is None else {user.id for user in clause.caller.users}
        if None in ids:
            others.append(clause)
            continue
        for user_id in ids:
            by_user.setdefault(user_id or "", []).append(clause)
    return {user: tuple(found) for user, found in by_user.items()}, tuple(others)


def shifts_of(clauses: Iterable[Clause]) -> tuple[Shift, ...]:
    """The different working hours of the clauses."""
    found = {shift.hours: shift for clause in clauses if (shift := clause.shift) is not None}
    return tuple(found.values())
