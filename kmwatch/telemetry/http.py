"""/metrics, /healthz, /readyz and /status: read only; behind a token and TLS where the configuration says so."""

from __future__ import annotations

import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from kmwatch.telemetry.metrics import Metrics


class Readiness(Struct, frozen=True):
    """Whether the daemon does its work, and what is wrong if not."""

    ready: bool
    problems: tuple[str, ...] = ()
    warm: bool = False  # not the active instance, and able to take over
    role: str = "active"
    epoch: int = 0
    since: str | None = None


class Access(Struct, frozen=True):
    """Who may ask, and how. `token` never leaves this process."""

    token: str | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext | None:
        """TLS to serve with, or None for plain HTTP. Raises OSError: cert and key cannot be used."""
        if self.cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key, password="")  # an encrypted key: refuse instead of asking
        except (OSError, ssl.SSLError, ValueError) as error:
            raise OSError(f"http.cert {self.cert}, http.key {self.key}: {error}; give a PEM pair") from error
        return context

    def admits(self, request: web.Request) -> bool:
        """Whether a request shows the token, compared in constant time."""
        if self.token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


class HttpServer:
    """Serves until closed. Answers only; nothing here changes anything."""

    def __init__(
        self,
        metrics: Metrics,
        readiness: Callable[[], Awaitable[Readiness]],
        status: Callable[[], Awaitable[Struct]],
        access: Access = Access(),  # noqa: B008  (frozen)
    ) -> None:
        """Take what is asked for at each request. Raises OSError: the certificate cannot be used."""
        self._metrics, self._readiness, self._status, self._access = metrics, readiness, status, access
        self._context = access.context()
        self._runner: web.AppRunner | None = None

    def renew(self, token: str | None) -> None:
        """From now on ask for this token, or for none."""
        self._access = replace(self._access, token=token)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (the chosen one, if 0 was asked for). Raises OSError."""
        logging.getLogger("aiohttp.server").addFilter(_is_fault)
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics_page),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/status", self._status_page),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._context)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics_page(self, request: web.Request) -> web.Response:
        if not self._access.admits(request):
            return _refused()
        await self._status()  # brings the gauges up to date
        body = self._metrics.expose()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"alive": True})

    async def _ready(self, request: web.Request) -> web.Response:
        """With `?standby=ready` a standby that could take over counts as ready, for whoever rolls out instances."""
        found = await self._readiness()
        ready = found.ready or (found.warm and request.query.get("standby") == "ready")
        body = {
            "ready": ready,
            "role": found.role,
            "epoch": found.epoch,
            "since": found.since,
            "problems": list(found.problems) if self._access.admits(request) else [],
        }
        return _json(body, 200 if ready else 503)

    async def _status_page(self, request: web.Request) -> web.Response:
        if not self._access.admits(request):
            return _refused()
        return _json(to_builtins(await self._status()))


def _refused() -> web.Response:
    body = {"error": "send the token of http.token: Authorization: Bearer ..."}
    response = _json(body, 401)
    response.headers["WWW-Authenticate"] = 'Bearer realm="kmwatch"'
    return response


def _json(body: object, status: int = 200) -> web.Response:
    data = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=data, status=status, content_type="application/json")


def _is_fault(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's log is about us: what is no HTTP is answered by 400, and not logged."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)
