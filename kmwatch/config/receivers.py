"""The receivers of alerts that are reached over a network, beside syslog."""

from __future__ import annotations

import base64
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from kmwatch.config.base import Model
from kmwatch.config.security import Security
from kmwatch.config.values import ConfigPath, Credential, Duration, HostPort, Id, Text

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$")]
_OWN_LABELS = frozenset({"alertname", "rule", "service", "severity"})
_WEBHOOK_KEY = range(24, 65)  # octets; standard-webhooks, "Signature scheme"


def _check_url(value: str, *, with_query: bool = False) -> None:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL; write https://host:port") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("is no URL; write https://host:port")
    if parts.username or parts.password:
        raise ValueError("may hold no user and password; write them under their own keys")
    if parts.fragment or (parts.query and not with_query):
        raise ValueError("may hold no ? and #; write https://host:port")


def _url(value: str) -> str:
    _check_url(value)
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    _check_url(value.get_secret_value(), with_query=True)
    return value


def _proxy(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("is no proxy; write http://host:port, or http://user:password@host:port")
    return value


def _signing(value: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if len(key) not in _WEBHOOK_KEY:
        raise ValueError("must be whsec_ and 24 to 64 random octets in base64; make one: openssl rand -base64 32")
    return value


class _Http(Model):
    """What every receiver over HTTP has."""

    ca: ConfigPath | None = None
    """PEM file of the authorities to trust, in place of the system's."""
    cert: ConfigPath | None = None
    """PEM file of the client's certificate."""
    key: ConfigPath | None = None
    """PEM file of the client's key."""
    proxy: Annotated[Credential, AfterValidator(_proxy)] | None = None
    """URL of an HTTP proxy; text, ${NAME} or file:PATH."""
    timeout: Duration = Field(default="30s", validate_default=True)
    """For how long a request may take."""

    @model_validator(mode="after")
    def _paired(self) -> _Http:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        if self.timeout > 50_000_000:  # noqa: PLR2004 - below the minute that delivery gives to a batch
            raise ValueError("timeout may be 50s at most; shorten it")
        return self


class _Account(_Http):
    """Basic authentication."""

    username: Id | None = None
    """User of basic authentication."""
    password: Credential | None = None
    """Its password: text, ${NAME} or file:PATH."""

    @model_validator(mode="after")
    def _both(self) -> _Account:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together; give both or neither")
        return self


class SplunkHec(_Http):
    """Splunk's HTTP Event Collector."""

    url: Annotated[Text, AfterValidator(_url)]
    """https://host:8088."""
    token: Credential
    """The collector's token: text, ${NAME} or file:PATH."""
    index: Id | None = None
    """The index; the token's own if absent."""
    source: Id | None = None
    """The source of each event."""
    sourcetype: Id | None = None
    """The source type; kmwatch:FORMAT if absent."""
    host: Id | None = None
    """The host of each event."""
    ack: bool = False
    """Wait until the indexers have it; the token must have indexer acknowledgement switched on."""
    ack_timeout: Duration = Field(default="5m", validate_default=True)
    """After how long without their acknowledgement it is sent again."""


class OpenSearch(_Account):
    """OpenSearch or Elasticsearch."""

    url: Annotated[Text, AfterValidator(_url)]
    """https://host:9200."""
    data_stream: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,199}$")]
    """The data stream; an index template must make it one."""
    api_key: Credential | None = None
    """An API key, in place of username and password: text, ${NAME} or file:PATH."""

    @model_validator(mode="after")
    def _one_way(self) -> OpenSearch:
        if self.api_key is not None and self.username is not None:
            raise ValueError("give api_key, or username and password, not both")
        return self


class Webhook(_Account):
    """A webhook as standard-webhooks defines it."""

    url: Annotated[Credential, AfterValidator(_secret_url)]
    """Where to; text, ${NAME} or file:PATH, since some hold a secret."""
    secret: Annotated[Credential, AfterValidator(_signing)]
    """Signs each request: whsec_ and base64; text, ${NAME} or file:PATH."""


class Alertmanager(_Account):
    """Prometheus Alertmanager."""

    url: Annotated[Text, AfterValidator(_url)]
    """http://host:9093."""
    labels: dict[LabelName, Text] = Field(default_factory=dict)
    """Further labels of every alert."""
    firing: Duration = Field(default="1h", validate_default=True)
    """For how long an alert fires after its latest line."""

    @model_validator(mode="after")
    def _own(self) -> Alertmanager:
        taken = sorted(_OWN_LABELS & self.labels.keys())
        if taken:
            raise ValueError(f"labels {', '.join(taken)} are kmwatch's own; choose other names")
        return self


class KafkaTopic(Model):
    """A topic of a Kafka cluster."""

    bootstrap: Annotated[tuple[HostPort, ...], Field(min_length=1)]
    """Brokers to start from, host:port each."""
    topic: Topic
    """The topic; it must exist."""
    security: Security = Security()
    """How to talk to the brokers."""
    timeout: Duration = Field(default="30s", validate_default=True)
    """For how long a batch may wait for the brokers' acknowledgement."""
