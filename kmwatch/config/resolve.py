"""A caller map held against identities and inventory: names nobody bears, secrets that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from kmwatch.config.callers import Project, User
from kmwatch.config.lint import Remark
from kmwatch.config.maps import MapFile
from kmwatch.config.problems import Level, Problem, suggest
from kmwatch.config.source import Where
from kmwatch.core.directory import Directory, Identities
from kmwatch.core.model import Secret

_SHOWN_ONLY = "requests are matched by the name their log shows"


def unresolved(file: MapFile, identities: Identities | None, inventory: tuple[Secret, ...] | None) -> list[Problem]:
    """Remarks on what the map names and the two snapshots do not know; None where one is not configured."""
    remarks = list(_names(file, identities))
    remarks.extend(_undecidable(file) if not inventory else _secrets(file, inventory))
    return [remark.problem(file) for remark in remarks]


def _names(file: MapFile, identities: Identities | None) -> Iterator[Remark]:
    directory = Directory(identities or Identities())
    for where, selector in _selectors(file):
        if selector.name is None and (not isinstance(selector, User) or selector.project is None):
            continue
        if identities is None:
            yield Remark(where, f"no identities are configured, so {_SHOWN_ONLY}; configure identities or use ids")
        elif isinstance(selector, User):
            yield from _user(where, selector, directory)
        else:
            yield from _project(where, selector.name or "", selector.domain, directory)


def _selectors(file: MapFile) -> Iterator[tuple[Where, User | Project]]:
    for name, caller in file.callers.items():
        users = caller.users if isinstance(caller.users, tuple) else ()
        yield from ((("callers", name, "users", index), user) for index, user in enumerate(users))
        yield from ((("callers", name, "projects", i), p) for i, p in enumerate(caller.projects or ()))
    for name, group in file.groups.items():
        yield from ((("secrets", name, "creators", i), user) for i, user in enumerate(group.creators or ()))
        yield from ((("secrets", name, "projects", i), p) for i, p in enumerate(group.projects or ()))


def _user(where: Where, user: User, directory: Directory) -> Iterator[Remark]:
    if user.name is not None:
        found = directory.user_ids(user.name, user.domain)
        yield from _found("user", where, user.name, user.domain, found, directory.user_names())
    if user.project is not None and not directory.knows_project(user.project):
        in_any = directory.project_ids(user.project)
        in_domain = directory.project_ids(user.project, user.domain)
        found = in_domain if len(in_any) > 1 else in_any
        yield from _found("project", where, user.project, None, found, directory.project_names())


def _project(where: Where, name: str, domain: str | None, directory: Directory) -> Iterator[Remark]:
    found = directory.project_ids(name, domain)
    yield from _found("project", where, name, domain, found, directory.project_names())


def _found(
    what: str, where: Where, name: str, domain: str | None, found: tuple[str, ...], known: list[str]
) -> Iterator[Remark]:
    if len(found) > 1:
        yield Remark(where, f'several {what}s are named "{name}"; add domain, or use id', Level.ERROR)
    elif not found:
        within = f' in the domain "{domain}"' if domain is not None else ""
        hint = suggest(name, [word for word in known if word != name])
        message = f'identities know no {what} "{name}"{within}, so {_SHOWN_ONLY}; add it there or use id'
        yield Remark(where, message + hint)


def _undecidable(file: MapFile) -> Iterator[Remark]:
    """Without an inventory nothing is known of a secret but its id, and reads under such groups stay undecided."""
    for name, group in file.groups.items():
        if not group.ids:
            message = "no inventory is configured, or it is empty, so only ids can be told; configure inventory"
            yield Remark(("secrets", name), message)


def _secrets(file: MapFile, inventory: tuple[Secret, ...]) -> Iterator[Remark]:
    secrets = {secret.id for secret in inventory}
    for name, group in file.groups.items():
        for index, secret_id in enumerate(group.ids or ()):
            if secret_id not in secrets:
                yield Remark(("secrets", name, "ids", index), "the inventory has no such secret; correct or remove it")
    for index, decoy in enumerate(file.rest.decoys):
        if decoy.id not in secrets:
            yield Remark(("decoys", index, "id"), "the inventory has no such secret; correct or remove it")
