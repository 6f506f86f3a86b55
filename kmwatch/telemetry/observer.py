"""Turns what the pipeline and delivery report into metrics, log lines and the health of the daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import structlog
from prometheus_client import Counter as PrometheusCounter

from kmwatch.clock import Clock
from kmwatch.core.account import Account, StreamAccount
from kmwatch.core.detect import Judged
from kmwatch.core.model import SECOND, Activity, Finding, Kind, Micros, Outcome
from kmwatch.core.step import Engine, Output
from kmwatch.telemetry.metrics import Metrics

log = structlog.get_logger("kmwatch")


class Telemetry:
    """See `pipeline.Observer`."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        """Write to these metrics."""
        self.metrics = metrics
        self._clock = clock
        self._before: dict[str, int] = {}
        self._rejected_told: Counter[str] = Counter()
        self.seen: Micros | None = None  # event time of the latest CADF record
        self.missing: dict[str, int] = {}

    def stepped(self, out: Output, engine: Engine) -> None:
        """Add up a slice."""
        metrics, tally = self.metrics, out.tally
        for result, n in tally.joins.items():
            metrics.join.labels(result).inc(n)
        metrics.join.labels("timed_out").inc(tally.timed_out)
        metrics.gaps.inc(tally.unanswered)
        self._events(out.judged)
        self._findings(out.findings)
        metrics.joins_open.set(len(engine.join.open))
        known = [at for at in engine.watermark.seen.values() if at is not None]
        if known:
            self.seen = max(known)
            metrics.witness_seen.labels("cadf").set(self.seen / SECOND)

    def committed(self, engine: Engine) -> None:
        """Say what evictions and suppressions a durable batch brought."""
        for kind, total in evictions(engine).items():
            self._rise(f"evicted/{kind}", total, self.metrics.evicted.labels(kind))
        for rule, total in engine.account.suppressed.items():
            self._rise(f"suppressed/{rule}", total, self.metrics.suppressed.labels(rule))
        for name, stream in engine.account.streams.items():
            self._records(name, stream)
        self._tell_rejected(engine.account)

    def lost(self, why: str) -> None:
        """Another instance reads now."""
        self._before = {name: n for name, n in self._before.items() if not name.startswith("evicted/")}
        log.warning("lost_claim", why=why, then="memory dropped; will go on from the store")

    def store_failed(self, error: str) -> None:
        """A commit is tried again."""
        self.metrics.store_failures.inc()
        log.error("store_failed", error=error, then="the same batch is tried again; nothing is lost")

    def gaps(self, gaps: Mapping[str, int]) -> None:
        """Records are missing, and the operator knows."""
        self.missing = dict(gaps)
        self.metrics.missing.inc(sum(gaps.values()))
        log.error("records_missing", streams=self.missing, accepted_by="--accept-gap")

    def crowded(self, waiting: int) -> None:
        """Reading pauses."""
        log.warning("outbox_full", waiting=waiting, then="reading pauses until sinks have taken some")

    def _events(self, judged: list[Judged]) -> None:
        events: dict[tuple[Kind, Outcome], int] = {}
        reads: Counter[tuple[str, str, str]] = Counter()
        for item in judged:
            event = item.event
            key = event.kind, event.outcome
            events[key] = events.get(key, 0) + 1
            if item.match is not None:
                verdict = {True: "explained", False: "unexplained", None: "undecided"}[item.match.explained]
                reads[verdict, item.match.reason, item.match.caller or "undeclared"] += 1
        for key, n in events.items():
            self.metrics.events.labels(*key).inc(n)
        for read, n in reads.items():
            self.metrics.retrievals.labels(*read).inc(n)

    def _records(self, name: str, stream: StreamAccount) -> None:
        source = "file" if name.startswith("file:") else "kafka"
        totals = {f"ignored_{reason}": n for reason, n in stream.ignored.items()}
        totals |= {f"rejected_{reason}": n for reason, n in stream.rejected.items()}
        totals |= {"joined": stream.joined, "duplicate": stream.duplicate}
        for outcome, total in totals.items():
            self._rise(f"{name}/{outcome}", total, self.metrics.records.labels(source, "cadf", outcome))

    def _findings(self, findings: list[Finding]) -> None:
        for finding in findings:
            if finding.activity is Activity.CREATE:
                self.metrics.findings.labels(finding.rule, finding.severity.name.lower(), finding.mode).inc()

    def _rise(self, name: str, total: int, counter: PrometheusCounter) -> None:
        more = total - self._before.get(name, 0)
        if more > 0:
            counter.inc(more)
            self._before[name] = total

    def _tell_rejected(self, account: Account) -> None:
        """One line for each reason and batch that rejected something: an operator must hear of it."""
        now: Counter[str] = Counter()
        for stream in account.streams.values():
            now.update(stream.rejected)
        fresh = now - self._rejected_told
        if fresh and self._rejected_told | now:
            log.warning(
                "records_rejected",
                reasons={str(reason): n for reason, n in fresh.items()},
                kept_in="table rejected of the store",
            )
        self._rejected_told = now


def evictions(engine: Engine) -> dict[str, int]:
    """How much analytic state had to make room, by kind, since this engine began."""
    out = {"join": engine.join.evicted, "order": engine.order.evicted}
    out |= {keyed.name: keyed.evicted for keyed in engine.detector.states()}
    return out
