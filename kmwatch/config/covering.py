"""Whether one declaration allows all that another one does, by what they mean. Never yes for want of knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network

from kmwatch.config.callers import Allow, Caller, SecretSelector
from kmwatch.config.maps import MapFile

_SPECIAL = frozenset("*?[")


def covers(file: MapFile, other: Allow, entry: Allow) -> bool:
    """Whether `other` allows everything that `entry` does, rates aside where `other` has none."""
    return (
        other.mode is entry.mode
        and set(entry.actions) <= set(other.actions)
        and other.hours in (None, entry.hours)
        and other.rate in (None, entry.rate)
        and (other.legacy or not entry.legacy)
        and (other.expires is None or (entry.expires is not None and entry.expires <= other.expires))
        and all(_any_caller(file, other.callers, name) for name in entry.callers)
        and _secrets(file, other, entry)
    )


def _any_caller(file: MapFile, others: Sequence[str], name: str) -> bool:
    if name in others:
        return True
    caller = file.callers.get(name)
    known = [file.callers[other] for other in others if other in file.callers]
    return caller is not None and any(_caller(other, caller) for other in known)


def _caller(other: Caller, caller: Caller) -> bool:
    if isinstance(other.users, str) or isinstance(caller.users, str):
        if isinstance(other.users, str) != isinstance(caller.users, str):
            return False
    elif not _subset(other.users, caller.users):
        return False
    return (
        _subset(other.projects, caller.projects)
        and _subset(other.roles, caller.roles)
        and _subset(other.agents, caller.agents)
        and _inside(other.networks, caller.networks)
    )


def _secrets(file: MapFile, other: Allow, entry: Allow) -> bool:
    if other.secrets in (None, "any") or other.secrets == entry.secrets:
        return True
    if not isinstance(other.secrets, tuple) or not isinstance(entry.secrets, tuple):
        return False
    wide = [file.groups[name] for name in other.secrets if name in file.groups]
    return all(
        name in other.secrets or (name in file.groups and any(_group(one, file.groups[name]) for one in wide))
        for name in entry.secrets
    )


def _group(other: SecretSelector, group: SecretSelector) -> bool:
    keys = ("ids", "types", "projects", "creators", "containers")
    return _patterns(other.names, group.names) and all(
        _subset(getattr(other, key), getattr(group, key)) for key in keys
    )


def _subset(wide: Sequence[object] | None, narrow: Sequence[object] | None) -> bool:
    """Whether a key of the one restricts no more than the other's; an absent key restricts nothing."""
    return wide is None or (narrow is not None and all(item in wide for item in narrow))


def _patterns(wide: Sequence[str] | None, narrow: Sequence[str] | None) -> bool:
    return wide is None or (narrow is not None and all(any(_fits(w, one) for w in wide) for one in narrow))


def _fits(wide: str, narrow: str) -> bool:
    """Whether every name of a pattern is one of the other's: equal, or a plain name, or a longer prefix."""
    if wide == narrow:
        return True
    if not _SPECIAL & set(narrow):
        return fnmatchcase(narrow, wide)
    prefix = wide[:-1]
    return wide.endswith("*") and not _SPECIAL & set(prefix) and narrow.startswith(prefix)


def _inside(wide: Sequence[str] | None, narrow: Sequence[str] | None) -> bool:
    if wide is None:
        return True
    return narrow is not None and all(any(_within(ip_network(one), ip_network(w)) for w in wide) for one in narrow)


def _within(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(one, IPv4Network) and isinstance(other, IPv4Network):
        return one.subnet_of(other)
    return isinstance(one, IPv6Network) and isinstance(other, IPv6Network) and one.subnet_of(other)
