"""Tests of a caller map, written beside it: sample requests, and the verdict each must get.

They are data, not code: a reviewer reads what the map is meant to say, and `check` holds it to that.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.behind import Moment
from kmwatch.config.values import Id, Text, choice
from kmwatch.core.model import Kind, Reason

_RATE = Reason.RATE  # needs more than one request


def _reason(value: object) -> Reason:
    return Reason(choice(value, [reason.value for reason in Reason if reason is not _RATE]))


def _kind(value: object) -> Kind:
    return Kind(choice(value, [kind.value for kind in Kind]))


Expected = Annotated[
    Reason,
    BeforeValidator(_reason),
    WithJsonSchema({"enum": [reason.value for reason in Reason if reason is not _RATE]}),
]
Action = Annotated[Kind, BeforeValidator(_kind), WithJsonSchema({"enum": [kind.value for kind in Kind]})]


class SampleUser(Model):
    """Who asks in a test: by id, or by a name that identities know."""

    id: Id | None = None
    """Keystone id."""
    name: Id | None = None
    """Name."""
    domain: Id | None = None
    """Name or id of the domain, where names repeat."""

    @model_validator(mode="after")
    def _somebody(self) -> SampleUser:
        if (self.id is None) == (self.name is None):
            raise ValueError("a user is named by id or by name; give exactly one of them")
        return self


class SampleSecret(Model):
    """What is asked for: a secret of the inventory by id, or one made up of what it is like."""

    id: Id | None = None
    """Id of a secret; of the inventory's, if it has one and nothing else is given."""
    name: Text | None = None
    """Its name."""
    type: Id | None = None
    """Its type."""
    project: Id | None = None
    """Name or id of the project that owns it."""
    creator: SampleUser | None = None
    """Who created it."""
    containers: tuple[Id, ...] = ()
    """Ids of containers it is in."""

    @model_validator(mode="after")
    def _something(self) -> SampleSecret:
        if self.id is None and self.name is None and self.type is None and self.project is None and not self.creator:
            raise ValueError("tells nothing of the secret; give an id, or name, type, project or creator")
        return self


class Sample(Model):
    """One test."""

    id: Id
    """Its name; unique."""
    user: SampleUser
    """Who asks."""
    project: Id | None = None
    """Name or id of the project its token is scoped to."""
    roles: tuple[Id, ...] = ()
    """Roles that the log shows."""
    address: Id | None = None
    """From where."""
    agent: Text | None = None
    """With what."""
    action: Action = Kind.RETRIEVAL
    """Kind of request."""
    at: Moment | None = None
    """When, in UTC; noon of the day on which `check` runs if absent."""
    secret: SampleSecret
    """For what."""
    expect: Expected
    """The verdict's reason: declared, no_declaration, network, agent, hours, action, expired, secret_unknown ..."""
    by: Annotated[Id, Field(description="The allow entry that must be the one to explain it.")] | None = None
    """The allow entry that must be the one to explain it, or whose constraint must break."""
