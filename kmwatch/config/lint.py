"""What is wrong with a caller map as a whole, and what in it deserves a second look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from kmwatch.config.callers import SELECTING, Allow
from kmwatch.config.maps import MapFile
from kmwatch.config.problems import Level, Problem, place, suggest
from kmwatch.config.source import Where
from kmwatch.core.model import Mode


@dataclass(frozen=True, slots=True)
class Remark:
    """A problem before its file and line are known; `at` is where its line is, if that is not `where`."""

    where: Where
    message: str
    level: Level = Level.WARNING
    at: Where | None = None

    def problem(self, file: MapFile) -> Problem:
        """The problem with its line."""
        line = file.document.line(self.at or self.where)
        return Problem(file.document.file, line, place(self.where), self.message, self.level)


def lint(file: MapFile, today: date | None) -> list[Problem]:
    """All remarks on a map that need no other file.

    Args:
        file: the map, as far as it is valid.
        today: the date in UTC, for expired entries; None leaves those unsaid.
    """
    checks = (_references(file), _repeated(file), _entries(file, today), _covered(file, today), _unused(file))
    remarks = [remark for check in checks for remark in check]
    remarks += [*_names_alone(file), *_later(file)]
    return [remark.problem(file) for remark in remarks]


def _references(file: MapFile) -> Iterator[Remark]:
    """References of every entry as written, valid or not, to every name as written."""
    for section, what in (("callers", "caller"), ("secrets", "secret group")):
        known = file.named(section)
        for index, entry in enumerate(file.entries()):
            names = entry.get(section)
            for number, name in enumerate(names if isinstance(names, list) else []):
                if isinstance(name, str) and name not in known:
                    hint = suggest(name, known) or f"; declare it under {section} or correct the name"
                    where: Where = ("allow", index, section)
                    yield Remark(where, f'no {what} is named "{name}"{hint}', Level.ERROR, (*where, number))


def _repeated(file: MapFile) -> Iterator[Remark]:
    rest = file.rest
    clients = rest.backend.clients if rest.backend is not None else ()
    sections: list[tuple[Where, list[tuple[int, str]]]] = [
        (
            ("allow",),
            [(index, name) for index, e in enumerate(file.entries()) if isinstance(name := e.get("id"), str)],
        ),
        (("decoys",), [(index, decoy.id) for index, decoy in enumerate(rest.decoys)]),
        (("backend", "clients"), [(index, client.id) for index, client in enumerate(clients)]),
        (("maintenance",), [(index, work.id) for index, work in enumerate(rest.maintenance)]),
        (("tests",), [(index, sample.id) for index, sample in file.samples.items()]),
    ]
    for section, ids in sections:
        first: dict[str, int] = {}
        for index, name in ids:
            if first.setdefault(name, index) != index:
                message = f'the id "{name}" is taken by {place((*section, first[name]))}; give each its own'
                yield Remark((*section, index, "id"), message, Level.ERROR)


def _entries(file: MapFile, today: date | None) -> Iterator[Remark]:
    for index, entry in file.allow.items():
        if entry.secrets is None:
            yield Remark(("allow", index), "allows every secret; name secret groups, or write secrets: any to say so")
        if today is not None and _expired(entry, today):
            message = f"expired after {entry.expires}; remove the entry or set a later date"
            yield Remark(("allow", index, "expires"), message)
        for field in ("callers", "secrets", "actions"):
            values = getattr(entry, field)
            twice = [value for value, n in Counter(values if isinstance(values, tuple) else ()).items() if n > 1]
            if twice:
                yield Remark(("allow", index, field), f'"{twice[0]}" is listed twice; remove one')


def _expired(entry: Allow, today: date | None) -> bool:
    return today is not None and entry.expires is not None and entry.expires < today


def _covered(file: MapFile, today: date | None) -> Iterator[Remark]:
    """Entries that an earlier one makes idle."""
    earlier: list[tuple[int, Allow]] = []
    for index, entry in file.allow.items():
        if entry.mode is Mode.OFF:
            continue
        for number, other in earlier:
            if not _expired(other, today) and _covers(other, entry):
                message = f'allows nothing beyond "{other.id}" (allow[{number}]); remove one of the two'
                yield Remark(("allow", index), message)
                break
        earlier.append((index, entry))


def _covers(other: Allow, entry: Allow) -> bool:
    return (
        set(entry.callers) <= set(other.callers)
        and set(entry.actions) <= set(other.actions)
        and _wider(other.secrets, entry.secrets)
        and other.hours in (None, entry.hours)
        and other.rate in (None, entry.rate)
        and (other.expires is None or (entry.expires is not None and entry.expires <= other.expires))
    )


def _wider(other: str | tuple[str, ...] | None, entry: str | tuple[str, ...] | None) -> bool:
    if isinstance(other, tuple) and isinstance(entry, tuple):
        return set(entry) <= set(other)
    return other in (None, "any", entry)


def _unused(file: MapFile) -> Iterator[Remark]:
    callers = {name for entry in file.allow.values() for name in entry.callers}
    groups = {name for entry in file.allow.values() if isinstance(entry.secrets, tuple) for name in entry.secrets}
    for section, used, written in (("callers", callers, file.callers), ("secrets", groups, file.groups)):
        for name in written:
            if name not in used:
                yield Remark((section, name), "no allow entry uses it; use it or remove it")


def _names_alone(file: MapFile) -> Iterator[Remark]:
    for name, group in file.groups.items():
        if group.names is not None and all(getattr(group, key) is None for key in SELECTING if key != "names"):
            yield Remark(
                ("secrets", name),
                "rests on names alone, and whoever creates a secret chooses its name;"
                " add types, projects, creators or containers",
            )


def _later(file: MapFile) -> Iterator[Remark]:
    rest = file.rest
    sections = (("backend", rest.backend), ("host", rest.host), ("maintenance", rest.maintenance or None))
    for section, content in sections:
        if content is not None:
            yield Remark((section,), "is checked but not used by this release; it may stay")
