"""The daemon: builds the parts, runs them in one task group, and stops them in the order of the flow.

source -> pipeline -> store -> delivery -> sinks          HTTP and housekeeping beside it
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace

import structlog

from kmwatch import assembly, outlets
from kmwatch.clock import Clock
from kmwatch.condition import Condition
from kmwatch.config.load import Loaded, refreshed
from kmwatch.config.problems import ConfigurationError
from kmwatch.config.settings import Settings
from kmwatch.core.model import SECOND
from kmwatch.core.rules.detection_lag import META as DETECTION_LAG
from kmwatch.core.step import Engine
from kmwatch.delivery import Delivery, State
from kmwatch.inventory.rows import InventoryError
from kmwatch.logins import Logins, Renewal
from kmwatch.pipeline import Pipeline
from kmwatch.ports import ConfigurationError as RefusedError
from kmwatch.ports import Fenced, SourceError, StateError, StoreError, UndeliveredError
from kmwatch.sources.inventory import InventorySource
from kmwatch.telemetry.deliveries import DeliveryTelemetry
from kmwatch.telemetry.heartbeat import beats
from kmwatch.telemetry.http import Access, HttpServer
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.observer import Telemetry
from kmwatch.telemetry.selfwatch import SelfWatch
from kmwatch.telemetry.zeros import start_at_zero

log = structlog.get_logger("kmwatch")
DRAIN_SECONDS = 10.0
RETENTION_SECONDS = 30 * 86_400.0  # delivered lines and rejected records are kept this long
_PRUNE_SECONDS = 3600.0
_STORE_LOOK = 15.0
_BACKLOG_LOOK = 0.05


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
        sources = assembly.sources(settings, clock, accept_gap=accept_gap)
        self._source, self._logins = assembly.merged(sources), Logins(settings.sources, sources)
        self._store = assembly.store(settings, clock)
        made = outlets.sinks(settings, clock)
        lag = assembly.rule_settings(settings)[DETECTION_LAG.id]
        self._selfwatch = SelfWatch(lag, loaded.declarations, clock)
        names = [sink.name for sink in made]
        self._deliveries = DeliveryTelemetry(self.metrics, clock, names, self._selfwatch.delivered)
        self._delivery = Delivery(self._store, made, self._deliveries, now=lambda: int(clock.now() * 1e6))
        self._inventory = InventorySource()
        self._give_inventory()
        self._pipeline = Pipeline(
            self._source,
            self._store,
            self._engine,
            assembly.router(settings),
            self._telemetry,
            bounds=assembly.bounds(settings),
            committed=self._delivery.notify,
            notices=self._selfwatch.notices,
            inventory=self._inventory,
        )
        self._condition = Condition(
            lambda: self._loaded,
            self._source,
            self._store,
            self._pipeline,
            self._delivery,
            metrics=self.metrics,
            clock=clock,
            missing=lambda: self._telemetry.missing,
        )
        self.status = self._condition.status
        self._http = HttpServer(self.metrics, self._condition.readiness, self.status, _access(settings))
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
        self._begin(self._read_inventories())
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
                renewal = await self._logins.plan(loaded.settings)
            except (ConfigurationError, RefusedError) as error:
                self.metrics.reloaded.set(0)
                found = [p.render() for p in error.problems] if isinstance(error, ConfigurationError) else [str(error)]
                log.error("reload_failed", problems=found, then="the one before goes on")  # noqa: TRY400  (no trace)
                return
            await self._take(loaded, plan, renewal)

    async def _take(self, loaded: Loaded, plan: outlets.Plan, renewal: Renewal) -> None:
        self._logins.take(renewal)
        if renewal.untried:
            log.warning("login_untried", problems=renewal.untried, then="the next connection goes by it")
        running = self._loaded.settings
        http = running.http.model_copy(update={"token": loaded.settings.http.token})
        kept = {"sources": renewal.sources, "store": running.store, "http": http}
        restart = [key for key, value in kept.items() if getattr(loaded.settings, key) != value]
        settings = loaded.settings.model_copy(update=kept)
        self._loaded, self._marks = replace(loaded, settings=settings), plan.marks
        self._give_inventory()
        self._http.renew(_access(settings).token)
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
        gone, logins = sorted(plan.gone), len(renewal.logins)
        log.info("reloaded", declarations=digest, sinks=made, gone=gone, logins=logins, need_a_restart=restart)

    def _give_inventory(self) -> None:
        """What was loaded with the configuration is the first reading."""
        configured = self._loaded.settings.inventory is not None
        self._inventory.give(self._loaded.declarations.secrets() if configured else None)

    async def _read_inventories(self) -> None:
        """Read the inventory again now and then; one that cannot be read leaves the last one in place."""
        while True:
            source = self._loaded.settings.inventory
            every = None if source is None else source.refresh
            await asyncio.sleep(_PRUNE_SECONDS if every is None else every / SECOND)
            if every is not None:
                async with self._reloading:
                    await self._read_inventory()

    async def _read_inventory(self) -> None:
        since, readings = self._pipeline.engine.moment(), self.metrics.inventory_readings
        try:
            loaded, written = await asyncio.to_thread(refreshed, self._loaded)
        except InventoryError as error:
            readings.labels("failed").inc()
            log.warning("inventory_failed", error=str(error), then="the one before goes on")
            return
        readings.labels("read").inc()
        age = 0 if written is None else max(0, int(self._clock.now() * SECOND) - written)
        await self._inventory.offer(loaded.declarations.secrets(), None if since is None else since - age)
        if loaded is not self._loaded:
            self._loaded = loaded
            log.info("inventory_read", declarations=loaded.declarations.digest[:16])

    def _heartbeats(self) -> Coroutine[None, None, None]:
        def wanted() -> dict[str, int]:
            return {sink.name: sink.heartbeat for sink in self._loaded.settings.sinks if sink.heartbeat is not None}

        return beats(wanted, self._condition.health, self._delivery.beat, self._condition.is_active, self._clock)

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
                    await self._store.prune_journal(now - int(RETENTION_SECONDS * SECOND))
            except StoreError as error:
                log.warning("store_failed", error=str(error))
            except StateError as error:
                self._fatal = error
                self.stop()
                return
