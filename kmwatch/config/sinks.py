"""Sinks of alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.problems import listed
from kmwatch.config.values import ConfigPath, Endpoint, SeverityName, Text, choice, parse_endpoint

KINDS = ("stdout", "file", "syslog")
LATER_KINDS = ("splunk_hec", "opensearch", "webhook", "kafka", "alertmanager")
FORMATS = ("ocsf", "cef")
_LATER_FORMATS = ("ecs", "leef")
_SCHEMES = ["tls", "tcp", "udp"]

Facility = Literal[
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip


class Stdout(Model):
    """Standard output: the empty mapping."""


class FileSink(Model):
    """A file that alerts are appended to, one a line."""

    path: ConfigPath
    """Path of the file."""


def _address(value: str) -> str:
    parse_endpoint(value, _SCHEMES)
    return value


class Syslog(Model):
    """A syslog receiver."""

    address: Annotated[Text, AfterValidator(_address)]
    """tls://host:port, tcp://host:port or udp://host:port."""
    ca: ConfigPath | None = None
    """PEM file of the authorities to trust, in place of the system's."""
    cert: ConfigPath | None = None
    """PEM file of the client's certificate."""
    key: ConfigPath | None = None
    """PEM file of the client's key."""
    facility: Facility | None = None
    """The facility of every message."""
    hostname: Annotated[str, Field(pattern=r"^[!-~]{1,255}$")] | None = None
    """The host name in every message, in place of the machine's own."""

    @property
    def endpoint(self) -> Endpoint:
        """The address in parts."""
        return parse_endpoint(self.address, _SCHEMES)

    @model_validator(mode="after")
    def _consistent(self) -> Syslog:
        given = any(value is not None for value in (self.ca, self.cert, self.key))
        if given and self.endpoint.scheme != "tls":
            raise ValueError("ca, cert and key need TLS; write address: tls://host:port or remove them")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


def _format(value: object) -> object:
    if value in _LATER_FORMATS:
        raise ValueError(f"{value} is not available in this release; available: {listed(FORMATS)}")
    return choice(value, list(FORMATS))


class Sink(Model):
    """One sink: its name, and exactly one of its kinds."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}$")]
    """1 to 40 of a-z, 0-9, _ and -; unique."""
    stdout: Stdout | None = None
    """Standard output."""
    file: FileSink | None = None
    """A file."""
    syslog: Syslog | None = None
    """A syslog receiver."""
    format: Annotated[Literal["ocsf", "cef"], BeforeValidator(_format), WithJsonSchema({"enum": list(FORMATS)})] = (
        "ocsf"
    )
    """The form of alerts."""
    min_severity: SeverityName = Field(default="informational", validate_default=True)
    """The least severe alert it gets."""
    required: bool = True
    """Whether it must be usable for kmwatch to be ready."""

    @model_validator(mode="after")
    def _one_kind(self) -> Sink:
        if sum(kind is not None for kind in (self.stdout, self.file, self.syslog)) != 1:
            raise ValueError(f"a sink is exactly one of: {listed(KINDS)}; keep one of them")
        return self


def unique_names(sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
    """The sinks; ValueError if two share a name."""
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'two sinks are named "{name}"; give each its own name')
    return sinks
