"""The identities file: who is who in Keystone. JSON, written by an exporter or by hand.

The simplest form maps names to ids:

    {"domain": {"id": "default", "name": "Default"},
     "users": {"octavia": "d317..."},
     "projects": {"service": "35c1..."}}

A user or project may instead be an object with `id` and optionally `name`, `domain_id`, `domain_name`; a user also
`roles` (names) with the `project_id` in which it holds them. Both
sections may be lists of such objects: the way to write down two users of one name. `domain` is the domain of
whoever names none; `domains` {name: id} gives names to domain ids. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kmwatch.config.jsonlines import json_lines
from kmwatch.config.problems import Problem, place
from kmwatch.config.source import Document, Plain, Where, read_text
from kmwatch.core.directory import Assignment, Identities, Project, User

_LARGEST = 64 << 20
_DOMAIN_ID, _DOMAIN_NAME = "domain_id", "domain_name"


def load_identities(path: Path, shown: str, problems: list[Problem]) -> Identities:
    """Read the identities file; whatever is broken in it becomes a problem and is left out."""
    text = read_text(path, shown, problems, _LARGEST)
    if text is None:
        return Identities()
    duplicates: list[str] = []

    def unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        found = dict(pairs)
        if len(found) < len(pairs):
            duplicates.append("")
        return found

    try:
        value: Plain = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        problems.append(Problem(shown, error.lineno, "", f"is not valid JSON: {error.msg}; correct it here"))
        return Identities()
    except RecursionError:
        problems.append(Problem(shown, 1, "", "is nested too deep; flatten it"))
        return Identities()
    reader = _Reader(Document(shown, value, {}))
    identities = reader.read()
    if reader.broken or duplicates:
        repeated: dict[Where, int] = {}
        lines = Document(shown, value, json_lines(text, repeated))
        for where, line in repeated.items():
            problems.append(Problem(shown, line, place(where), "this key is there twice; keep one of the two"))
        problems.extend(lines.problem(where, message) for where, message in reader.broken)
    return identities


class _Reader:
    """Collects users and projects; `broken` holds the places that could not be read, and why."""

    def __init__(self, document: Document) -> None:
        self._top = document.value
        self.broken: list[tuple[Where, str]] = []
        self._seen: dict[tuple[str, str], Where] = {}

    def read(self) -> Identities:
        if not isinstance(self._top, dict):
            self.broken.append(((), 'must be an object with "users" and "projects"'))
            return Identities()
        if "users" not in self._top and "projects" not in self._top:
            self.broken.append(((), 'has neither "users" nor "projects"; add them'))
        default = self._default_domain(self._top)
        named = self._domain_names(self._top)
        users = [User(*fields) for fields in self._entries("users", default, named)]
        projects = [Project(*fields) for fields in self._entries("projects", default, named)]
        return Identities(tuple(users), tuple(projects), tuple(self._assignments()))

    def _assignments(self) -> Iterator[Assignment]:
        """What roles are told of; a user without any is one of whom none are known."""
        users = self._top.get("users") if isinstance(self._top, dict) else None
        entries = list(users.values()) if isinstance(users, dict) else users if isinstance(users, list) else []
        for entry in entries:
            roles = entry.get("roles") if isinstance(entry, dict) else None
            if isinstance(entry, dict) and isinstance(roles, list):
                found, project = _text(entry.get("id")), _text(entry.get("project_id"))
                if found is not None and project is not None:
                    yield from (Assignment(found, project, role) for role in roles if isinstance(role, str))

    def _default_domain(self, top: dict[str, Plain]) -> tuple[str | None, str | None]:
        domain = top.get("domain")
        if isinstance(domain, str):
            return domain, None
        if isinstance(domain, dict):
            return _text(domain.get("id")), _text(domain.get("name"))
        return None, None

    def _domain_names(self, top: dict[str, Plain]) -> dict[str, str]:
        domains = top.get("domains")
        if not isinstance(domains, dict):
            return {}
        return {found: name for name, entry in domains.items() if (found := _id_of(entry)) is not None}

    def _entries(
        self, section: str, default: tuple[str | None, str | None], named: dict[str, str]
    ) -> Iterator[tuple[str, str, str | None, str | None]]:
        for where, name, entry in self._listed(section):
            fields = {"id": entry} if isinstance(entry, str) else entry
            if not isinstance(fields, dict):
                self.broken.append((where, 'must be an id, or an object with "id"'))
                continue
            found, called = _text(fields.get("id")), _text(fields.get("name")) or name
            if found is None or called is None:
                lacking = "id" if found is None else "name"
                self.broken.append((where, f'has no "{lacking}"; add it as text'))
                continue
            first = self._seen.setdefault((section, found), where)
            if first != where:
                self.broken.append((where, f"has the id of {place(first)}; remove one of the two"))
                continue
            domain_id, domain_name = _text(fields.get(_DOMAIN_ID)), _text(fields.get(_DOMAIN_NAME))
            if domain_id is None and domain_name is None:
                domain_id, domain_name = default
            yield found, called, domain_id, domain_name or named.get(domain_id or "")

    def _listed(self, section: str) -> Iterator[tuple[Where, str | None, Plain]]:
        entries = self._top.get(section, {}) if isinstance(self._top, dict) else {}
        if isinstance(entries, dict):
            for name, entry in entries.items():
                yield (section, name), name, entry
        elif isinstance(entries, list):
            for index, entry in enumerate(entries):
                yield (section, index), None, entry
        else:
            self.broken.append(((section,), "must be an object {name: id} or a list of objects"))


def _text(value: Plain) -> str | None:
    return value if isinstance(value, str) and value else None


def _id_of(entry: Plain) -> str | None:
    return _text(entry.get("id")) if isinstance(entry, dict) else _text(entry)
