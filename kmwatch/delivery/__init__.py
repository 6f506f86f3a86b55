"""Outbox -> sinks. The only place that retries (but see sinks/stream.py).

One worker per sink, so that a dead sink never holds up another. What fails is never discarded: transient
trouble is retried without limit, a refused configuration pauses the sink, and only a finding that a receiver
can never take is set aside, alone, as a dead letter.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence

from kmwatch.core.health import Health
from kmwatch.core.model import Micros
from kmwatch.delivery.report import DeliveryEvents, DeliveryState, FailureKind, State
from kmwatch.delivery.worker import Sleep, Tools, Tuning, Worker
from kmwatch.ports import Outbox, Sink

__all__ = ["Delivery", "DeliveryEvents", "DeliveryState", "FailureKind", "State", "Tuning"]
_RETIRE_SECONDS = 10.0


class Delivery:
    """Runs the workers. The sinks are made, and in the end closed, by whoever made this."""

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
        self._tools = tools
        self._workers = [Worker(sink, tools) for sink in sinks]
        self._running: dict[str, asyncio.Task[None]] = {}

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """The sinks that are served now."""
        return tuple(worker.sink for worker in self._workers)

    def start(self) -> None:
        """Start the workers as tasks of the running loop."""
        for worker in self._workers:
            self._start(worker)

    def _start(self, worker: Worker) -> None:
        name = worker.sink.name
        self._running[name] = asyncio.create_task(worker.run(), name=f"deliver {name}")

    async def change(self, gone: Collection[str], new: Sequence[Sink], order: Sequence[str]) -> None:
        """Go on with other sinks; what waits for those that are gone stays in the outbox.

        A batch under way may end; a sink that takes too long for that is cut short, and its batch sent again.

        Args:
            gone: names of sinks to let go of, those that are replaced among them.
            new: sinks to serve from now on.
            order: the names of all sinks afterwards.
        """
        leaving = [worker for worker in self._workers if worker.sink.name in gone]
        await asyncio.gather(*(self._retire(worker) for worker in leaving))
        fresh = [Worker(sink, self._tools) for sink in new]
        workers = [worker for worker in self._workers if worker not in leaving] + fresh
        self._workers = sorted(workers, key=lambda worker: order.index(worker.sink.name))
        for worker in fresh:
            self._start(worker)

    async def _retire(self, worker: Worker) -> None:
        worker.quit = True
        worker.wake.set()
        task = self._running.pop(worker.sink.name, None)
        if task is not None:
            if worker.state.state is State.SENDING:
                await asyncio.wait({task}, timeout=_RETIRE_SECONDS)
            task.cancel()
            await asyncio.wait({task})
        await worker.sink.close()

    def beat(self, sink: str, health: Health | None) -> None:
        """Have a sink send a heartbeat when it next can; a newer one replaces it, and None takes it back."""
        for worker in self._workers:
            if worker.sink.name == sink:
                worker.beat = health
                if health is not None:
                    worker.wake.set()

    def notify(self) -> None:
        """New findings were committed to the outbox, or the store works again. Cheap; for the loop's thread."""
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
        if self._running:
            await asyncio.wait(self._running.values(), timeout=max(deadline, 0.0))
        await self.stop()
        return all(worker.is_drained for worker in self._workers)

    async def stop(self) -> None:
        """Stop at once. An attempt under way is cut short and counts as not delivered."""
        tasks, self._running = list(self._running.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
