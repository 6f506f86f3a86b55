"""Sources of records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kmwatch.config.base import Model
from kmwatch.config.times import ZoneName
from kmwatch.config.values import ConfigPath, Credential, Duration, Glob, HostPort, Id

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

_SASL = ("sasl_plaintext", "sasl_ssl")
_TLS = ("ssl", "sasl_ssl")


class Security(Model):
    """How to talk to the brokers."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    """With or without TLS and SASL."""
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """The SASL mechanism."""
    username: Id | None = None
    """The SASL user."""
    password: Credential | None = None
    """Its password: text, ${NAME} or file:PATH."""
    ca: ConfigPath | None = None
    """PEM file of the authorities to trust, in place of the system's."""
    cert: ConfigPath | None = None
    """PEM file of the client's certificate."""
    key: ConfigPath | None = None
    """PEM file of the client's key."""

    @model_validator(mode="after")
    def _consistent(self) -> Security:
        sasl = {"mechanism": self.mechanism, "username": self.username, "password": self.password}
        tls = {"ca": self.ca, "cert": self.cert, "key": self.key}
        if self.protocol in _SASL:
            missing = [key for key, value in sasl.items() if value is None]
            if missing:
                raise ValueError(f"protocol {self.protocol} needs {', '.join(missing)}; add them")
        elif any(value is not None for value in sasl.values()):
            raise ValueError(
                f"protocol {self.protocol} uses no mechanism, username or password;"
                " remove them or write protocol: sasl_ssl"
            )
        if self.protocol not in _TLS and any(value is not None for value in tls.values()):
            raise ValueError(f"protocol {self.protocol} uses no ca, cert or key; remove them or use ssl or sasl_ssl")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


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
