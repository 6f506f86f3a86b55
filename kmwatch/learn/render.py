"""A proposed map as text: the grammar of the caller map, one entry a line, what it rests on in comments.

What a stranger chose (names, agents) is escaped twice over: in comments it cannot end the line, in values it is a
quoted scalar. What looks like an attack is shown as a comment, so that a reader sees it and the file does not allow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from kmwatch.config.problems import printable
from kmwatch.core.callermap import AllowEntry, CallerEntry, ProjectSelector, SecretGroup, UserSelector
from kmwatch.core.learn.propose import Entry, Proposal
from kmwatch.core.model import DAY, HOUR, MINUTE, SECOND, Kind, Micros, Rate

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|[0-9.]+/[0-9]+[smhd]?")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_NAMED = 4
_LONGEST = 80
_OPENED = {Kind.RETRIEVAL: "read", Kind.ACL_CHANGE: "grant", Kind.DELETE: "deletion"}

Value = str | bool | Sequence["Value"] | Mapping[str, "Value"]


def render(proposal: Proposal, title: Iterable[str]) -> str:
    """The whole file, valid as it stands; `title` are lines of the comment above it."""
    kept = [entry for entry in proposal.entries if not entry.doubts]
    callers = {name for entry in kept for name in entry.allow.callers}
    groups = {name for entry in kept for name in entry.allow.groups or ()}
    lines = [f"# {printable(line)}" for line in title]
    lines += ["", *_section("callers", [(c.name, caller_of(c)) for c in proposal.callers], callers)]
    lines += ["", *_section("secrets", [(g.name, group_of(g)) for g in proposal.groups], groups)]
    lines += ["", *_allow(proposal.entries)]
    return "\n".join(lines) + "\n"


def entry_line(entry: AllowEntry) -> str:
    """An allow entry on one line."""
    fields: dict[str, Value] = {"id": entry.id, "callers": entry.callers}
    fields["secrets"] = "created-by-caller" if entry.created_by_caller else (entry.groups or "any")
    if entry.actions != (Kind.RETRIEVAL,):
        fields["actions"] = tuple(action.value for action in entry.actions)
    if entry.rate is not None:
        fields["rate"] = paced(entry.rate)
    return f"- {scalar(fields)}"


def paced(rate: Rate) -> str:
    """A rate as the map writes it, in the largest unit that tells it whole."""
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if rate.window % unit == 0:
            return f"{rate.limit}/{rate.window // unit}{letter}"
    return f"{rate.limit}/{rate.window / SECOND:g}s"


def sentence(entry: Entry) -> str:
    """What an entry rests on, in one line."""
    s, what = entry.support, _OPENED.get(entry.allow.actions[0], "request")
    acts = f"{s.acts} {what}{'s' if s.acts != 1 else ''} of {s.secrets} secret{'s' if s.secrets != 1 else ''}"
    said = f"{acts}, {moment(s.first)} to {moment(s.last)}, from {_some(s.addresses)}"
    return said + (f", by {_some(s.agents)}" if s.agents else "")


def remarks(entry: Entry) -> Iterator[str]:
    """What a reviewer should know beside the numbers."""
    yield from entry.remarks
    yield from (f"NOT IN THE MAP, looks like an attack: {doubt}" for doubt in entry.doubts)


def caller_of(caller: CallerEntry) -> Value:
    """A caller's keys."""
    fields: dict[str, Value] = {}
    if caller.creator:
        fields["users"] = "on-behalf-of-creator" if caller.networks else "creator"
    elif caller.users is not None:
        fields["users"] = tuple(_user(user) for user in caller.users)
    if caller.networks is not None:
        fields["networks"] = caller.networks
    return fields


def group_of(group: SecretGroup) -> Value:
    """A secret group's keys."""
    fields: dict[str, Value] = {}
    for key in ("ids", "names", "types"):
        value = getattr(group, key)
        if value is not None:
            fields[key] = value
    if group.projects is not None:
        fields["projects"] = tuple(_project(project) for project in group.projects)
    if group.creators is not None:
        fields["creators"] = tuple(_user(user) for user in group.creators)
    return fields


def scalar(value: Value) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else f'"{"".join(map(_quoted, value))}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {scalar(inner)}" for key, inner in value.items()) + "}"
    return "[" + ", ".join(map(scalar, value)) + "]"


def moment(time: Micros) -> str:
    """RFC 3339 in UTC to the second."""
    try:
        return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time // SECOND} s"


def _section(name: str, items: Sequence[tuple[str, Value]], kept: set[str]) -> Iterator[str]:
    if not any(item in kept for item, _ in items):
        yield f"{name}: {{}}"
    else:
        yield f"{name}:"
    for item, value in items:
        yield f"  {'' if item in kept else '# '}{item}: {scalar(value)}"


def _allow(entries: Sequence[Entry]) -> Iterator[str]:
    yield "allow:" if any(not entry.doubts for entry in entries) else "allow: []"
    for entry in entries:
        yield f"  # {printable(sentence(entry))}"
        yield from (f"  # {printable(remark)}" for remark in remarks(entry))
        yield f"  {'# ' if entry.doubts else ''}{entry_line(entry.allow)}"


def _user(user: UserSelector) -> Value:
    found = {"id": user.id, "name": user.name, "domain": user.domain, "project": user.project}
    return {key: value for key, value in found.items() if value is not None}


def _project(project: ProjectSelector) -> Value:
    found = {"id": project.id, "name": project.name, "domain": project.domain}
    return {key: value for key, value in found.items() if value is not None}


def _quoted(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def _some(values: Sequence[str]) -> str:
    cut = [value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..." for value in values[:_NAMED]]
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return ", ".join(cut) + more
