"""Who is who: Keystone's ids and names, looked up both ways.

A map names people and services; the logs of the Key Manager mostly show ids. The directory is a snapshot an
exporter wrote, so it may lack somebody: every lookup has "not known here" as a proper answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct


class User(Struct, frozen=True, gc=False):
    """One Keystone user. Names are unique within a domain only."""

    id: str
    name: str
    domain_id: str | None = None
    domain_name: str | None = None


class Project(Struct, frozen=True, gc=False):
    """One Keystone project. Names are unique within a domain only."""

    id: str
    name: str
    domain_id: str | None = None
    domain_name: str | None = None


class Assignment(Struct, frozen=True, gc=False):
    """A role of a user in a project, by the role's name."""

    user_id: str
    project_id: str
    role: str


class Identities(Struct, frozen=True):
    """The content of an identities file; empty when none is configured."""

    users: tuple[User, ...] = ()
    projects: tuple[Project, ...] = ()
    assignments: tuple[Assignment, ...] = ()


_T = TypeVar("_T", User, Project)


class Directory:
    """Immutable index over Identities."""

    __slots__ = ("_assigned", "_project_names", "_projects", "_user_names", "_users")

    def __init__(self, identities: Identities) -> None:
        """Index the identities; of two entries with one id the later counts."""
        self._users = _by_name(identities.users)
        self._projects = _by_name(identities.projects)
        self._assigned: dict[str, dict[str, tuple[str, ...]]] = {}
        for one in identities.assignments:
            held = self._assigned.setdefault(one.user_id, {})
            held[one.project_id] = (*held.get(one.project_id, ()), one.role)
        self._user_names = {user.id: user.name for user in identities.users}
        self._project_names = {project.id: project.name for project in identities.projects}

    def user_ids(self, name: str, domain: str | None = None) -> tuple[str, ...]:
        """The ids of all users of that name, in that domain (id or name) if one is given; sorted."""
        return _in_domain(self._users.get(name, ()), domain)

    def project_ids(self, name: str, domain: str | None = None) -> tuple[str, ...]:
        """The ids of all projects of that name, in that domain (id or name) if one is given; sorted."""
        return _in_domain(self._projects.get(name, ()), domain)

    def knows_user(self, user_id: str) -> bool:
        """Whether the snapshot holds that user."""
        return user_id in self._user_names

    def knows_project(self, project_id: str) -> bool:
        """Whether the snapshot holds that project."""
        return project_id in self._project_names

    def user_name(self, user_id: str | None) -> str | None:
        """The name of a user, if the snapshot holds them."""
        return None if user_id is None else self._user_names.get(user_id)

    def project_name(self, project_id: str | None) -> str | None:
        """The name of a project, if the snapshot holds it."""
        return None if project_id is None else self._project_names.get(project_id)

    def user_names(self) -> list[str]:
        """Every user name, sorted: what a misspelt one is compared with."""
        return sorted(self._users)

    def project_names(self) -> list[str]:
        """Every project name, sorted."""
        return sorted(self._projects)

    def user(self, user_id: str | None) -> User | None:
        """The user with that id, with the domain it lives in."""
        namesakes = self._users.get(self._user_names.get(user_id or "", ""), ())
        return next((user for user in namesakes if user.id == user_id), None)

    def project(self, project_id: str | None) -> Project | None:
        """The project with that id, with the domain it lives in."""
        namesakes = self._projects.get(self._project_names.get(project_id or "", ""), ())
        return next((project for project in namesakes if project.id == project_id), None)

    def roles(self, user_id: str | None, project_id: str | None) -> tuple[str, ...] | None:
        """The roles of a user in a project, none included; None where no role of the user is known at all."""
        assigned = None if user_id is None else self._assigned.get(user_id)
        return None if assigned is None or project_id is None else assigned.get(project_id, ())


def _by_name(entries: Iterable[_T]) -> dict[str, tuple[_T, ...]]:
    found: dict[str, list[_T]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry)
    return {name: tuple(namesakes) for name, namesakes in found.items()}


def _in_domain(entries: Iterable[User | Project], domain: str | None) -> tuple[str, ...]:
    fitting = {entry.id for entry in entries if domain is None or domain in {entry.domain_id, entry.domain_name}}
    return tuple(sorted(fitting))
