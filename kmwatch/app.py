"""The daemon: builds the parts, runs them in one task group, and stops them in the order of the flow.

source -> pipeline -> store -> delivery -> sinks          HTTP and housekeeping beside it
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

import structlog
from msgspec import Struct, structs

from kmwatch import __version__, assembly, outlets
from kmwatch.clock import Clock
from kmwatch.config.load import Loaded, refreshed
from kmwatch.config.problems import ConfigurationError
from kmwatch.config.settings import Settings
from kmwatch.core.health import Health, heartbeat
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.rules.detection_lag import META as DETECTION_LAG
from kmwatch.core.step import Engine
from kmwatch.delivery import Delivery, State
from kmwatch.inventory.rows import InventoryError
from kmwatch.pipeline import Pipeline
from kmwatch.ports import ConfigurationError as RefusedError
from kmwatch.ports import Fenced, SinkAccount, SourceError, Standing, StateError, StoreError, UndeliveredError
from kmwatch.sources.positions import partition_of
from kmwatch.telemetry.deliveries import DeliveryTelemetry
from kmwatch.telemetry.heartbeat import beats, report
from kmwatch.telemetry.http import Access, HttpServer, Readiness
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.observer import Telemetry
from kmwatch.telemetry.selfwatch import SelfWatch
from kmwatch.telemetry.status import Totals, totals
from kmwatch.telemetry.zeros import start_at_zero
from kmwatch.wire.event import iso

log = structlog.get_logger("kmwatch")
DRAIN_SECONDS = 10.0
RETENTION_SECONDS = 30 * 86_400.0  # delivered lines and rejected records are kept this long
_PRUNE_SECONDS = 3600.0
_STORE_LOOK = 15.0
_BACKLOG_LOOK = 0.05


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


def _access(settings: Settings) -> Access:
    http = settings.http
    return Access(None if http.token is None else http.token.get_secret_value(), http.cert, http.key)


def settle_memory() -> None:
    """Keep the collector from walking, again and again, through what start-up has made and will never let go.

    The hot path makes few cycles; with the default thresholds a full collection, tens of milliseconds of silence,
    would come every few thousand records.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else iso(int(seconds * 1e6))


class App:
    """One daemon. `run` returns when it is stopped, or when sources that end have been delivered."""

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        *,
        accept_gap: bool = False,
        reload: Callable[[], Loaded] | None = None,
    ) -> None:
        """Build all parts. Raises StoreError, SourceError or, for a sink, ports.ConfigurationError."""
        settings = loaded.settings
        self._loaded, self._clock, self._reload = loaded, clock, reload
        self.metrics = Metrics()
        start_at_zero(self.metrics, assembly.rule_settings(settings), loaded.declarations.callers())
        self._telemetry = Telemetry(self.metrics)
        self._source = assembly.source(settings, clock, accept_gap=accept_gap)
        self._store = assembly.store(settings, clock)
        made = outlets.sinks(settings, clock)
        lag = assembly.rule_settings(settings)[DETECTION_LAG.id]
        self._selfwatch = SelfWatch(lag, loaded.declarations, clock)
        names = [sink.name for sink in made]
        self._deliveries = DeliveryTelemetry(self.metrics, clock, names, self._selfwatch.delivered)
        self._delivery = Delivery(self._store, made, self._deliveries, now=lambda: int(clock.now() * 1e6))
        self._pipeline = Pipeline(
            self._source,
            self._store,
            self._engine,
            assembly.router(settings),
            self._telemetry,
            bounds=assembly.bounds(settings),
            committed=self._delivery.notify,
            notices=self._selfwatch.notices,
        )
        self._accounts: dict[str, SinkAccount] = {}  # as last seen
        self._http = HttpServer(self.metrics, self.readiness, self.status, _access(settings))
        self._stopping = asyncio.Event()
        self._marks = outlets.marks(settings)
        self._reloading = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._fatal: StateError | None = None
        self.port: int | None = None

    async def run(self, *, any_port: bool = False, ended: Callable[[], Awaitable[None]] | None = None) -> None:
        """Run until stopped.

        Args:
            any_port: take another port if the configured one is in use.
            ended: what to do when the sources have ended and all is delivered, before anything stops.

        Raises:
            SourceError, StoreError, OSError: what it cannot go on without.
        """
        host, _, port = self._loaded.settings.http.listen.rpartition(":")
        try:
            self.port = await self._http.start(host.strip("[]"), int(port))
        except OSError as error:
            if not any_port:
                raise OSError(f"cannot listen on {host}:{port}: {error.strerror or error}; set http.listen") from error
            self.port = await self._http.start(host.strip("[]"), 0)
        self._handle_signals()
        settle_memory()
        log.info("started", http=f"{host}:{self.port}", declarations=self._loaded.declarations.digest[:16])
        self._begin(self._housekeeping())
        self._begin(self._heartbeats())
        self._begin(self._inventory())
        self._delivery.start()
        try:
            await self._pipeline.run()
            with suppress(Fenced):  # then another instance delivers
                await self._deliver_all()
            if ended is not None and not self._stopping.is_set():
                await ended()
        finally:
            for task in self._background:
                task.cancel()
            await self._stop()
        if self._fatal is not None:
            raise self._fatal

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def stop(self) -> None:
        """Drain and stop."""
        if not self._stopping.is_set():
            log.info("stopping")
        self._stopping.set()
        self._pipeline.stop()

    async def stopped(self) -> None:
        """Wait until somebody asks to stop."""
        await self._stopping.wait()

    async def readiness(self) -> Readiness:
        """Ready: reading, store usable, and no required sink in trouble."""
        standing, problems = self._standing(), list[str]()
        required = {sink.name for sink in self._loaded.settings.sinks if sink.required}
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
        metrics, lag = self.metrics, dict(self._source.lag())
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
            self._loaded.declarations.digest,
            None if reached is None else iso(reached),
            {witness: None if at is None else iso(at) for witness, at in witnesses.items()},
            {host or "-": ahead / SECOND for host, ahead in engine.join.skews.estimates.items()},
            lag,
            self._telemetry.missing,
            [SinkStatus(s.sink, s.state, s.attempts, s.last_error) for s in self._delivery.states()],
            totals(engine, accounts),
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

    def _engine(self) -> Engine:
        return assembly.engine(self._loaded.settings, self._loaded.declarations)

    async def _deliver_all(self) -> None:
        """The sources have ended: deliver what they gave, however long that takes.

        Raises:
            UndeliveredError: only sinks that refuse us are left; waiting would help nobody.
        """
        while self._store.backlog() > 0 and not self._stopping.is_set():
            await asyncio.sleep(_BACKLOG_LOOK)
            self._store.check()
            paused = {state.sink: state.last_error for state in self._delivery.states() if state.state is State.PAUSED}
            if paused:
                accounts = await self._store.accounts()
                names = (sink.name for sink in self._delivery.sinks)
                waiting = {name for name in names if name in accounts and accounts[name].pending}
                if waiting and waiting <= paused.keys():
                    why = "; ".join(f"sink {sink} refuses: {paused[sink]}" for sink in sorted(waiting))
                    raise UndeliveredError(f"{why}. Its lines stay in the store: mend it and start again")

    async def _stop(self) -> None:
        if not await self._delivery.drain(DRAIN_SECONDS):
            log.warning("undelivered", waiting=self._store.backlog(), then="the next start delivers them")
        for close in (
            self._source.close,
            *(sink.close for sink in self._delivery.sinks),
            self._http.close,
            self._store.close,
        ):
            with suppress(SourceError, StoreError, StateError):
                await close()
        log.info("stopped")

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._reload_now()))

    async def _reload_now(self) -> None:
        """Take new callers, detections, sinks and routes; a configuration with errors changes nothing at all."""
        if self._reload is None:
            return
        async with self._reloading:
            try:
                loaded = self._reload()
                plan = outlets.plan(loaded.settings, self._marks, self._clock)
            except (ConfigurationError, RefusedError) as error:
                self.metrics.reloaded.set(0)
                found = [p.render() for p in error.problems] if isinstance(error, ConfigurationError) else [str(error)]
                log.error("reload_failed", problems=found, then="the one before goes on")  # noqa: TRY400  (no trace)
                return
            await self._take(loaded, plan)

    async def _take(self, loaded: Loaded, plan: outlets.Plan) -> None:
        kept = ("sources", "store", "http")
        restart = [key for key in kept if getattr(loaded.settings, key) != getattr(self._loaded.settings, key)]
        changes = {key: getattr(self._loaded.settings, key) for key in kept}
        settings = loaded.settings.model_copy(update=changes)
        self._loaded, self._marks = replace(loaded, settings=settings), plan.marks
        names = list(plan.marks)
        self._deliveries.expect(names)
        start_at_zero(self.metrics, assembly.rule_settings(settings), loaded.declarations.callers())
        self._pipeline.renew(self._engine, assembly.router(settings), assembly.bounds(settings))
        await self._delivery.change(plan.gone, plan.made, names)
        with suppress(StoreError):
            await self._store.serve(names)
        self.metrics.reloaded.set(1)
        made = [sink.name for sink in plan.made]
        digest = loaded.declarations.digest[:16]
        log.info("reloaded", declarations=digest, sinks=made, gone=sorted(plan.gone), need_a_restart=restart)

    async def _inventory(self) -> None:
        """Read the inventory again now and then; one that cannot be read leaves the last one in place."""
        while True:
            source = self._loaded.settings.inventory
            every = None if source is None else source.refresh
            await asyncio.sleep(_PRUNE_SECONDS if every is None else every / SECOND)
            if every is not None:
                async with self._reloading:
                    await self._read_inventory()

    async def _read_inventory(self) -> None:
        try:
            loaded = await asyncio.to_thread(refreshed, self._loaded)
        except InventoryError as error:
            log.warning("inventory_failed", error=str(error), then="the one before goes on")
            return
        if loaded is not self._loaded:
            self._loaded = loaded
            settings = loaded.settings
            self._pipeline.renew(self._engine, assembly.router(settings), assembly.bounds(settings))
            log.info("inventory_read", declarations=loaded.declarations.digest[:16])

    def _witnesses(self, engine: Engine) -> dict[str, Micros | None]:
        """The event time of the latest record of each witness that is expected or heard."""
        found: dict[str, Micros | None] = dict.fromkeys(assembly.witnesses(self._loaded.settings))
        return found | {str(witness): at for witness, at in engine.feed.last_seen().items()}

    def _heartbeats(self) -> Coroutine[None, None, None]:
        def wanted() -> dict[str, int]:
            return {sink.name: sink.heartbeat for sink in self._loaded.settings.sinks if sink.heartbeat is not None}

        return beats(wanted, self._heartbeat, self._delivery.beat, self._clock)

    async def _heartbeat(self) -> Health:
        engine, ready = self._pipeline.engine, await self.readiness()
        found = report(
            totals(engine, await self._last_accounts()),
            lag=self._source.lag(),
            last_event=engine.watermark.value,
            witnesses=self._witnesses(engine),
            problems=ready.problems,
        )
        return heartbeat(found, int(self._clock.now() * SECOND), f"{socket.gethostname()}:{os.getpid()}")

    async def _housekeeping(self) -> None:
        """Prune now and then; look at the store often enough to hear of damage, and of what operators put back."""
        pruned = self._clock.monotonic()
        while True:
            await asyncio.sleep(_STORE_LOOK)
            try:
                await self._store.accounts()
                if self._clock.monotonic() - pruned >= _PRUNE_SECONDS:
                    pruned = self._clock.monotonic()
                    await self._store.prune(self._clock.now() - RETENTION_SECONDS)
                    now = int(self._clock.now() * SECOND)
                    await self._store.prune_reads(now - self._loaded.settings.ledger.retention)
            except StoreError as error:
                log.warning("store_failed", error=str(error))
            except StateError as error:
                self._fatal = error
                self.stop()
                return
