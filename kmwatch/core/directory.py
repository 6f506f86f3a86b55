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


class Identities(Struct, frozen=True):
    """The content of an identities file; empty when none is configured."""

    users: tuple[User, ...] = ()
    projects: tuple[Project, ...] = ()


_T = TypeVar("_T", User, Project)


class Directory:
    """Immutable index over Identities."""

    __slots__ = ("_project_names", "_projects", "_user_names", "_users")

    def __init__(self, identities: Identities) -> None:
        """Index the identities; of two entries with one id the later counts."""
        self._users = _by_name(identities.users)
        self._projects = _by_name(identities.projects)
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


def _by_name(entries: Iterable[_T]) -> dict[str, tuple[_T, ...]]:
    found: dict[str, list[_T]] = {}
    for entry in entries:
        found.setdefault(entry.name, []).append(entry)
    return {name: tuple(namesakes) for name, namesakes in found.items()}


def _in_domain(entries: Iterable[User | Project], domain: str | None) -> tuple[str, ...]:
    fitting = {entry.id for entry in entries if domain is None or domain in {entry.domain_id, entry.domain_name}}
    return tuple(sorted(fitting))
