"""The caller map's sections about what stands behind the API: checked by this release, not used yet."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.values import Cidr, Id, Text

_Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


class Client(Model):
    """A client of the HSM or the store: a process or machine by names and hosts, a Vault client by role."""

    id: Id
    """Its name; unique."""
    names: _Texts | None = None
    """Process or label names, as the backend logs them."""
    hosts: _Texts | None = None
    """Hosts it runs on."""
    login: bool = True
    """Whether it may log in."""
    roles: _Texts | None = None
    """Vault roles."""
    addresses: Annotated[tuple[Cidr, ...], Field(min_length=1)] | None = None
    """Networks it comes from."""
    mounts: _Texts | None = None
    """Vault mounts it may use."""

    @model_validator(mode="after")
    def _somebody(self) -> Client:
        if all(key is None for key in (self.names, self.hosts, self.roles, self.addresses)):
            raise ValueError("fits any client; name names, hosts, roles or addresses")
        return self


class Backend(Model):
    """Who may talk to the HSM or the store behind the Key Manager."""

    clients: tuple[Client, ...] = ()
    """Its declared clients."""


class Process(Model):
    """A process on the host, by the user it runs as, the login it came from, and its executable."""

    user: Id | None = None
    """The user it runs as."""
    login: Id | None = None
    """The user who logged in; `unset` for a service."""
    exe: Text | None = None
    """Pattern of the executable's path."""

    @model_validator(mode="after")
    def _somebody(self) -> Process:
        if self.user is None and self.login is None and self.exe is None:
            raise ValueError("fits any process; name user, login or exe")
        return self


class Host(Model):
    """Who may touch the Key Manager's own files."""

    key_files: tuple[Text, ...] = ()
    """Patterns of master key files."""
    config: tuple[Text, ...] = ()
    """Patterns of configuration files."""
    databases: tuple[Text, ...] = ()
    """Patterns of database files."""
    readers: tuple[Process, ...] = ()
    """Who may open key files and databases."""
    editors: tuple[Process, ...] = ()
    """Who may change configuration, and key files within a maintenance window."""


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() != timedelta(0):
        raise ValueError("is no moment in UTC; write one such as 2026-11-24T00:07:11Z")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class Maintenance(Model):
    """Announced work."""

    id: Id
    """Its name; unique."""
    start: Moment = Field(alias="from")
    """Its first moment, in UTC."""
    end: Moment = Field(alias="to")
    """Its last moment, in UTC."""
    clients: _Texts | None = None
    """Backend clients at work."""
    users: _Texts | None = None
    """Login users at work on the host."""
    ticket: Text | None = None
    """Where it was agreed."""
    owner: Text | None = None
    """Who answers for it."""

    @model_validator(mode="after")
    def _forward(self) -> Maintenance:
        if self.end <= self.start:
            raise ValueError("ends before it begins; swap from and to")
        return self
