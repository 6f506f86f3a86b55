"""A TCP proxy between an instance and its database, for what networks do: cut, and go deaf one way.

It runs on a thread of its own, so that a test's thread may block.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.servers.ports import free_port

_CHUNK = 65_536


class Proxy:
    """Passes bytes to a port of this host, while nothing is wrong with it."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self._to = to
        self._refuses = False
        self._deaf: frozenset[str] = frozenset()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self.port), self._loop
        ).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end)
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Reset what is connected, and refuse what comes."""
        self._refuses = True
        self._call(self._reset)

    def deafen(self, *ways: str) -> None:
        """Swallow bytes without a word: "to" the database, "from" it, or both."""
        self._deaf = frozenset(ways)

    def heal(self) -> None:
        """Pass on again. Connections that have lost bytes are reset: TCP would not go on with a hole in it."""
        was_deaf, self._deaf, self._refuses = self._deaf, frozenset(), False
        if was_deaf:
            self._call(self._reset)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._refuses:
                return
            with suppress(OSError):
                back, forth = await asyncio.open_connection("127.0.0.1", self._to)
                self._writers.add(forth)
                try:
                    await asyncio.wait(
                        [
                            asyncio.ensure_future(self._pass(reader, forth, "to")),
                            asyncio.ensure_future(self._pass(back, writer, "from")),
                        ],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    self._writers.discard(forth)
                    forth.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if way not in self._deaf:
                    writer.write(data)
                    await writer.drain()

    def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        self._reset()

    async def _finish(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, work: Callable[[], None]) -> None:
        done = threading.Event()

        def do() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(do)
        done.wait()
