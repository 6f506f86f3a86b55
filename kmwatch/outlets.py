"""Configuration -> sinks: the only place that knows which class serves which kind."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, TypeVar, get_args

from kmwatch.clock import Clock
from kmwatch.config import receivers
from kmwatch.config.fingerprint import fingerprint
from kmwatch.config.settings import Settings
from kmwatch.config.sinks import Facility
from kmwatch.config.sinks import Sink as SinkSettings
from kmwatch.core.model import SECOND
from kmwatch.kafka.security import arguments
from kmwatch.ports import ConfigurationError, Sink
from kmwatch.sinks.alertmanager import AlertmanagerSink
from kmwatch.sinks.file import FileSink
from kmwatch.sinks.http import HttpClient
from kmwatch.sinks.kafka import KafkaSink
from kmwatch.sinks.opensearch import OpenSearchSink
from kmwatch.sinks.splunk_hec import Meta, SplunkHecSink
from kmwatch.sinks.stdout import StdoutSink
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.sinks.tls import client_context
from kmwatch.sinks.webhook import WebhookSink, signing_key
from kmwatch.wire.syslog import LOG_AUDIT

T = TypeVar("T")
_Http = receivers.SplunkHec | receivers.OpenSearch | receivers.Webhook | receivers.Alertmanager


def sinks(settings: Settings, clock: Clock) -> list[Sink]:
    """The configured sinks, unconnected.

    Raises:
        ConfigurationError: a certificate file cannot be used; the message names the sink.
    """
    return [sink(given, clock) for given in settings.sinks]


def sink(given: SinkSettings, clock: Clock) -> Sink:
    """One sink, unconnected. Raises ConfigurationError."""
    try:
        return _MAKERS[given.kind](given, clock)
    except ConfigurationError as error:
        raise ConfigurationError(f"sink {given.name}: {error}") from error


class Plan(NamedTuple):
    """How to come from the sinks there are to those of a configuration."""

    made: list[Sink]  # new, or in place of one that differs; unconnected
    gone: frozenset[str]  # names of those to let go of, the replaced ones too
    marks: dict[str, str]  # see `marks`


def marks(settings: Settings) -> dict[str, str]:
    """A fingerprint of each sink, by name."""
    return {given.name: fingerprint(given) for given in settings.sinks}


def plan(settings: Settings, present: Mapping[str, str], clock: Clock) -> Plan:
    """What a reload has to do; a sink that has not changed in any way goes on as it is.

    Raises:
        ConfigurationError: a new one cannot be made.
    """
    wanted = marks(settings)
    same = {name for name, mark in wanted.items() if present.get(name) == mark}
    made = [sink(given, clock) for given in settings.sinks if given.name not in same]
    return Plan(made, frozenset(present.keys() - same), wanted)


def _stdout(given: SinkSettings, _: Clock) -> Sink:
    machine = "format" in given.model_fields_set
    return StdoutSink(given.name, format=given.format if machine else None)


def _file(given: SinkSettings, _: Clock) -> Sink:
    return FileSink(given.name, _there(given.file).path, format=given.format)


def _syslog(given: SinkSettings, _: Clock) -> Sink:
    to = _there(given.syslog)
    return SyslogSink(
        given.name,
        to.address,
        format=given.format,
        ca=to.ca,
        cert=to.cert,
        key=to.key,
        server_name=to.server_name,
        hostname=to.hostname,
        facility=LOG_AUDIT if to.facility is None else get_args(Facility).index(to.facility),
    )


def _splunk_hec(given: SinkSettings, _: Clock) -> Sink:
    to = _there(given.splunk_hec)
    token = to.token.get_secret_value()
    client = _client(to.url, to, {"Authorization": f"Splunk {token}"}, token)
    meta = Meta(to.index, to.host, to.source, to.sourcetype)
    return SplunkHecSink(
        given.name, client, to.url, format=given.format, meta=meta, ack=to.ack, ack_timeout=to.ack_timeout / SECOND
    )


def _opensearch(given: SinkSettings, _: Clock) -> Sink:
    to = _there(given.opensearch)
    if to.api_key is not None:
        key = to.api_key.get_secret_value()
        client = _client(to.url, to, {"Authorization": f"ApiKey {key}"}, key)
    else:
        client = _client(to.url, to, *_basic(to))
    return OpenSearchSink(given.name, client, to.url, to.data_stream, format=given.format)


def _webhook(given: SinkSettings, clock: Clock) -> Sink:
    to = _there(given.webhook)
    url = to.url.get_secret_value()
    client = _client(url, to, *_basic(to))
    key = signing_key(to.secret.get_secret_value())
    return WebhookSink(given.name, client, url, key, clock=clock, format=given.format)


def _alertmanager(given: SinkSettings, clock: Clock) -> Sink:
    to = _there(given.alertmanager)
    client = _client(to.url, to, *_basic(to))
    return AlertmanagerSink(given.name, client, to.url, clock=clock, firing=to.firing, labels=to.labels)


def _kafka(given: SinkSettings, _: Clock) -> Sink:
    to = _there(given.kafka)
    return KafkaSink(
        given.name,
        to.bootstrap,
        to.topic,
        security=partial(arguments, to.security),
        format=given.format,
        timeout=to.timeout / SECOND,
    )


def _client(url: str, to: _Http, headers: dict[str, str], *secrets: str) -> HttpClient:
    return HttpClient(
        url,
        headers=headers,
        context=partial(client_context, to.ca, to.cert, to.key),
        proxy=None if to.proxy is None else to.proxy.get_secret_value(),
        timeout=to.timeout / SECOND,
        secrets=secrets,
    )


def _basic(to: receivers.OpenSearch | receivers.Webhook | receivers.Alertmanager) -> tuple[dict[str, str], str]:
    """The header of basic authentication (RFC 7617), and the secret in it."""
    if to.username is None or to.password is None:
        return {}, ""
    password = to.password.get_secret_value()
    encoded = base64.b64encode(f"{to.username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}, password


def _there(kind: T | None) -> T:
    if kind is None:  # the settings hold exactly one kind
        raise AssertionError
    return kind


_MAKERS: dict[str, Callable[[SinkSettings, Clock], Sink]] = {
    "stdout": _stdout,
    "file": _file,
    "syslog": _syslog,
    "splunk_hec": _splunk_hec,
    "opensearch": _opensearch,
    "kafka": _kafka,
    "webhook": _webhook,
    "alertmanager": _alertmanager,
}
