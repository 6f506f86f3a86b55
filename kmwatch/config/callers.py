"""The caller map as a security engineer writes it (docs/reference/caller-map.md; config/callers.schema.json).

The grammar is kept once released: keys may be added, never renamed.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from kmwatch.config.base import Model
from kmwatch.config.behind import Backend, Host, Maintenance
from kmwatch.config.problems import listed, suggest
from kmwatch.config.times import Expiry, Hours, RateText
from kmwatch.config.values import Cidr, Id, ModeName, Text, choice
from kmwatch.core.model import Kind, Mode

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A caller, a secret group or an allow entry: it becomes a metric label."""


class User(Model):
    """A user by id, or by name and, where names repeat, domain; project is what its token is scoped to."""

    id: Id | None = None
    """Keystone id."""
    name: Id | None = None
    """Name, unique within its domain only."""
    project: Id | None = None
    """Name or id of the project its token is scoped to."""
    domain: Id | None = None
    """Name or id of the domain it lives in."""

    @model_validator(mode="after")
    def _one_way(self) -> User:
        if (self.id is None) == (self.name is None):
            raise ValueError("a user is selected by id or by name; give exactly one of them")
        if self.id is not None and self.domain is not None:
            raise ValueError("an id is unique without its domain; remove domain")
        return self


class Project(Model):
    """A project by id, or by name with, where names repeat, its domain."""

    id: Id | None = None
    """Keystone id."""
    name: Id | None = None
    """Name, unique within its domain only."""
    domain: Id | None = None
    """Name or id of the domain it lives in."""

    @model_validator(mode="after")
    def _one_way(self) -> Project:
        if (self.id is None) == (self.name is None):
            raise ValueError("a project is selected by id or by name; give exactly one of them")
        if self.id is not None and self.domain is not None:
            raise ValueError("an id is unique without its domain; remove domain")
        return self


CREATOR = ("creator", "on-behalf-of-creator")


def _word_or_list(value: object) -> str:
    return "word" if isinstance(value, str) else "list"


def _creator(value: object) -> object:
    if value not in CREATOR:
        hint = suggest(str(value), CREATOR)
        raise ValueError(f"must be a list of users, or one of {listed(CREATOR)}{hint}")
    return value


Users = Annotated[
    Annotated[
        Literal["creator", "on-behalf-of-creator"], BeforeValidator(_creator), Tag("word"),
        WithJsonSchema({"enum": list(CREATOR)}),
    ]
    | Annotated[tuple[User, ...], Field(min_length=1), Tag("list")],
    Discriminator(_word_or_list),
]  # fmt: skip


Job = Literal["backup"]


class Caller(Model):
    """Who asks. Keys are ANDed, the values of a list ORed, an absent key means any."""

    owner: Text | None = None
    """Who answers for it."""
    description: Text | None = None
    """What it is."""
    users: Users | None = None
    """Users; or creator, on-behalf-of-creator: whoever created the secret."""
    projects: Annotated[tuple[Project, ...], Field(min_length=1)] | None = None
    """Projects its token is scoped to."""
    roles: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Roles of its token, where a log shows them."""
    networks: Annotated[tuple[Cidr, ...], Field(min_length=1)] | None = None
    """Networks it comes from, in CIDR form."""
    agents: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Patterns of its user agent; a claim of the client."""
    tags: tuple[Job, ...] = ()
    """What it is known to do: backup lists and reads in bulk (KMW-007)."""

    @model_validator(mode="after")
    def _somebody(self) -> Caller:
        if self.users is None and self.projects is None and self.roles is None:
            raise ValueError("fits anybody; name users, projects or roles")
        if self.users == "on-behalf-of-creator" and self.networks is None:
            raise ValueError(
                "on-behalf-of-creator needs networks: its token is the creator's own; list the networks of the service"
            )
        return self


class SecretSelector(Model):
    """Which secrets. Keys are ANDed, the values of a list ORed, an absent key means any."""

    description: Text | None = None
    """What they are."""
    ids: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Secret ids."""
    names: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Patterns (fnmatch, whole name, case-sensitive); whoever creates a secret chooses its name."""
    types: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Secret types: symmetric, public, private, passphrase, certificate, opaque."""
    projects: Annotated[tuple[Project, ...], Field(min_length=1)] | None = None
    """Projects that own them."""
    creators: Annotated[tuple[User, ...], Field(min_length=1)] | None = None
    """Users who created them."""
    containers: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Containers they are in."""

    @model_validator(mode="after")
    def _something(self) -> SecretSelector:
        if all(getattr(self, key) is None for key in SELECTING):
            raise ValueError(f"selects every secret; name at least one of {listed(SELECTING)}, or allow secrets: any")
        return self


SELECTING = ("ids", "names", "types", "projects", "creators", "containers")


def _action(value: object) -> Kind:
    return Kind(choice(value, [kind.value for kind in Kind]))


def _any_secret(value: object) -> object:
    words = ("any", "created-by-caller")
    if value not in words:
        raise ValueError(f"must be a list of secret groups, or one of {listed(words)}{suggest(str(value), words)}")
    return value


Action = Annotated[Kind, BeforeValidator(_action), WithJsonSchema({"enum": [kind.value for kind in Kind]})]
Secrets = Annotated[
    Annotated[
        Literal["any", "created-by-caller"], BeforeValidator(_any_secret), Tag("word"),
        WithJsonSchema({"enum": ["any", "created-by-caller"]}),
    ]
    | Annotated[tuple[Id, ...], Field(min_length=1), Tag("list")],
    Discriminator(_word_or_list),
]  # fmt: skip


class Allow(Model):
    """One declaration: these callers may do this with these secrets.

    With the action acl_change it declares a granter, with delete a clean-up job.
    """

    id: Name
    """Its name in alerts; unique."""
    callers: Annotated[tuple[Id, ...], Field(min_length=1)]
    """Names of callers, any of them."""
    secrets: Secrets | None = None
    """Names of secret groups, any of them; or created-by-caller, or any."""
    actions: Annotated[tuple[Action, ...], Field(min_length=1)] = (Kind.RETRIEVAL,)
    """Kinds of requests."""
    hours: Hours | None = None
    """When."""
    rate: RateText | None = None
    """Distinct secrets per caller and window under this entry, such as 200/5m."""
    expires: Expiry | None = None
    """The last day that counts, in UTC."""
    legacy: bool = False
    """Its callers may take payloads by the deprecated way, GET on the secret itself; give it an end with expires."""
    mode: ModeName = Mode.ENFORCE
    """enforce; shadow: findings that rest on it are recorded, not sent; off: as if it were not written."""
    ticket: Text | None = None
    """Where it was agreed."""
    owner: Text | None = None
    """Who answers for it."""
    reason: Text | None = None
    """Why."""


class Decoy(Model):
    """A secret nobody has a reason to touch."""

    id: Id
    """Secret id."""
    name: Name | None = None
    """What alerts call it, in place of its id."""
    owner: Text | None = None
    """Who answers for it."""
    description: Text | None = None
    """What it is."""


class CallersFile(Model):
    """The caller map. Nothing is allowed that no entry allows."""

    callers: dict[Name, Caller] = Field(default_factory=dict)
    """Who may ask, by name."""
    secrets: dict[Name, SecretSelector] = Field(default_factory=dict)
    """Groups of secrets, by name."""
    allow: tuple[Allow, ...] = ()
    """What is declared."""
    decoys: tuple[Decoy, ...] = ()
    """Secrets nobody has a reason to touch."""
    backend: Backend | None = None
    """Who may talk to the HSM or the store behind the Key Manager."""
    host: Host | None = None
    """Who may touch the Key Manager's own files."""
    maintenance: tuple[Maintenance, ...] = ()
    """Announced work on the backend or the host."""
