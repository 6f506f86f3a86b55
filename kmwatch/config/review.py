"""What in a valid caller map deserves a second look: told by `check`, and by nobody else.

`lint` says what is wrong in itself, whenever a map is loaded. This looks at what a map means: with the inventory, with
the witnesses there are, and with the calendar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from ipaddress import ip_network

from kmwatch.config.callers import Allow
from kmwatch.config.covering import covers
from kmwatch.config.lint import Remark
from kmwatch.config.maps import MapFile, compiled
from kmwatch.config.problems import Problem, listed, place
from kmwatch.config.settings import Settings
from kmwatch.core.declaration import Declarations
from kmwatch.core.model import Kind, Secret
from kmwatch.core.subject import Subject

_SOON = timedelta(days=30)
_WIDE = {4: 16, 6: 48}  # bits of prefix: wider than a site
_LARGE = 20  # secrets: fewer say nothing about shares
_MOST = 0.5
_SHOWN = 3


def review(
    file: MapFile, settings: Settings, declarations: Declarations, inventory: Mapping[str, Secret], today: date
) -> list[Problem]:
    """Warnings about a valid map.

    Args:
        file: the map as written.
        settings: the configuration around it.
        declarations: the map compiled, with identities and inventory.
        inventory: the secrets, by id.
        today: the date in UTC.
    """
    live = {key: secret for key, secret in inventory.items() if not secret.deleted}
    remarks = [
        *_expiring(file, today),
        *_shadowed(file, today),
        *_idle_rates(file),
        *_networks(file, settings),
        *_chosen_by_creators(file),
        *_callers_at_odds(file),
        *_groups(file, declarations, live),
        *_decoys(file, declarations, inventory),
    ]
    return [remark.problem(file) for remark in remarks]


def _expiring(file: MapFile, today: date) -> Iterator[Remark]:
    for index, entry in file.allow.items():
        if entry.expires is not None and today <= entry.expires <= today + _SOON:
            days = (entry.expires - today).days
            when = "today" if days == 0 else f"in {days} day{'s' if days > 1 else ''}"
            yield Remark(("allow", index, "expires"), f"expires {when}, after {entry.expires}; renew it or let it go")


def _shadowed(file: MapFile, today: date) -> Iterator[Remark]:
    """Entries of which another one allows everything by what it means, if not by the names it uses."""
    entries = [(index, entry) for index, entry in file.allow.items() if not _over(entry, today)]
    for index, entry in entries:
        for number, other in entries:
            if number == index or (covers(file, entry, other) and number > index):
                continue  # of two that allow the same, the later one is told of
            if covers(file, other, entry) and not _said(other, entry):
                message = f'"{other.id}" ({place(("allow", number))}) allows all of it already; remove one of the two'
                yield Remark(("allow", index), message)
                break


def _said(other: Allow, entry: Allow) -> bool:
    """Whether `lint` has said so: the same names, or more of them."""
    groups = (other.secrets, entry.secrets)
    return set(entry.callers) <= set(other.callers) and (
        groups[0] in (None, "any", groups[1])
        or (isinstance(groups[0], tuple) and isinstance(groups[1], tuple) and set(groups[1]) <= set(groups[0]))
    )


def _over(entry: Allow, today: date) -> bool:
    return entry.expires is not None and entry.expires < today


def _idle_rates(file: MapFile) -> Iterator[Remark]:
    """A cap that another entry lifts is a contradiction: one of the two was not meant."""
    for index, entry in file.allow.items():
        for number, other in file.allow.items():
            if entry.rate is not None and other.rate is None and number != index and covers(file, other, entry):
                message = f'has no effect: "{other.id}" ({place(("allow", number))}) allows the same without a rate'
                yield Remark(("allow", index, "rate"), message)
                break


def _networks(file: MapFile, settings: Settings) -> Iterator[Remark]:
    witnesses = settings.witnesses
    forgeable = witnesses.proxy_log == "absent" and witnesses.access_log == "absent"
    management = [ip_network(network) for network in settings.network.management]
    told = [name for name, caller in file.callers.items() if caller.networks]
    if told and forgeable:
        message = (
            f"{_some(told)} rest on addresses that a client can forge (X-Forwarded-For): neither proxy_log nor"
            " access_log is a witness; add one under witnesses"
        )
        yield Remark(("callers",), message)
    for name, caller in file.callers.items():
        for index, text in enumerate(caller.networks or ()):
            network, where = ip_network(text), ("callers", name, "networks", index)
            if network.prefixlen < _WIDE[network.version]:
                yield Remark(where, f"{text} is wider than a site; list the networks this caller really has")
            if management and not any(network.version == m.version and network.overlaps(m) for m in management):
                yield Remark(where, f"{text} lies outside network.management: every request from it is KMW-024")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"the networks of {listed(names[:_SHOWN])}{more}"


def _chosen_by_creators(file: MapFile) -> Iterator[Remark]:
    for name, group in file.groups.items():
        others = (group.ids, group.projects, group.creators, group.containers)
        if group.types is not None and all(key is None for key in others):
            what = "names and types" if group.names is not None else "types"
            message = f"rests on {what}, which whoever creates a secret chooses; add projects, creators or containers"
            yield Remark(("secrets", name), message)
        for index, pattern in enumerate(group.names or ()):
            if not pattern.strip("*?"):
                yield Remark(("secrets", name, "names", index), "fits every name; say which, or remove names")


def _callers_at_odds(file: MapFile) -> Iterator[Remark]:
    """Callers that nobody can be, because two of their keys exclude each other."""
    for name, caller in file.callers.items():
        allowed = {key for project in caller.projects or () for key in (project.id, project.name)} - {None}
        users = caller.users if isinstance(caller.users, tuple) else ()
        asked = [user.project for user in users if user.project is not None]
        if allowed and asked and len(asked) == len(users) and not allowed & set(asked):
            message = f"nobody can be this caller: its users act in {listed(asked)}, and projects asks for another"
            yield Remark(("callers", name), message)


def _groups(file: MapFile, declarations: Declarations, live: Mapping[str, Secret]) -> Iterator[Remark]:
    if not live:
        return
    subjects = [Subject("secret", ((key, secret),)) for key, secret in live.items()]
    for group in declarations.groups():
        held = sum(subject.within((group,)) is True for subject in subjects)
        where = ("secrets", group.name)
        if held == 0:
            yield Remark(where, "selects no secret that the inventory has; correct it, or remove it if they are gone")
        elif len(live) >= _LARGE and held > len(live) * _MOST and _reads(file, group.name):
            share = f"{held} of {len(live)} secrets"
            yield Remark(where, f"selects {share}, more than half of all there are; split it by caller and purpose")


def _reads(file: MapFile, group: str) -> bool:
    return any(
        Kind.RETRIEVAL in entry.actions and isinstance(entry.secrets, tuple) and group in entry.secrets
        for entry in file.allow.values()
    )


def _decoys(file: MapFile, declarations: Declarations, inventory: Mapping[str, Secret]) -> Iterator[Remark]:
    """Decoys that somebody is allowed to read: the alert comes all the same, and one of the two was not meant."""
    compiled_map = compiled(file)
    for index, decoy in enumerate(file.rest.decoys):
        subject = Subject("secret", ((decoy.id, inventory.get(decoy.id)),))
        fits = {group.name for group in declarations.groups() if subject.within((group,)) is True}
        allowing = [
            entry.id
            for entry in compiled_map.allow
            if Kind.RETRIEVAL in entry.actions and fits & set(entry.groups or ())
        ]
        if allowing:
            message = (
                f"nobody has a reason to touch it, and {listed(allowing[:_SHOWN])} allows it; take it out of the group"
            )
            yield Remark(("decoys", index), message)
