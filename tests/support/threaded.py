"""A fake receiver in a thread of its own, for tests that wait for a daemon and so block their loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Generic, Self, TypeVar

from tests.servers.fakes import FakeReceiver

R = TypeVar("R", bound=FakeReceiver)


class Threaded(Generic[R]):
    """Runs while the `with` lasts; `start` and `stop` as often as one likes."""

    def __init__(self, receiver: R) -> None:
        self.receiver = receiver
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self) -> None:
        self._do(self.receiver.start())

    def stop(self) -> None:
        self._do(self.receiver.stop())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
