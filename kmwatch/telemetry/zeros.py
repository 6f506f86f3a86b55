"""Label sets that exist from the start, at 0: a rate, or an increase, sees only what comes after a first value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from kmwatch.core.model import Kind, Outcome, Reason, Severity
from kmwatch.core.rules.base import Settings
from kmwatch.telemetry.metrics import Metrics

_UNDECIDED = frozenset((Reason.SECRET_UNKNOWN, Reason.IDENTITY_UNRESOLVED, Reason.EVIDENCE_MISSING))


def start_at_zero(metrics: Metrics, rules: Mapping[str, Settings], callers: Iterable[str]) -> None:
    """Make the label sets that a release and its configuration can fill; those that exist keep their values.

    Args:
        metrics: what to make them in.
        rules: how each rule runs. A finding may be graver, or less grave, than its rule says.
        callers: names of the declared callers.
    """
    for rule, chosen in rules.items():
        metrics.suppressed.labels(rule)
        metrics.silenced.labels(rule)
        for severity in Severity:
            metrics.findings.labels(rule, severity.name.lower(), chosen.mode)
    for caller, reason in product((*callers, "undeclared"), Reason):
        if caller != "undeclared" or reason is not Reason.DECLARED:  # nobody undeclared is explained
            metrics.retrievals.labels(_verdict(reason), reason, caller)
    for reading in ("read", "failed"):
        metrics.inventory_readings.labels(reading)
    for kind, outcome in product(Kind, Outcome):
        metrics.events.labels(kind, outcome)


def _verdict(reason: Reason) -> str:
    if reason is Reason.DECLARED:
        return "explained"
    return "undecided" if reason in _UNDECIDED else "unexplained"
