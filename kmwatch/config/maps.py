"""The caller map from its file to the core's form: read entry by entry, so that every error shows at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from kmwatch.config.announced import behind
from kmwatch.config.callers import Allow, Caller, CallersFile, Project, SecretSelector, User
from kmwatch.config.maptests import Sample
from kmwatch.config.problems import Problem
from kmwatch.config.source import Document, Plain, Where
from kmwatch.config.times import DAYS
from kmwatch.config.times import Hours as HoursModel
from kmwatch.config.translate import M, validate
from kmwatch.config.values import Context
from kmwatch.core.callermap import (
    AllowEntry,
    CallerEntry,
    CallerMap,
    Decoy,
    Hours,
    ProjectSelector,
    SecretGroup,
    UserSelector,
)
from kmwatch.core.model import SECOND, Micros

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class MapFile:
    """A caller map as far as it is valid, with the document for its lines."""

    document: Document
    callers: Mapping[str, Caller]
    groups: Mapping[str, SecretSelector]
    allow: Mapping[int, Allow]
    rest: CallersFile  # its other sections; callers, secrets, allow and tests are empty there
    samples: Mapping[int, Sample]  # its tests

    def named(self, section: str) -> list[str]:
        """The names written in a section, those of invalid entries included."""
        top = self.document.value
        entries = top.get(section) if isinstance(top, dict) else None
        return list(entries) if isinstance(entries, dict) else []

    def entries(self) -> list[dict[str, Plain]]:
        """The allow entries as written; an empty mapping for what is none."""
        top = self.document.value
        allow = top.get("allow") if isinstance(top, dict) else None
        return [entry if isinstance(entry, dict) else {} for entry in (allow if isinstance(allow, list) else [])]


def read_map(document: Document, context: Context, problems: list[Problem]) -> MapFile:
    """Validate every entry of a caller map by itself; what is broken becomes a problem and is left out."""
    top = document.value if isinstance(document.value, dict) else {}
    shell: dict[str, Plain] = dict(top)
    for section in ("callers", "secrets"):
        if isinstance(top.get(section), dict):
            shell[section] = {}
    for section in ("allow", "tests"):
        if isinstance(top.get(section), list):
            shell[section] = []
    rest = validate(CallersFile, shell, (), document, context, problems)
    return MapFile(
        document=document,
        callers=_section(Caller, "callers", document, context, problems),
        groups=_section(SecretSelector, "secrets", document, context, problems),
        allow=_list(Allow, "allow", document, context, problems),
        rest=rest or CallersFile(),
        samples=_list(Sample, "tests", document, context, problems),
    )


def _list(model: type[M], section: str, document: Document, context: Context, problems: list[Problem]) -> dict[int, M]:
    top = document.value if isinstance(document.value, dict) else {}
    written = top.get(section)
    return {
        index: entry
        for index, value in enumerate(written if isinstance(written, list) else [])
        if (entry := validate(model, value, (section, index), document, context, problems)) is not None
    }


def _section(
    model: type[M], section: str, document: Document, context: Context, problems: list[Problem]
) -> dict[str, M]:
    top = document.value if isinstance(document.value, dict) else {}
    written = top.get(section)
    found: dict[str, M] = {}
    for name, value in written.items() if isinstance(written, dict) else ():
        where: Where = (section, name)
        if not _NAME.fullmatch(name):
            message = "a name is 1 to 64 letters, digits, dots, dashes and underscores; rename it"
            problems.append(document.problem(where, message))
        entry = validate(model, value, where, document, context, problems)
        if entry is not None:
            found[name] = entry
    return found


def compiled(file: MapFile) -> CallerMap:
    """The core's form of a map without errors."""
    return CallerMap(
        callers=tuple(_caller(name, caller) for name, caller in file.callers.items()),
        groups=tuple(_group(name, group) for name, group in file.groups.items()),
        allow=tuple(_allow(entry) for entry in file.allow.values()),
        behind=behind(file.rest),
        decoys=tuple(Decoy(decoy.id, decoy.name or decoy.id) for decoy in file.rest.decoys),
    )


def _caller(name: str, caller: Caller) -> CallerEntry:
    return CallerEntry(
        name=name,
        users=_users(caller.users) if isinstance(caller.users, tuple) else None,
        creator=isinstance(caller.users, str),
        projects=_projects(caller.projects),
        roles=caller.roles,
        networks=caller.networks,
        agents=caller.agents,
        tags=caller.tags,
    )


def _group(name: str, group: SecretSelector) -> SecretGroup:
    return SecretGroup(
        name=name,
        ids=group.ids,
        names=group.names,
        types=group.types,
        projects=_projects(group.projects),
        creators=_users(group.creators),
        containers=group.containers,
    )


def _allow(entry: Allow) -> AllowEntry:
    return AllowEntry(
        id=entry.id,
        callers=entry.callers,
        groups=entry.secrets if isinstance(entry.secrets, tuple) else None,
        created_by_caller=entry.secrets == "created-by-caller",
        actions=entry.actions,
        hours=None if entry.hours is None else _hours(entry.hours),
        rate=entry.rate,
        expires=None if entry.expires is None else after(entry.expires),
        legacy=entry.legacy,
        mode=entry.mode,
    )


def _hours(hours: HoursModel) -> Hours:
    days = tuple(sorted({DAYS.index(day) for day in hours.days}))
    return Hours(days, hours.start, hours.end, hours.timezone)


def after(day: date) -> Micros:
    """The first moment after a day, in UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int((midnight + timedelta(days=1)).timestamp()) * SECOND


def _users(users: tuple[User, ...] | None) -> tuple[UserSelector, ...] | None:
    if users is None:
        return None
    return tuple(UserSelector(user.id, user.name, user.project, user.domain) for user in users)


def _projects(projects: tuple[Project, ...] | None) -> tuple[ProjectSelector, ...] | None:
    if projects is None:
        return None
    return tuple(ProjectSelector(project.id, project.name, project.domain) for project in projects)
