"""A thread of its own for a sink whose writes block."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class OwnThread:
    """Runs calls one after the other in one daemon thread.

    A write that hangs (a pipe nobody reads, a lost network disk) thus holds up neither the event loop, nor the
    shared thread pool and with it other sinks, nor the end of the process. A call that its caller gave up before
    it began is skipped; one that has begun runs to its end, and the next waits for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._calls.put(lambda: _run(call, answer, loop))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return await answer

    def stop(self) -> None:
        """End the thread when it has done what it was given; it starts again with the next call."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None

    def _work(self) -> None:
        calls = self._calls
        while call := calls.get():
            call()


def _run(call: Callable[[], T], answer: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
    if answer.cancelled():
        return
    done: Callable[[], None]
    try:
        done = partial(_settle, answer, call())
    except Exception as error:  # noqa: BLE001 - a task boundary: it goes to whoever waits
        done = partial(_fail, answer, error)
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(done)


def _settle(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[T], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
