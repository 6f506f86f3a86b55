"""Strict fakes of receivers that cannot run here: Splunk HEC, Elasticsearch, a webhook; Alertmanager's API for faults.

They refuse whatever the real one refuses, and fail in the ways that bite: half-accepted batches, an acknowledgement
that is told once, items that fail within a 200. A fault can be switched on for every request. `received` has the line
id of everything that was accepted, repetitions too, and outlives a restart.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import re
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.servers.ports import free_port

STATUSES = {401, 403, 413, 429, 500, 503}
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TOKEN = "0f1e2d3c-hec-token"


class FakeReceiver:
    """An HTTP server at one port for life, with faults."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[str] = []
        self.requests = 0
        self.fault: str | None = None  # reset, reset_after, hang, slow_loris, a status, or one of the subclass's
        self.poison: set[str] = set()  # line ids it will never accept
        self.delay = 0.0  # seconds that each request takes
        self.context: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://localhost:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.context, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def with_tls(self, authority: trustme.CA) -> None:
        """From the next start on speak TLS with a certificate of this authority."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.context)

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        raise NotImplementedError

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        fault = self.fault
        if fault == "reset":
            await request.content.read(10)  # in the middle of the request
            _abort(request)
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "slow_loris":
            return await _drip(request)
        if fault is not None and fault.isdigit():
            retry = {"Retry-After": "7"} if fault in {"429", "503"} else {}
            return self.refuse(int(fault), retry)
        await asyncio.sleep(self.delay)
        answer = await self.take(request, body)
        if fault == "reset_after":  # it has everything, and nobody will know
            _abort(request)
        return answer

    def refuse(self, status: int, headers: dict[str, str]) -> web.Response:
        return web.json_response({"error": "as the test wants it"}, status=status, headers=headers)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


async def _drip(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.content_length = 100_000
    with contextlib.suppress(ConnectionError):
        await answer.prepare(request)
        for _ in range(100_000):
            await answer.write(b"{")
            await asyncio.sleep(0.02)
    return answer


_HEC_CODES = {
    401: (2, "Token is required"),
    403: (4, "Invalid token"),
    500: (8, "Internal server error"),
    503: (9, "Server is busy"),
}


class FakeHec(FakeReceiver):
    """Splunk's HTTP Event Collector, as docs.splunk.com tells its codes."""

    def __init__(self, *, ack: bool = False) -> None:
        super().__init__()
        self.ack = ack
        self.indexes = {"security"}
        self.polls_until_indexed = 1
        self.lose_telling = False  # the next telling of an acknowledgement is lost on its way
        self._channels: dict[str, dict[int, int]] = {}  # channel -> ackId -> polls
        self._batches: dict[int, list[str]] = {}
        self._next = 0

    def refuse(self, status: int, headers: dict[str, str]) -> web.Response:
        if status in _HEC_CODES:
            return _hec(status, *_HEC_CODES[status], headers=headers)
        return web.Response(status=status, headers=headers, text="no JSON at all")

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if given is None:
            return _hec(401, 2, "Token is required")
        if given != f"Splunk {TOKEN}":
            return _hec(403, 4, "Invalid token")
        if request.path == "/services/collector/ack":
            return self._tell(request, body)
        if request.path != "/services/collector/event":
            return web.Response(status=404, text="The requested URL was not found on this server.")
        channel = request.headers.get("X-Splunk-Request-Channel", "")
        if self.ack and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", channel):
            return _hec(400, 10 if not channel else 11, "Data channel")
        return self._index(body, channel)

    def _index(self, body: bytes, channel: str) -> web.Response:
        if len(body) > 1_000_000:
            return web.Response(status=413, text="Content-Length too large")
        text, at, lines = body.decode(), 0, list[str]()
        decoder = json.JSONDecoder()
        if not text.strip():
            return _hec(400, 5, "No data")
        while at < len(text):
            try:
                item, at = decoder.raw_decode(text, at)
            except ValueError:
                item = None
            problem = self._problem(item)
            if problem is not None:
                self.received += lines  # what stood before it is indexed already
                return _hec(400, *problem, {"invalid-event-number": len(lines)})
            lines.append(_line(item["event"]))
        if not self.ack:
            self.received += lines
            return _hec(200, 0, "Success")
        number, self._next = self._next, self._next + 1
        self._batches[number] = lines
        self._channels.setdefault(channel, {})[number] = 0
        return _hec(200, 0, "Success", {"ackId": number})

    def _problem(self, item: Any) -> tuple[int, str] | None:  # noqa: ANN401 - JSON
        if not isinstance(item, dict):
            return (6, "Invalid data format")
        if "event" not in item:
            return (12, "Event field is required")
        if item["event"] in ("", {}):
            return (13, "Event field cannot be blank")
        if not re.fullmatch(r"\d{10}(\.\d{1,9})?", str(item.get("time", ""))):
            return (6, "Invalid data format")
        if item.get("index") not in (None, *self.indexes):
            return (7, "Incorrect index")
        return (6, "Invalid data format") if _line(item["event"]) in self.poison else None

    def _tell(self, request: web.Request, body: bytes) -> web.Response:
        if not self.ack:
            return _hec(400, 14, "ACK is disabled")
        known = self._channels.get(request.headers.get("X-Splunk-Request-Channel", ""), {})
        out: dict[str, bool] = {}
        for number in json.loads(body)["acks"]:
            polls = known.get(number)
            done = polls is not None and polls >= self.polls_until_indexed
            if polls is not None and not done:
                known[number] = polls + 1
            if done:
                self.received += self._batches.pop(number)
                del known[number]  # told once only
            out[str(number)] = done
        if self.lose_telling and any(out.values()):
            self.lose_telling = False
            _abort(request)
        return web.json_response({"acks": out})

    async def stop(self) -> None:
        """A restart forgets what it has not told."""
        await super().stop()
        self._channels.clear()


def _hec(
    status: int,
    code: int,
    text: str,
    more: dict[str, int] | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> web.Response:
    return web.json_response({"text": text, "code": code, **(more or {})}, status=status, headers=headers)


class FakeElastic(FakeReceiver):
    """`_bulk` of Elasticsearch for one data stream."""

    def __init__(self, data_stream: str = "kmwatch-findings") -> None:
        super().__init__()
        self.data_stream = data_stream
        self.documents: dict[str, Any] = {}
        self.busy: set[str] = set()  # ids that get 429 once

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.headers.get("Authorization") != _basic():
            return web.json_response({"error": {"type": "security_exception"}, "status": 401}, status=401)
        if request.headers.get("Content-Type") != "application/x-ndjson":
            return web.json_response({"error": "Content-Type header is not supported"}, status=406)
        if not body.endswith(b"\n"):
            reason = "The bulk request must be terminated by a newline"
            return web.json_response({"error": {"type": "illegal_argument_exception", "reason": reason}}, status=400)
        lines = body.decode().split("\n")[:-1]
        stream = request.path.split("/")[1]
        items = [self._item(stream, json.loads(lines[n]), json.loads(lines[n + 1])) for n in range(0, len(lines), 2)]
        errors = any(item["create"]["status"] >= 300 for item in items)
        return web.json_response({"errors": errors, "items": items})

    def _item(self, stream: str, action: Any, document: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        assert list(action) == ["create"], "data streams take only create"
        uid = action["create"]["_id"]
        if stream != self.data_stream:
            return _failed(404, "index_not_found_exception", f"no such index [{stream}]")
        if "@timestamp" not in document or uid in self.poison:
            return _failed(400, "mapper_parsing_exception", "failed to parse")
        if uid in self.busy:
            self.busy.discard(uid)
            return _failed(429, "es_rejected_execution_exception", "rejected execution")
        if uid in self.documents:
            return _failed(409, "version_conflict_engine_exception", "document already exists")
        self.documents[uid] = document
        self.received.append(uid)
        return {"create": {"status": 201}}


def _failed(status: int, kind: str, reason: str) -> dict[str, Any]:
    return {"create": {"status": status, "error": {"type": kind, "reason": reason}}}


def _basic() -> str:
    return "Basic " + base64.b64encode(b"kmwatch:hunter2").decode()


class FakeWebhook(FakeReceiver):
    """A receiver that checks signatures with the library of standard-webhooks itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.timestamps: list[int] = []

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        event = Webhook(SECRET).verify(body, dict(request.headers))
        uid = request.headers["webhook-id"]
        self.ids.append(uid)
        self.timestamps.append(int(request.headers["webhook-timestamp"]))
        if event["metadata"]["uid"] in self.poison:
            return web.json_response({"error": "no"}, status=422)
        self.received.append(event["metadata"]["uid"])
        return web.Response(status=204)


class FakeAlertmanager(FakeReceiver):
    """POST /api/v2/alerts: a bad alert makes 400, and the others of the request are taken [tried on 0.25]."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: list[dict[str, Any]] = []

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path != "/api/v2/alerts":
            return web.Response(status=404)
        bad = False
        for alert in json.loads(body):
            line = alert["annotations"]["line"]
            if line in self.poison or not self._is_good(alert):
                bad = True
                continue
            self.alerts.append(alert)
            self.received.append(line)
        return web.json_response("bad alert", status=400) if bad else web.Response(status=200)

    def _is_good(self, alert: dict[str, Any]) -> bool:
        names = all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) for name in (*alert["labels"], *alert["annotations"]))
        ends = datetime.fromisoformat(alert["endsAt"])
        return names and datetime.fromisoformat(alert["startsAt"]) < ends and ends > datetime.now(UTC)


def _line(event: Any) -> str:  # noqa: ANN401 - JSON
    return str(event["metadata"]["uid"])


def write_ca(authority: trustme.CA, folder: Path) -> Path:
    """The authority's certificate in a file."""
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path
