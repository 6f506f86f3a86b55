from __future__ import annotations

from kmwatch.core.model import Mode, Severity
from kmwatch.core.rules.base import Settings
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.zeros import start_at_zero

RULE = Settings(1, 0, Severity.HIGH, Mode.ENFORCE, 0)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_first_unexplained_read_or_a_graver_finding_is_an_increase_from_zero() -> None:
    metrics = Metrics()
    start_at_zero(metrics, {"KMW-001": RULE}, ["octavia"])
    assert value(metrics, "kmwatch_findings_total", rule="KMW-001", severity="critical", mode="enforce") == 0
    read = {"verdict": "unexplained", "reason": "no_declaration", "caller": "undeclared"}
    assert value(metrics, "kmwatch_retrievals_total", **read) == 0
    declared = {"verdict": "explained", "reason": "declared"}
    assert value(metrics, "kmwatch_retrievals_total", **declared, caller="octavia") == 0
    assert value(metrics, "kmwatch_retrievals_total", **declared, caller="undeclared") is None


def test_what_was_counted_stays_when_a_reload_makes_them_again() -> None:
    metrics = Metrics()
    metrics.suppressed.labels("KMW-001").inc(3)
    start_at_zero(metrics, {"KMW-001": RULE}, [])
    assert value(metrics, "kmwatch_suppressed_total", rule="KMW-001") == 3
