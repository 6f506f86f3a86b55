"""Fake receivers in processes of their own, so that what is measured does not share an interpreter with them."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from aiohttp import web

from tests.servers.fakes import FakeElastic, FakeHec, FakeReceiver, FakeWebhook
from tests.servers.ports import free_port


class Taken(msgspec.Struct, frozen=True):
    """A line that a receiver took."""

    line: str
    activity: int  # 1 create, 2 update, 3 close
    event: float  # event time of what triggered it, seconds since 1970
    at: float  # when it was taken


class _Metadata(msgspec.Struct):
    uid: str


class _Event(msgspec.Struct):
    time: int  # milliseconds
    metadata: _Metadata
    activity_id: int


class _Item(msgspec.Struct):
    event: _Event


class TimedHec(FakeHec):
    """Notes when each line was first taken, just before it is acknowledged; `GET /taken` tells."""

    def __init__(self) -> None:
        super().__init__()
        self._taken: dict[str, Taken] = {}

    async def take(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.path == "/taken":
            return web.Response(body=msgspec.json.encode(list(self._taken.values())))
        answer, now = await super().take(request, body), time.time()
        for item in msgspec.json.decode(b"[" + body.replace(b'}{"time"', b'},{"time"') + b"]", type=list[_Item]):
            event = item.event
            line = Taken(event.metadata.uid, event.activity_id, event.time / 1000, now)
            self._taken.setdefault(line.line, line)
        return answer


_KINDS: dict[str, Callable[[], FakeReceiver]] = {
    "splunk": FakeHec,
    "splunk-ack": lambda: FakeHec(ack=True),
    "splunk-timed": TimedHec,
    "elastic": FakeElastic,
    "webhook": FakeWebhook,
}


@contextmanager
def receiver(kind: str) -> Iterator[str]:
    """A fake of that kind while the `with` lasts; its URL."""
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(kind, port), daemon=True)
    process.start()
    try:
        asyncio.run(_until_up(port))
        yield f"http://localhost:{port}"
    finally:
        process.kill()
        process.join()


def _serve(kind: str, port: int) -> None:
    made = _KINDS[kind]()
    made.port = port

    async def go() -> None:
        await made.start()
        await asyncio.Event().wait()

    asyncio.run(go())


async def _until_up(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("localhost", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
