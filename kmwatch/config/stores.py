"""Where state is kept, as the configuration file says it."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kmwatch.config.base import Model
from kmwatch.config.values import ConfigPath, Credential, Duration, Text
from kmwatch.core.model import SECOND

_OWN_KEYS = frozenset({"password", "sslmode", "sslrootcert", "sslcert", "sslkey", "options", "service"})
_SHORTEST, _LONGEST = 2 * SECOND, 120 * SECOND


class Sqlite(Model):
    """State, outbox and offsets in an SQLite file."""

    path: ConfigPath
    """Path of the database file."""


def _postgres_url(value: str) -> str:
    """No message may repeat it: somebody may have written a password into it."""
    try:
        parts = urlsplit(value)
        password = parts.password
        given = {key for key, _ in parse_qsl(parts.query, keep_blank_values=True)}
    except ValueError:
        raise ValueError("is no URL; write postgresql://user@host:5432/database") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("is no address of PostgreSQL; write postgresql://user@host:5432/database")
    if password is not None:
        raise ValueError("holds a password; write it under store.postgres.password, as ${NAME} or file:PATH")
    if given & _OWN_KEYS:
        names = ", ".join(sorted(given & _OWN_KEYS))
        raise ValueError(f"sets {names}; remove it, the keys of store.postgres set what it would")
    return value


def _lease(micros: int) -> int:
    if not _SHORTEST <= micros <= _LONGEST:
        raise ValueError("must be from 2s to 120s")
    return micros


class Postgres(Model):
    """State, outbox and offsets in a PostgreSQL database, for two or more instances of which one is active."""

    url: Annotated[Text, AfterValidator(_postgres_url)]
    """postgresql://user@host:5432/database. Several hosts, comma-separated: the one that may be written is used."""
    password: Credential | None = None
    """The role's password."""
    schema_name: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = Field(
        default="kmwatch", alias="schema"
    )
    """The schema that holds the tables."""
    tls: Literal["verify-full", "verify-ca", "require", "disable"] = "verify-full"
    """How the server is held to its certificate; a Unix socket uses none."""
    ca: ConfigPath | None = None
    """The authorities that may sign the server's certificate, PEM; by default the system's."""
    cert: ConfigPath | None = None
    """The client's certificate, PEM."""
    key: ConfigPath | None = None
    """Its key, PEM, readable by its owner alone."""
    lease: Annotated[Duration, AfterValidator(_lease)] = Field(default="6s", validate_default=True)
    """After how long without a word the active instance is replaced."""

    @model_validator(mode="after")
    def _consistent(self) -> Postgres:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        if self.tls == "disable" and (self.ca is not None or self.cert is not None):
            raise ValueError("tls: disable uses no ca, cert or key; remove them or the line")
        return self


class Store(Model):
    """Where state is kept: exactly one of its kinds."""

    sqlite: Sqlite | None = None
    """An SQLite file, for one machine."""
    postgres: Postgres | None = None
    """A PostgreSQL database, for instances on several machines."""

    @model_validator(mode="after")
    def _one_kind(self) -> Store:
        if (self.sqlite is None) == (self.postgres is None):
            raise ValueError("a store is exactly one of: sqlite, postgres; keep one of them")
        return self
