"""Identities as the OpenStack client prints them, or as Keystone's API gives them.

    openstack user list --long -f json > users.json          openstack project list --long -f json > projects.json
    openstack role assignment list --names -f json > roles.json

Each file is a JSON list of objects with titled columns. An assignment by `--names` says "name@domain".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from kmwatch.config.problems import Problem
from kmwatch.config.source import read_text
from kmwatch.core.directory import Assignment, Identities, Project, User

_LARGEST = 64 << 20

Row = Mapping[str, object]


def load_lists(users: Path, projects: Path | None, roles: Path | None, problems: list[Problem]) -> Identities:
    """Read the client's lists; what is broken in them becomes a problem and is left out."""
    found_users = [User(*entry) for entry in _entries(users, "user", problems)]
    found_projects = [Project(*entry) for entry in _entries(projects, "project", problems)]
    user_ids = _names([(user.id, user.name, user.domain_id) for user in found_users])
    project_ids = _names([(project.id, project.name, project.domain_id) for project in found_projects])
    assignments = []
    for number, row in _rows(roles, problems):
        role, user, project = (row.get(column) for column in ("Role", "User", "Project"))
        if not isinstance(role, str) or not role:
            message = (
                f'entry {number} has no "Role"; write what `openstack role assignment list --names -f json` prints'
            )
            problems.append(Problem(str(roles), 1, "", message))
        elif isinstance(user, str) and user and isinstance(project, str) and project:
            name = role.rpartition("@")[0] or role
            assignments.append(Assignment(user_ids.get(user, user), project_ids.get(project, project), name))
    return Identities(tuple(found_users), tuple(found_projects), tuple(assignments))


def _entries(
    path: Path | None, what: str, problems: list[Problem]
) -> Iterator[tuple[str, str, str | None, str | None]]:
    seen: set[str] = set()
    for number, row in _rows(path, problems):
        found, name, domain = row.get("ID"), row.get("Name"), row.get("Domain") or row.get("Domain ID")
        if not isinstance(found, str) or not found or not isinstance(name, str) or not name:
            message = f'entry {number} has no "ID" and "Name"; write what `openstack {what} list --long -f json` prints'
            problems.append(Problem(str(path), 1, "", message))
        elif found in seen:
            problems.append(Problem(str(path), 1, "", f"entry {number} has an id that is there before; remove it"))
        else:
            seen.add(found)
            yield found, name, domain if isinstance(domain, str) and domain else None, None


def _rows(path: Path | None, problems: list[Problem]) -> Iterator[tuple[int, Row]]:
    text = None if path is None else read_text(path, str(path), problems, _LARGEST)
    if text is None:
        return
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        problems.append(Problem(str(path), error.lineno, "", f"is not valid JSON: {error.msg}; export it again"))
        return
    except RecursionError:
        rows = None
    if not isinstance(rows, list):
        problems.append(Problem(str(path), 1, "", "is no list; write what `openstack ... list -f json` prints"))
        return
    for number, row in enumerate(rows, 1):
        yield number, row if isinstance(row, dict) else {}


def _names(entries: list[tuple[str, str, str | None]]) -> dict[str, str]:
    """Ids by "name@domain", and by the name alone where nobody else bears it."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for entry, name, domain in entries:
        found[f"{name}@{domain}"] = entry
        for word in (name, f"{name}@Default") if domain in {"default", None} else (name,):
            if found.setdefault(word, entry) != entry:
                shared.add(word)
    return {name: entry for name, entry in found.items() if name not in shared}
