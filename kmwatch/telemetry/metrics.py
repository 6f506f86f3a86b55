"""The one catalogue of metrics. Renaming one is a breaking change; a label comes from configuration or an enum.

Nothing here is called for a single record: label sets are looked up once for each of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from kmwatch import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]
_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


class Metrics:
    """Every metric of the daemon, in a registry of its own."""

    def __init__(self) -> None:
        """Make them all, at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"kmwatch_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"kmwatch_{name}", text, labels, registry=registry)

        self.records = counter("records", "Records consumed, by what became of them.", "source", "form", "outcome")
        self.events = counter("events", "API requests after the join.", "kind", "outcome")
        self.retrievals = counter(
            "retrievals",
            "Successful payload reads, held against the caller map.",
            "verdict",
            "reason",
            "caller",
        )
        self.findings = counter("findings", "Findings created.", "rule", "severity", "mode")
        self.suppressed = counter("suppressed", "Hits of rules that an open finding has taken in.", "rule")
        self.silenced = counter("silenced", "Hits of rules that a silence keeps from being sent.", "rule")
        self.deliveries = counter("deliveries", "Lines of findings handed to sinks.", "sink", "outcome")
        self.outbox_pending = gauge("outbox_pending", "Lines that wait for a sink.", "sink")
        self.outbox_bytes = gauge("outbox_pending_bytes", "Octets of the lines that wait for a sink.", "sink")
        self.dead_waiting = gauge("outbox_dead", "Dead lines that wait for an operator.", "sink")
        self.outbox_oldest = gauge("outbox_oldest_seconds", "Age of the oldest line that waits for a sink.", "sink")
        self.dead_letters = counter("dead_letters", "Lines set aside as undeliverable.", "sink", "reason")
        self.lag = gauge("lag_records", "Records between our position and the partition's end.", "topic", "partition")
        self.detection = Histogram(
            "kmwatch_detection_seconds",
            "From the event time of what triggered a finding to its acknowledgement by a sink.",
            registry=registry,
            buckets=_BUCKETS,
        )
        self.join = counter("join", "What became of audit records in the join.", "result")
        self.joins_open = gauge("joins_open", "Requests that wait for more of their records.")
        self.witness_seen = gauge(
            "witness_last_seen_seconds", "Unix time of the latest record of a witness.", "witness"
        )
        self.gaps = counter("audit_gap", "Requests whose response the audit trail never showed.")
        self.evicted = counter("state_evicted", "Analytic state that had to make room.", "kind")
        self.parked = gauge(
            "events_parked", "Reads of secrets that the inventory does not know yet, and that wait for it."
        )
        self.secrets = gauge("inventory_secrets", "Secrets that the inventory holds, as verdicts know it.")
        self.inventory_readings = counter("inventory_readings", "Readings of the inventory while it runs.", "outcome")
        self.reloaded = gauge("config_last_reload_success", "Whether the last load of the configuration succeeded.")
        self.missing = counter("records_missing", "Records lost before they were read, as the operator accepted.")
        self.store_failures = counter("store_failures", "Commits that failed and were tried again.")
        self.active = gauge("active", "Whether this instance reads (1) or stands by (0).")
        self.epoch = gauge("epoch", "How often an instance has taken over this store.")
        info = gauge("build_info", "Constant 1, with the version.", "version")
        info.labels(__version__).set(1)
        self.reloaded.set(1)

    def names(self) -> Iterable[str]:
        """The names of all metric families, as Prometheus sees them."""
        return sorted(family.name for family in self.registry.collect())

    def expose(self) -> bytes:
        """The text exposition."""
        return generate_latest(self.registry)
