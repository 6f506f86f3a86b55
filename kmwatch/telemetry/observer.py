"""Turns what the pipeline and delivery report into metrics, log lines and the health of the daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import structlog
from prometheus_client import Counter as PrometheusCounter

from kmwatch.core.account import Account, StreamAccount
from kmwatch.core.detect import Judged
from kmwatch.core.expected import witness_of
from kmwatch.core.join import Joined
from kmwatch.core.model import SECOND, Activity, Finding, Kind, Outcome
from kmwatch.core.record import Ignored, Slot
from kmwatch.core.step import Engine, Output
from kmwatch.ports import INVENTORY
from kmwatch.telemetry.metrics import Metrics

_OUTCOMES: dict[str, str] = {  # of a record that the join took, by what it made of it
    Joined.WAITING: "joined",
    Joined.COMPLETE: "joined",
    Joined.LATE_PART: "joined",
    Joined.UNWANTED: "ignored_unwanted",
}
log = structlog.get_logger("kmwatch")


class Telemetry:
    """See `pipeline.Observer`."""

    def __init__(self, metrics: Metrics) -> None:
        """Write to these metrics."""
        self.metrics = metrics
        self._before: dict[str, int] = {}  # totals that the counters, or an earlier process's, already hold
        self._rejected_told: Counter[str] = Counter()
        self.missing: dict[str, int] = {}

    def began(self, engine: Engine) -> None:
        """Take the restored account as told: what earlier processes counted is no news of this one."""
        self._before = {name: total for name, total, _ in self._totals(engine)}
        self._rejected_told = _rejected(engine.account)

    def stepped(self, out: Output, engine: Engine) -> None:
        """Add up a batch."""
        metrics, tally = self.metrics, out.tally
        for (stream, slot, result), n in tally.taken.items():
            metrics.join.labels(result).inc(n)
            metrics.records.labels(_source(stream), _form(slot), _OUTCOMES.get(result, result)).inc(n)
        metrics.join.labels("timed_out").inc(tally.timed_out)
        metrics.gaps.inc(tally.unanswered)
        self._events(out.judged)
        self._findings(out.findings)
        metrics.joins_open.set(len(engine.join.open))
        metrics.parked.set(engine.parked)
        metrics.secrets.set(len(engine.detector.declarations.holdings))
        for witness, at in engine.feed.last_seen().items():
            metrics.witness_seen.labels(witness).set(at / SECOND)

    def committed(self, engine: Engine) -> None:
        """Say what evictions and suppressions a durable batch brought."""
        for name, total, counter in self._totals(engine):
            counter.inc(max(0, total - self._before.get(name, 0)))
            self._before[name] = total
        self._tell_rejected(engine.account)

    def lost(self, why: str) -> None:
        """Another instance reads now."""
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
            if item.again:
                continue  # counted when it was told first
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

    def _totals(self, engine: Engine) -> Iterator[tuple[str, int, PrometheusCounter]]:
        """Every total that an engine keeps by itself, under a name of its own, and the counter that follows it."""
        for kind, total in evictions(engine).items():
            yield f"evicted/{kind}", total, self.metrics.evicted.labels(kind)
        for rule, total in engine.account.suppressed.items():
            yield f"suppressed/{rule}", total, self.metrics.suppressed.labels(rule)
        for rule, total in engine.account.silenced.items():
            yield f"silenced/{rule}", total, self.metrics.silenced.labels(rule)
        for name, stream in engine.account.streams.items():
            for outcome, total in _unread(stream).items():
                yield f"{name}/{outcome}", total, self.metrics.records.labels(_source(name), "none", outcome)

    def _findings(self, findings: list[Finding]) -> None:
        for finding in findings:
            if finding.activity is Activity.CREATE:
                self.metrics.findings.labels(finding.rule, finding.severity.name.lower(), finding.mode).inc()

    def _tell_rejected(self, account: Account) -> None:
        """One line for each reason and batch that rejected something: an operator must hear of it."""
        now = _rejected(account)
        fresh = now - self._rejected_told
        if fresh:
            log.warning(
                "records_rejected",
                reasons={str(reason): n for reason, n in fresh.items()},
                kept_in="table rejected of the store",
            )
        self._rejected_told = now


def _source(stream: str) -> str:
    if stream == INVENTORY:
        return "inventory"
    return "file" if stream.startswith("file:") else "kafka"


def _form(slot: int) -> str:
    return "inventory" if slot == Slot.STOCK else witness_of(slot)


def _unread(stream: StreamAccount) -> dict[str, int]:
    """Records that never reached the join, so that nobody knows a witness of theirs."""
    out = {f"ignored_{reason}": n for reason, n in stream.ignored.items() if reason != Ignored.UNWANTED}
    return out | {f"rejected_{reason}": n for reason, n in stream.rejected.items()}


def _rejected(account: Account) -> Counter[str]:
    out: Counter[str] = Counter()
    for stream in account.streams.values():
        out.update(stream.rejected)
    return out


def evictions(engine: Engine) -> dict[str, int]:
    """How much analytic state had to make room, by kind, since this engine began."""
    out = {"join": engine.join.evicted, "order": engine.order.evicted}
    out |= {keyed.name: keyed.evicted for keyed in engine.states()}
    return out
