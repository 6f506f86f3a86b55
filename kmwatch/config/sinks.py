"""Sinks of alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from kmwatch.config.base import Model
from kmwatch.config.problems import listed
from kmwatch.config.receivers import Alertmanager, KafkaTopic, OpenSearch, SplunkHec, Webhook
from kmwatch.config.rules import RuleName
from kmwatch.config.values import ConfigPath, Duration, Endpoint, SeverityName, Text, choice, parse_endpoint

KINDS = ("stdout", "file", "syslog", "splunk_hec", "opensearch", "kafka", "webhook", "alertmanager")
FORMATS = ("ocsf", "ecs", "cef", "leef")
_JSON_FORMATS = ("ocsf", "ecs")
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
    server_name: Annotated[Text, Field(pattern=r"^[!-~]{1,255}$")] | None = None
    """The name that the receiver's certificate must hold, where that is not the address's."""
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
        given = any(value is not None for value in (self.ca, self.cert, self.key, self.server_name))
        if given and self.endpoint.scheme != "tls":
            raise ValueError("ca, cert and key need TLS; write address: tls://host:port or remove them")
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


def _format(value: object) -> object:
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
    splunk_hec: SplunkHec | None = None
    """Splunk's HTTP Event Collector."""
    opensearch: OpenSearch | None = None
    """OpenSearch or Elasticsearch."""
    kafka: KafkaTopic | None = None
    """A topic of a Kafka cluster."""
    webhook: Webhook | None = None
    """A webhook as standard-webhooks defines it."""
    alertmanager: Alertmanager | None = None
    """Prometheus Alertmanager."""
    format: Annotated[
        Literal["ocsf", "ecs", "cef", "leef"], BeforeValidator(_format), WithJsonSchema({"enum": list(FORMATS)})
    ] = "ocsf"
    """The form of alerts."""
    min_severity: SeverityName = Field(default="informational", validate_default=True)
    """The least severe alert it gets."""
    detections: tuple[RuleName, ...] | None = None
    """The detections it gets; all if absent."""
    without: tuple[RuleName, ...] = ()
    """Detections it does not get."""
    heartbeat: Duration | None = None
    """How often it gets a record of kmwatch's own health; never if absent."""
    required: bool = True
    """Whether it must be usable for kmwatch to be ready."""

    @property
    def kind(self) -> str:
        """Which of its kinds it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Sink:
        if sum(getattr(self, kind) is not None for kind in KINDS) != 1:
            raise ValueError(f"a sink is exactly one of: {listed(KINDS)}; keep one of them")
        return self

    @model_validator(mode="after")
    def _fitting_format(self) -> Sink:
        if self.kind in {"opensearch", "webhook"} and self.format not in _JSON_FORMATS:
            raise ValueError(f"{self.kind} takes JSON; write format: {' or '.join(_JSON_FORMATS)}")
        if self.kind == "alertmanager" and {"format", "heartbeat"} & self.model_fields_set:
            raise ValueError("alertmanager has a form of its own and no heartbeat; remove format and heartbeat")
        return self

    @model_validator(mode="after")
    def _some_detection(self) -> Sink:
        if self.detections is not None and not set(self.detections) - set(self.without):
            raise ValueError("gets no detection at all; name some under detections, or remove it")
        return self


def unique_names(sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
    """The sinks; ValueError if two share a name."""
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'two sinks are named "{name}"; give each its own name')
    return sinks
