"""A TCP proxy with faults, in a thread of its own: it goes on while a test's loop is busy."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal, Self

from tests.servers.ports import free_port

Fault = Literal["refused", "reset", "hang"]


class ChaosProxy:
    """Passes `localhost:port` on to a server. Faults: refused (nobody listens), reset (after some octets), hang."""

    def __init__(self, target: int, *, port: int | None = None) -> None:
        self.port = port or free_port()
        self._target = target
        self._fault: Fault | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, fault: Fault | None) -> None:
        """From now on, connections that are there included."""
        self._do(self._set(fault))

    def _do(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)  # type: ignore[arg-type]

    async def _set(self, fault: Fault | None) -> None:
        self._fault = fault
        await self._drop()
        if fault == "refused":
            await self._unlisten()
        elif self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True)

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _close(self) -> None:
        await self._drop()
        await self._unlisten()

    async def _drop(self) -> None:
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.ensure_future(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward: asyncio.StreamWriter | None = None
        try:
            if self._fault == "hang":
                await asyncio.Event().wait()
            if self._fault == "reset":
                await reader.read(20)
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self._target)
            pumps = [asyncio.ensure_future(_pump(*ends)) for ends in ((reader, onward), (back, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass
        finally:
            for side in (writer, onward):
                if side is not None:
                    side.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
