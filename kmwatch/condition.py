"""What the daemon says of itself: /readyz, /status and the heartbeat to the SIEM, from one look at its parts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct, structs

from kmwatch import __version__, assembly
from kmwatch.clock import Clock
from kmwatch.config.load import Loaded
from kmwatch.core.health import Health, heartbeat
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.step import Engine
from kmwatch.delivery import Delivery, State
from kmwatch.pipeline import Pipeline
from kmwatch.ports import SinkAccount, Source, Standing, StateError, Store, StoreError
from kmwatch.sources.positions import partition_of
from kmwatch.telemetry.heartbeat import report
from kmwatch.telemetry.http import Readiness
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.status import Totals, totals
from kmwatch.wire.event import iso


class SinkStatus(Struct):
    """One sink's worker."""

    name: str
    state: str
    attempts: int
    last_error: str | None


class Status(Struct):
    """What /status shows."""

    version: str
    active: bool
    role: str  # active or standby
    epoch: int  # of the active instance
    since: str | None  # when that epoch began
    active_instance: str | None  # host:pid of the one that has it, where the store tells
    declarations: str  # digest of caller map, identities and inventory
    event_time: str | None  # how far event time has got
    witnesses: dict[str, str | None]  # event time of the latest record of each that is expected or heard
    clock_offsets: dict[str, float]  # seconds that a host's clock is ahead of the Key Manager's, as its lines show
    lag: dict[str, int]
    missing: dict[str, int]  # records lost before they were read, as the operator accepted
    sinks: list[SinkStatus]
    account: Totals
    secrets: int  # of the inventory, as verdicts know it at this event time


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso(int(seconds * 1e6))


class Condition:
    """Looks at the parts; changes nothing but the gauges that are taken from them at that moment."""

    def __init__(  # noqa: PLR0913  (it looks at everything)
        self,
        loaded: Callable[[], Loaded],
        source: Source,
        store: Store,
        pipeline: Pipeline,
        delivery: Delivery,
        *,
        metrics: Metrics,
        clock: Clock,
        missing: Callable[[], dict[str, int]],
    ) -> None:
        """Take the parts.

        Args:
            loaded: the configuration in force; a reload changes it.
            source: where records come from.
            store: whose word on who is active counts.
            pipeline: works, or stands by.
            delivery: knows how sinks are.
            metrics: whose gauges to bring up to date.
            clock: tells how long lines wait.
            missing: records lost before they were read, as the operator accepted.
        """
        self._loaded, self._source, self._store, self._pipeline = loaded, source, store, pipeline
        self._delivery, self._metrics, self._clock, self._missing = delivery, metrics, clock, missing
        self._accounts: dict[str, SinkAccount] = {}  # as last seen

    async def readiness(self) -> Readiness:
        """Ready: reading, store usable, and no required sink in trouble."""
        standing, problems = self._standing(), list[str]()
        required = {sink.name for sink in self._loaded().settings.sinks if sink.required}
        problems += [
            f"sink {state.sink}: {state.state}: {state.last_error}"
            for state in self._delivery.states()
            if state.sink in required and state.state in (State.PAUSED, State.RETRYING)
        ]
        problems += [self._pipeline.trouble] if self._pipeline.trouble is not None else []
        try:
            await self._store.accounts()
        except (StoreError, StateError) as error:
            problems.append(str(error))
        warm = self._pipeline.standing_by and not problems
        if not self._pipeline.active:
            who = f": {standing.owner} is active" if standing.owner else ""
            problems.insert(0, f"not reading: standing by, or waiting for partitions{who}")
        return Readiness(not problems, tuple(problems), warm, standing.role, standing.epoch, _time(standing.since))

    async def status(self) -> Status:
        """The account and the state of every part; brings the gauges up to date on the way."""
        engine, accounts, standing = self._pipeline.engine, await self._last_accounts(), self._standing()
        metrics, lag = self._metrics, dict(self._source.lag())
        for name, account in accounts.items():
            metrics.outbox_pending.labels(name).set(account.pending)
            metrics.outbox_bytes.labels(name).set(account.pending_bytes)
            metrics.dead_waiting.labels(name).set(account.dead)
            since = account.oldest_pending
            metrics.outbox_oldest.labels(name).set(0 if since is None else max(0.0, self._clock.now() - since))
        for stream, behind in lag.items():
            part = partition_of(stream)
            metrics.lag.labels(part.topic, str(part.partition)).set(behind)
        metrics.active.set(standing.active)
        metrics.epoch.set(standing.epoch)
        reached, witnesses = engine.watermark.value, self._witnesses(engine)
        return Status(
            __version__,
            standing.active,
            standing.role,
            standing.epoch,
            _time(standing.since),
            standing.owner,
            self._loaded().declarations.digest,
            None if reached is None else iso(reached),
            {witness: None if at is None else iso(at) for witness, at in witnesses.items()},
            {host or "-": ahead / SECOND for host, ahead in engine.join.skews.estimates.items()},
            lag,
            self._missing(),
            [SinkStatus(s.sink, s.state, s.attempts, s.last_error) for s in self._delivery.states()],
            totals(engine, accounts),
            len(engine.detector.declarations.holdings),
        )

    async def _last_accounts(self) -> dict[str, SinkAccount]:
        """As the store has them; while it cannot be asked, as they were: an outage is when /status is looked at."""
        with suppress(StoreError):
            self._accounts = await self._store.accounts()
        return self._accounts

    def _standing(self) -> Standing:
        """The store's word on who is active; whoever does not read is not, whatever it has claimed."""
        standing = self._store.standing()
        return structs.replace(standing, active=standing.active and self._pipeline.active)

    def is_active(self) -> bool:
        """Whether it is this instance that reads, and speaks."""
        return self._standing().active

    async def health(self) -> Health:
        """The heartbeat of this moment. Raises StoreError or StateError."""
        engine, ready = self._pipeline.engine, await self.readiness()
        found = report(
            totals(engine, await self._last_accounts()),
            lag=self._source.lag(),
            last_event=engine.watermark.value,
            witnesses=self._witnesses(engine),
            problems=ready.problems,
        )
        return heartbeat(found, int(self._clock.now() * SECOND), f"{socket.gethostname()}:{os.getpid()}")

    def _witnesses(self, engine: Engine) -> dict[str, Micros | None]:
        """The event time of the latest record of each witness that is expected or heard."""
        found: dict[str, Micros | None] = dict.fromkeys(assembly.witnesses(self._loaded().settings))
        return found | {str(witness): at for witness, at in engine.feed.last_seen().items()}
