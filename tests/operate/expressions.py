"""Every expression that we ship: of the alert rules and of the dashboards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from msgspec import Struct, convert
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from deploy.grafana.panels import BOARDS
from kmwatch.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "kmwatch.rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
FOREIGN = frozenset(("up",))  # Prometheus' own
_SUFFIXES: dict[type, tuple[str, ...]] = {Counter: ("_total",), Histogram: ("_bucket", "_sum", "_count")}
_NAME = re.compile(r"(?<![\w{,\"$])(?:kmwatch|process)_\w+|\bup\b")


class Alert(NamedTuple):
    """An alert rule."""

    name: str
    expr: str
    severity: str
    runbook: str


class Shown(NamedTuple):
    """An expression of a panel, with Grafana's variables filled in."""

    board: str
    panel: str
    expr: str


class _Rule(Struct):
    alert: str
    expr: str
    labels: dict[str, str]
    annotations: dict[str, str]


class _Group(Struct):
    rules: list[_Rule]


class _Rules(Struct):
    groups: list[_Group]


def alerts() -> list[Alert]:
    """The alert rules."""
    (group,) = convert(yaml.safe_load(RULES.read_text(encoding="utf-8")), _Rules).groups
    return [
        Alert(rule.alert, rule.expr, rule.labels["severity"], rule.annotations["runbook_url"]) for rule in group.rules
    ]


def shown(interval: str = "5m") -> Iterator[Shown]:
    """The expressions of the panels, over an interval."""
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                for query in panel.queries:
                    expr = re.sub(r"\$__(rate_interval|interval|range)", interval, query.expr)
                    yield Shown(board.uid, panel.title, expr)


def used(expr: str) -> set[str]:
    """The names of the metrics in an expression."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expr)))


def exposed() -> set[str]:
    """Every name that /metrics has, whether it has a value yet or not."""
    metrics = Metrics()
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            names |= {f"{metric._name}{suffix}" for suffix in _SUFFIXES.get(type(metric), ("",))}
    return names
