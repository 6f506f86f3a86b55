"""Sources of records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kmwatch.config.base import Model
from kmwatch.config.security import Security
from kmwatch.config.times import ZoneName
from kmwatch.config.values import Duration, Glob, HostPort, Id

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]

Form = Literal[
    "cadf",
    "oslo_json",
    "kolla",
    "oslo_text",
    "uwsgi",
    "haproxy",
    "combined",
    "combined_proxy",
    "auditd",
    "laurel",
    "vault",
    "pkcs11",
    "cloudhsm",
    "hsm",
]


class Kafka(Model):
    """Topics of a Kafka cluster."""

    bootstrap: Annotated[tuple[HostPort, ...], Field(min_length=1)]
    """Brokers to start from, host:port each."""
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]
    """Topics to read."""
    group: Id = "kmwatch"
    """The consumer group."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where to begin where the group has no offset yet."""
    security: Security = Security()
    """How to talk to the brokers."""
    session_timeout: Duration = Field(default="45s", validate_default=True)
    """After how long without a heartbeat the group takes its partitions away."""


class Files(Model):
    """Files of records."""

    paths: Annotated[tuple[Glob, ...], Field(min_length=1)]
    """Files or patterns; "-" is standard input."""
    follow: bool = False
    """Keep reading what is appended."""


class Source(Model):
    """One source: exactly one of its kinds."""

    kafka: Kafka | None = None
    """Topics of a Kafka cluster."""
    file: Files | None = None
    """Files of records, or standard input."""
    form: Form | None = None
    """The one form of its records, shippers' envelopes apart; without it, each record tells its own."""
    zone: ZoneName = "UTC"
    """IANA name of the time zone in which its lines are written, where they name none."""

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.kafka is None) == (self.file is None):
            raise ValueError("a source is exactly one of: kafka, file; keep one of them")
        return self
