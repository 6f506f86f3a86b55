"""What delivery reports, as metrics and log lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from kmwatch.clock import Clock
from kmwatch.core.model import SECOND, Activity, Finding
from kmwatch.delivery import DeliveryState, FailureKind, State
from kmwatch.telemetry.metrics import Metrics

log = structlog.get_logger("kmwatch.delivery")


class DeliveryTelemetry:
    """See `delivery.DeliveryEvents`."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        sinks: Sequence[str],
        also: Callable[[Sequence[Finding]], None] = lambda _: None,
    ) -> None:
        """Write to these metrics, and tell `also` of deliveries; label sets of all sinks start at 0."""
        self._metrics, self._clock, self._also = metrics, clock, also
        self.expect(sinks)

    def expect(self, sinks: Sequence[str]) -> None:
        """Start the label sets of these sinks at 0."""
        metrics = self._metrics
        for sink in sinks:
            metrics.outbox_pending.labels(sink)
            metrics.outbox_oldest.labels(sink)
            metrics.outbox_bytes.labels(sink)
            metrics.dead_waiting.labels(sink)
            metrics.dead_letters.labels(sink, "refused")
            for outcome in ("delivered", *FailureKind):
                metrics.deliveries.labels(sink, outcome)

    def delivered(self, sink: str, findings: Sequence[Finding]) -> None:
        """Count, and observe how long detection took from end to end."""
        self._metrics.deliveries.labels(sink, "delivered").inc(len(findings))
        self._also(findings)
        now = self._clock.now()
        for finding in findings:
            if finding.activity is not Activity.CLOSE:
                self._metrics.detection.observe(max(0.0, now - finding.time / SECOND))

    def failed(self, sink: str, error: str, kind: FailureKind) -> None:
        """One line for each failed attempt; they are as rare as the backoff makes them."""
        self._metrics.deliveries.labels(sink, kind).inc()
        log.warning("delivery_failed", sink=sink, kind=kind, error=error)

    def dead(self, sink: str, findings: Sequence[Finding], reason: str) -> None:
        """Say which lines the receiver can never take."""
        self._metrics.dead_letters.labels(sink, "refused").inc(len(findings))
        log.error("dead_letter", sink=sink, lines=[finding.line_uid for finding in findings], reason=reason)

    def changed(self, state: DeliveryState) -> None:
        """A paused sink needs a person."""
        if state.state is State.PAUSED:
            log.error("sink_paused", sink=state.sink, error=state.last_error, then="tried again every minute")
