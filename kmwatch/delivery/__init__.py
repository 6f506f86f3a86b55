"""Outbox -> sinks. The only place that retries (but see sinks/stream.py).

One worker per sink, so that a dead sink never holds up another. What fails is never discarded: transient
trouble is retried without limit, a refused configuration pauses the sink, and only a finding that a receiver
can never take is set aside, alone, as a dead letter.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from kmwatch.core.model import Micros
from kmwatch.delivery.report import DeliveryEvents, DeliveryState, FailureKind, State
from kmwatch.delivery.worker import Sleep, Tools, Tuning, Worker
from kmwatch.ports import Outbox, Sink

__all__ = ["Delivery", "DeliveryEvents", "DeliveryState", "FailureKind", "State", "Tuning"]


class Delivery:
    """Runs the workers. The sinks are made, and closed, by whoever made this."""

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        events: DeliveryEvents,
        *,
        now: Callable[[], Micros],
        tuning: Tuning | None = None,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the parts.

        Args:
            outbox: where findings wait.
            sinks: one worker each; names are unique.
            events: told of everything.
            now: the wall clock, for `DeliveryState.since` only.
            tuning: sizes and times.
            sleep: waits that many seconds between attempts.
            jitter: a number in [0, 1) for each wait.
        """
        tools = Tools(outbox, events, now, tuning or Tuning(), sleep, jitter)
        self._workers = [Worker(sink, tools) for sink in sinks]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the workers as tasks of the running loop."""
        self._tasks = [asyncio.create_task(w.run(), name=f"deliver {w.sink.name}") for w in self._workers]

    def notify(self) -> None:
        """New findings were committed to the outbox. Cheap; to be called on the loop's thread."""
        for worker in self._workers:
            worker.wake.set()

    def states(self) -> tuple[DeliveryState, ...]:
        """One entry for each sink, in the order given."""
        return tuple(worker.state for worker in self._workers)

    async def drain(self, deadline: float) -> bool:
        """Deliver what is pending, for at most `deadline` seconds, and stop.

        A sink that waits after a failure tries once more at once; a paused one stops. What is left stays in
        the outbox for the next start.

        Returns:
            Whether every outbox was empty in time.
        """
        for worker in self._workers:
            worker.drain.set()
            worker.wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(deadline, 0.0))
        await self.stop()
        return all(worker.is_drained for worker in self._workers)

    async def stop(self) -> None:
        """Stop at once. An attempt under way is cut short and counts as not delivered."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
