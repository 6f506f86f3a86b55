"""The loop of one sink: pending -> send -> delivered, and what to do when that fails."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from kmwatch.core.health import Health
from kmwatch.core.model import Micros
from kmwatch.delivery.report import DeliveryEvents, DeliveryState, FailureKind, State
from kmwatch.ports import (
    ConfigurationError,
    Fenced,
    Outbox,
    PartialError,
    Pending,
    PermanentError,
    Sink,
    SplitError,
    StoreError,
    TransientError,
)
from kmwatch.wire.escape import visible

_ERROR_LENGTH = 500  # characters of an error kept for the operator; a receiver may echo an attacker's text


class Tuning(NamedTuple):
    """Sizes and times, all in seconds but the first."""

    batch: int = 100  # findings in one send
    send_timeout: float = 60.0
    first_backoff: float = 0.5
    most_backoff: float = 60.0
    store_backoff: float = 5.0  # at most, where the store failed and not the receiver
    longest_wish: float = 3600.0  # a receiver's retry_after counts up to here
    pause: float = 60.0  # between looks at a paused sink
    idle_look: float = 10.0  # for rows that another process put back (`kmwatch outbox retry`)


Sleep = Callable[[float], Awaitable[None]]


class Tools(NamedTuple):
    """What the workers of one delivery share."""

    outbox: Outbox
    events: DeliveryEvents
    now: Callable[[], Micros]
    tuning: Tuning
    sleep: Sleep
    jitter: Callable[[], float]


class Worker:
    """The loop of one sink."""

    def __init__(self, sink: Sink, tools: Tools) -> None:
        self.sink = sink
        self.wake = asyncio.Event()
        self.drain = asyncio.Event()
        self.is_drained = False
        self._store_failed = False  # and not the sink
        self.quit = False  # finish what is under way, then end
        self.beat: Health | None = None  # the latest heartbeat, if it has not been sent
        self.state = DeliveryState(sink.name, State.IDLE, None, tools.now(), 0)
        self._tools = tools

    async def run(self) -> None:
        """Deliver until drained. A task boundary: no fault of a sink or of the store ends its worker."""
        while not self.is_drained and not self.quit:
            try:
                await self._round()
            except ConfigurationError as error:
                if not await self._rest(error, FailureKind.CONFIGURATION, State.PAUSED, self._tools.tuning.pause):
                    return
            except Exception as error:  # noqa: BLE001 - a task boundary
                self._store_failed = isinstance(error, StoreError | Fenced)
                await self._rest(error, FailureKind.TRANSIENT, State.RETRYING, self._backoff(error))

    async def _round(self) -> None:
        self.wake.clear()  # before looking: what is committed from here on wakes us again
        batch = await self._tools.outbox.pending(self.sink.name, self._tools.tuning.batch)
        if self._store_failed and not batch:  # the store answers again, and the sink was never at fault
            self._become(State.IDLE, 0, None)
        self._store_failed = False
        if batch:
            self._become(State.SENDING, self.state.attempts, self.state.last_error)
            await self._deliver(batch)
            self._become(State.IDLE, 0, None)
        elif self.beat is not None and not self.drain.is_set():
            await self._pulse()
        elif self.drain.is_set():
            self.is_drained = True
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tools.tuning.idle_look):
                    await self.wake.wait()

    async def _pulse(self) -> None:
        """Send the latest heartbeat. It is in no outbox: one that fails is gone, and the next tells more."""
        beat, self.beat = self.beat, None
        if beat is None:
            return
        self._become(State.SENDING, self.state.attempts, self.state.last_error)
        try:
            async with asyncio.timeout(self._tools.tuning.send_timeout):
                await self.sink.send([beat])
        except PartialError as outcome:
            if outcome.cause is not None:
                raise outcome.cause from outcome
        except PermanentError as error:
            self._tools.events.failed(self.sink.name, _text(error), FailureKind.PERMANENT)
        self._become(State.IDLE, 0, None)

    async def _deliver(self, batch: Sequence[Pending]) -> None:
        """Send in outbox order. A refused batch is halved until the finding at fault stands alone."""
        try:
            await self._send(batch)
        except PartialError as outcome:
            await self._sort(batch, outcome)
            return
        except PermanentError as error:
            if len(batch) == 1 or not isinstance(error, SplitError):  # being split is no failure
                self._tools.events.failed(self.sink.name, _text(error), FailureKind.PERMANENT)
            if len(batch) == 1:
                await self._bury(batch, _text(error))
                return
            middle = len(batch) // 2
            await self._deliver(batch[:middle])
            await self._deliver(batch[middle:])
            return
        await self._mark(batch)

    async def _sort(self, batch: Sequence[Pending], outcome: PartialError) -> None:
        """Settle what the receiver has settled; raise what keeps the rest waiting, if anything does."""
        refused, again = outcome.refused, outcome.again
        await self._mark([row for place, row in enumerate(batch) if place not in refused and place not in again])
        for place, reason in refused.items():
            text = visible(reason, _ERROR_LENGTH)
            self._tools.events.failed(self.sink.name, text, FailureKind.PERMANENT)
            await self._bury([batch[place]], text)
        if outcome.cause is not None:
            await self._count([batch[place] for place in sorted(again)], outcome.cause)
            raise outcome.cause

    async def _mark(self, batch: Sequence[Pending]) -> None:
        if batch:
            await self._tools.outbox.delivered(self.sink.name, [row.seq for row in batch])
            self._tools.events.delivered(self.sink.name, [row.finding for row in batch])

    async def _send(self, batch: Sequence[Pending]) -> None:
        limit = self._tools.tuning.send_timeout
        try:
            async with asyncio.timeout(limit):
                await self.sink.send([row.finding for row in batch])
        except (PartialError, PermanentError):
            raise
        except TimeoutError as error:
            late = TransientError(str(error) or f"no acknowledgement within {limit:g} s")
            await self._count(batch, late)
            raise late from error
        except Exception as error:
            await self._count(batch, error)
            raise

    async def _count(self, batch: Sequence[Pending], error: Exception) -> None:
        with contextlib.suppress(Exception):  # trouble of the store itself is told when it is next read
            await self._tools.outbox.failed(self.sink.name, [row.seq for row in batch], _text(error))

    async def _bury(self, batch: Sequence[Pending], reason: str) -> None:
        await self._tools.outbox.dead(self.sink.name, [row.seq for row in batch], reason)
        self._tools.events.dead(self.sink.name, [row.finding for row in batch], reason)

    def _backoff(self, error: Exception) -> float:
        """Full jitter: anything from 0 to the doubled bound, but never sooner than the receiver wished."""
        tuning = self._tools.tuning
        doubled = tuning.first_backoff * 2.0 ** min(self.state.attempts, 30)
        most = tuning.store_backoff if self._store_failed else tuning.most_backoff
        delay = self._tools.jitter() * min(most, doubled)
        wish = error.retry_after if isinstance(error, TransientError) else None
        if wish is None or math.isnan(wish):
            return delay
        return max(delay, min(wish, tuning.longest_wish))

    async def _rest(self, error: Exception, kind: FailureKind, state: State, delay: float) -> bool:
        """Report and wait; False if the worker should stop because it is draining and waiting cannot help."""
        self._become(state, self.state.attempts + 1, _text(error))
        self._tools.events.failed(self.sink.name, _text(error), kind)
        if not self.drain.is_set():
            await self._sleep(delay)
            return True
        if kind is FailureKind.CONFIGURATION:
            return False
        await self._tools.sleep(delay)
        return True

    async def _sleep(self, delay: float) -> None:
        """Sleep, or until the drain begins; where the store failed, or until it is known to work again."""
        waits = [asyncio.ensure_future(self._tools.sleep(delay)), asyncio.ensure_future(self.drain.wait())]
        if self._store_failed:
            waits.append(asyncio.ensure_future(self.wake.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _become(self, state: State, attempts: int, error: str | None) -> None:
        last = self.state
        since = last.since if state is last.state else self._tools.now()
        self.state = DeliveryState(last.sink, state, error, since, attempts)
        if state is not last.state:
            self._tools.events.changed(self.state)


def _text(error: Exception) -> str:
    return visible(str(error) or type(error).__name__, _ERROR_LENGTH)
