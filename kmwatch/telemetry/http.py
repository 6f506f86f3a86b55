"""/metrics, /healthz, /readyz and /status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from msgspec import Struct, to_builtins

from kmwatch.telemetry.metrics import Metrics


class Readiness(Struct, frozen=True):
    """Whether the daemon does its work, and what is wrong if not."""

    ready: bool
    problems: tuple[str, ...] = ()
    warm: bool = False  # not the active instance, and able to take over
    role: str = "active"
    epoch: int = 0
    since: str | None = None


class HttpServer:
    """Serves until closed. Answers only; nothing here changes anything."""

    def __init__(
        self,
        metrics: Metrics,
        readiness: Callable[[], Awaitable[Readiness]],
        status: Callable[[], Awaitable[Struct]],
    ) -> None:
        """Take what is asked for at each request."""
        self._metrics, self._readiness, self._status = metrics, readiness, status
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (the chosen one, if 0 was asked for). Raises OSError."""
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
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics_page(self, _: web.Request) -> web.Response:
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
            "problems": list(found.problems),
        }
        return _json(body, 200 if ready else 503)

    async def _status_page(self, _: web.Request) -> web.Response:
        return _json(to_builtins(await self._status()))


def _json(body: object, status: int = 200) -> web.Response:
    data = orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=data, status=status, content_type="application/json")
