"""The caller map as written, free of any file format: what kmwatch.config hands to the core."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.behind import Behind
from kmwatch.core.model import Kind, Micros, Mode, Rate

ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)


class UserSelector(Struct, frozen=True, gc=False):
    """A user by `id`, or by `name` with the domain it lives in; `project` is what its token is scoped to."""

    id: str | None = None
    name: str | None = None
    project: str | None = None  # name or id
    domain: str | None = None  # name or id


class ProjectSelector(Struct, frozen=True, gc=False):
    """A project by `id`, or by `name` and, where names repeat, domain."""

    id: str | None = None
    name: str | None = None
    domain: str | None = None


class CallerEntry(Struct, frozen=True):
    """One declared caller. None means the key is absent, and then it does not restrict."""

    name: str
    users: tuple[UserSelector, ...] | None = None
    creator: bool = False  # `users: creator` or `on-behalf-of-creator`
    projects: tuple[ProjectSelector, ...] | None = None
    roles: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None  # CIDR, host bits clear
    agents: tuple[str, ...] | None = None  # fnmatch, whole string, case-sensitive
    tags: tuple[str, ...] = ()  # what it is known to do: "backup" lists and reads in bulk


class SecretGroup(Struct, frozen=True):
    """A named selection of secrets. None means the key is absent, and then it does not restrict."""

    name: str
    ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None  # fnmatch, whole string, case-sensitive
    types: tuple[str, ...] | None = None
    projects: tuple[ProjectSelector, ...] | None = None
    creators: tuple[UserSelector, ...] | None = None
    containers: tuple[str, ...] | None = None


class Hours(Struct, frozen=True):
    """Working hours: [start, end) in minutes of the day in a time zone; start > end runs over midnight.

    A shift over midnight belongs to the day on which it starts.
    """

    days: tuple[int, ...] = ALL_DAYS  # Monday is 0
    start: int = 0
    end: int = 1440
    timezone: str = "UTC"


class AllowEntry(Struct, frozen=True):
    """One declaration: these callers may do these things with these secrets."""

    id: str
    callers: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # names of secret groups; None: any secret
    created_by_caller: bool = False  # `secrets: created-by-caller`; groups is None then
    actions: tuple[Kind, ...] = (Kind.RETRIEVAL,)
    hours: Hours | None = None
    rate: Rate | None = None
    expires: Micros | None = None  # the first moment at which it no longer holds
    legacy: bool = False  # payloads may be taken by the deprecated way
    mode: Mode = Mode.ENFORCE  # shadow: findings that rest on it are recorded, not sent; off: as if not written


class Decoy(Struct, frozen=True, gc=False):
    """A secret nobody has a reason to touch."""

    id: str
    label: str


class CallerMap(Struct, frozen=True):
    """The whole map, in file order."""

    callers: tuple[CallerEntry, ...] = ()
    groups: tuple[SecretGroup, ...] = ()
    allow: tuple[AllowEntry, ...] = ()
    decoys: tuple[Decoy, ...] = ()
    behind: Behind = Behind()
