"""The conditions of the caller map, compiled, with three answers: yes, no, and why it cannot be told.

A condition is True, False, or the Reason the evidence does not decide it. Nothing here is ever True for want
of evidence: an unknown is for the reader of the verdict, not a way in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kmwatch.core.callermap import ProjectSelector, SecretGroup, UserSelector
from kmwatch.core.constraint import Matcher, patterns
from kmwatch.core.directory import Directory
from kmwatch.core.model import Initiator, Reason, Secret

Truth = bool | Reason

_UUID_HEX = re.compile(r"[0-9a-f]{32}")


def both(left: Truth, right: Truth) -> Truth:
    """AND: false beats unknown, unknown beats true; of two unknowns the left one's reason stays."""
    if left is False or right is False:
        return False
    return right if left is True else left


def either(truths: Iterable[Truth]) -> Truth:
    """OR: true beats unknown, unknown beats false; of several unknowns the first one's reason stays."""
    result: Truth = False
    for truth in truths:
        if truth is True:
            return True
        if result is False:
            result = truth
    return result


@dataclass(frozen=True, slots=True)
class ProjectTest:
    """One of several projects: by id where the directory resolves the name, else by shown name."""

    ids: frozenset[str]
    names: frozenset[str]  # unresolved, without a domain
    domained: frozenset[str]  # unresolved, with a domain that no log shows

    def holds(self, project_id: str | None, project_name: str | None, directory: Directory) -> Truth:
        """Whether the project is one of these."""
        if project_id is not None and project_id in self.ids:
            return True
        if not self.names and not self.domained:
            return Reason.EVIDENCE_MISSING if project_id is None else False
        if project_id is not None and directory.knows_project(project_id):
            return False
        if project_name is None:
            return Reason.EVIDENCE_MISSING if project_id is None else Reason.IDENTITY_UNRESOLVED
        if project_name in self.names:
            return True
        if project_name in self.domained:
            return Reason.IDENTITY_UNRESOLVED
        return Reason.EVIDENCE_MISSING if project_id is None and self.ids else False


def project_test(selectors: Iterable[ProjectSelector], directory: Directory) -> ProjectTest:
    """Compile project selectors; a name of several projects stays unresolved, and so fits none of them."""
    ids: set[str] = set()
    names: set[str] = set()
    domained: set[str] = set()
    for selector in selectors:
        if selector.id is not None:
            ids.add(selector.id)
            continue
        name = selector.name or ""
        found = directory.project_ids(name, selector.domain)
        if len(found) == 1:
            ids.add(found[0])
        else:
            (names if selector.domain is None else domained).add(name)
    return ProjectTest(frozenset(ids), frozenset(names), frozenset(domained))


@dataclass(frozen=True, slots=True)
class UserTest:
    """One user: by id, or by shown name where the directory does not resolve it."""

    id: str | None
    name: str | None
    domained: bool
    project: ProjectTest | None

    def holds(
        self,
        user_id: str | None,
        user_name: str | None,
        project_id: str | None,
        project_name: str | None,
        directory: Directory,
    ) -> Truth:
        """Whether it is this user, acting in this project if one is asked for."""
        user = self._user(user_id, user_name, directory)
        if user is False or self.project is None:
            return user
        return both(user, self.project.holds(project_id, project_name, directory))

    def _user(self, user_id: str | None, user_name: str | None, directory: Directory) -> Truth:
        if self.id is not None:
            return Reason.EVIDENCE_MISSING if user_id is None else user_id == self.id
        if user_id is not None and directory.knows_user(user_id):
            return False
        if user_name is None:
            return Reason.EVIDENCE_MISSING if user_id is None else Reason.IDENTITY_UNRESOLVED
        if user_name != self.name:
            return False
        return Reason.IDENTITY_UNRESOLVED if self.domained else True


def user_test(selector: UserSelector, directory: Directory) -> UserTest:
    """Compile a user selector; a name that fits several users stays unresolved, and so fits none of them."""
    project = None if selector.project is None else project_of(selector, directory)
    if selector.id is not None:
        return UserTest(selector.id, None, domained=False, project=project)
    found = directory.user_ids(selector.name or "", selector.domain)
    if len(found) == 1:
        return UserTest(found[0], selector.name, domained=False, project=project)
    return UserTest(None, selector.name, domained=selector.domain is not None, project=project)


def project_of(selector: UserSelector, directory: Directory) -> ProjectTest:
    """The `project` of a user selector: a name (the user's domain tells namesakes apart), or an id."""
    text = selector.project or ""
    found = directory.project_ids(text)
    if len(found) > 1 and selector.domain is not None:
        found = directory.project_ids(text, selector.domain)
    if len(found) == 1:
        return ProjectTest(frozenset(found), frozenset(), frozenset())
    if not found and (directory.knows_project(text) or _UUID_HEX.fullmatch(text)):
        return ProjectTest(frozenset((text,)), frozenset(), frozenset())
    return ProjectTest(frozenset(), frozenset((text,)), frozenset())


def users_hold(tests: Iterable[UserTest], initiator: Initiator, directory: Directory) -> Truth:
    """Whether the initiator is one of the users."""
    i = initiator
    return either(t.holds(i.user_id, i.user_name, i.project_id, i.project_name, directory) for t in tests)


@dataclass(frozen=True, slots=True)
class GroupTest:
    """A secret group: its keys ANDed, the values of a key ORed."""

    index: int
    name: str
    ids: frozenset[str] | None
    names: Matcher | None
    types: frozenset[str] | None
    projects: ProjectTest | None
    creators: tuple[UserTest, ...] | None
    containers: frozenset[str] | None
    directory: Directory

    def holds(self, secret_id: str, secret: Secret | None) -> Truth:
        """Whether the secret is in the group; `secret` is None where the inventory lacks it."""
        if self.ids is not None and secret_id not in self.ids:
            return False
        if secret is not None:
            return self._attributes(secret)
        needed = (self.names, self.types, self.projects, self.creators, self.containers)
        return True if all(key is None for key in needed) else Reason.SECRET_UNKNOWN

    def _attributes(self, secret: Secret) -> Truth:
        result: Truth = True
        if self.types is not None:
            result = Reason.SECRET_UNKNOWN if secret.type is None else secret.type in self.types
        if result is False or (self.containers is not None and self.containers.isdisjoint(secret.containers)):
            return False
        if self.names is not None and (secret.name is None or self.names(secret.name) is None):
            return False
        if self.projects is not None:
            result = both(result, self._owner(secret))
        if result is not False and self.creators is not None:
            result = both(result, self._created(secret, self.creators))
        return result

    def _owner(self, secret: Secret) -> Truth:
        if self.projects is None or secret.project_id is None:
            return Reason.SECRET_UNKNOWN
        return self.projects.holds(secret.project_id, None, self.directory)

    def _created(self, secret: Secret, creators: tuple[UserTest, ...]) -> Truth:
        if secret.creator_id is None:
            return Reason.SECRET_UNKNOWN
        creator = Initiator(user_id=secret.creator_id, project_id=secret.project_id)
        return users_hold(creators, creator, self.directory)


def group_test(index: int, group: SecretGroup, directory: Directory) -> GroupTest:
    """Compile a secret group."""
    return GroupTest(
        index=index,
        name=group.name,
        ids=_frozen(group.ids),
        names=None if group.names is None else patterns(group.names),
        types=_frozen(group.types),
        projects=None if group.projects is None else project_test(group.projects, directory),
        creators=None if group.creators is None else tuple(user_test(c, directory) for c in group.creators),
        containers=_frozen(group.containers),
        directory=directory,
    )


def _frozen(values: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)
