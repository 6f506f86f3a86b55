"""Sinks over HTTP as the configuration would make them, for a fake receiver."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path

from kmwatch.clock import SystemClock
from kmwatch.core.model import HOUR
from kmwatch.ports import Sink
from kmwatch.sinks.alertmanager import AlertmanagerSink
from kmwatch.sinks.http import HttpClient
from kmwatch.sinks.opensearch import OpenSearchSink
from kmwatch.sinks.splunk_hec import Meta, SplunkHecSink
from kmwatch.sinks.tls import client_context
from kmwatch.sinks.webhook import WebhookSink, signing_key
from tests.servers.fakes import SECRET, TOKEN

BASIC = {"Authorization": "Basic " + base64.b64encode(b"kmwatch:hunter2").decode()}


def client(
    url: str,
    headers: dict[str, str] | None = None,
    *,
    ca: Path | None = None,
    proxy: str | None = None,
    timeout: float = 20.0,
) -> HttpClient:
    context = partial(client_context, ca, None, None)
    secrets = (TOKEN, "hunter2")
    return HttpClient(url, headers=headers, context=context, proxy=proxy, timeout=timeout, secrets=secrets)


def hec(  # noqa: PLR0913 - what tests vary
    url: str,
    *,
    ca: Path | None = None,
    timeout: float = 20.0,
    ack: bool = False,
    ack_timeout: float = 1.0,
    patience: float = 0.3,
    index: str = "security",
    token: str = TOKEN,
    proxy: str | None = None,
) -> Sink:
    http = client(url, {"Authorization": f"Splunk {token}"}, ca=ca, proxy=proxy, timeout=timeout)
    return SplunkHecSink(
        "splunk", http, url, meta=Meta(index=index), ack=ack, ack_timeout=ack_timeout, patience=patience
    )


def hec_ack(url: str, *, ca: Path | None = None, timeout: float = 20.0) -> Sink:
    return hec(url, ca=ca, timeout=timeout, ack=True)


def opensearch(
    url: str,
    *,
    ca: Path | None = None,
    proxy: str | None = None,
    timeout: float = 20.0,
    data_stream: str = "kmwatch-findings",
) -> Sink:
    return OpenSearchSink("search", client(url, BASIC, ca=ca, proxy=proxy, timeout=timeout), url, data_stream)


def webhook(url: str, *, ca: Path | None = None, proxy: str | None = None, timeout: float = 20.0) -> Sink:
    http = client(url, ca=ca, proxy=proxy, timeout=timeout)
    return WebhookSink("hook", http, f"{url}/hook", signing_key(SECRET), clock=SystemClock())


def alertmanager(url: str, *, ca: Path | None = None, proxy: str | None = None, timeout: float = 20.0) -> Sink:
    http = client(url, ca=ca, proxy=proxy, timeout=timeout)
    return AlertmanagerSink("pager", http, url, clock=SystemClock(), firing=HOUR)
