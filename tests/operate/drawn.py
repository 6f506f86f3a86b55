"""A dashboard's JSON and what a Prometheus answers to its expressions: all that a renderer needs of each panel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.servers.prometheus import PrometheusServer, Series
from tests.support.daemon import CHECKOUT

_GRAFANA = CHECKOUT / "deploy" / "grafana"
_BAR, _STEP, _RATE = 3, 1, 5  # seconds; Prometheus scrapes each second here
_Json = dict[str, Any]


def drawn(uid: str, prometheus: PrometheusServer, start: float, end: float) -> _Json:
    """The panels of one dashboard over a time, as data for board.html."""
    board = json.loads(Path(_GRAFANA / f"{uid}.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    return {
        "title": board["title"],
        "about": board["description"],
        "start": start,
        "end": end,
        "height": max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels),
        "rows": [{"title": p["title"], "y": p["gridPos"]["y"]} for p in board["panels"] if p["type"] == "row"],
        "panels": [_panel(panel, prometheus, start, end) for panel in panels],
    }


def _panel(panel: _Json, prometheus: PrometheusServer, start: float, end: float) -> _Json:
    place, defaults = panel["gridPos"], panel["fieldConfig"]["defaults"]
    steps = defaults.get("thresholds", {}).get("steps", [])
    mappings = [m["options"] for m in defaults.get("mappings", [])]
    made: _Json = {
        "title": panel["title"],
        "link": panel["links"][0]["title"].removeprefix("Runbook "),
        "unit": defaults.get("unit", "short"),
        "empty": defaults.get("noValue", ""),
        "x": place["x"], "y": place["y"], "w": place["w"], "h": place["h"],
        "neutral": panel.get("options", {}).get("colorMode") == "none",
        "alarm": steps[-1]["value"] if len(steps) > 1 else None,
        "words": mappings[0] if mappings else {},
        "colours": _colours(panel),
    }  # fmt: skip
    bars = defaults.get("custom", {}).get("drawStyle") == "bars"
    made["kind"] = {"stat": "stat", "table": "table"}.get(panel["type"], "bars" if bars else "lines")
    made["step"] = _BAR if bars else _STEP
    found = [
        (target, one)
        for target in panel["targets"]
        for one in _ask(prometheus, target, start, end, made["step"], instant=made["kind"] in ("stat", "table"))
    ]
    if made["kind"] == "stat":
        made["values"] = [{"name": _name(t, one), "value": float(one.value[1])} for t, one in found if one.value]
    elif made["kind"] == "table":
        made |= _table(panel, [one for _, one in found])
    else:
        made["series"] = [
            {"name": _name(t, one), "points": [(at, float(v)) for at, v in one.values]} for t, one in found
        ]
    return made


def _ask(
    prometheus: PrometheusServer, target: _Json, start: float, end: float, step: int, *, instant: bool
) -> list[Series]:
    expr = target["expr"].replace("$__range", f"{int(end - start)}s").replace("$__interval", f"{step}s")
    expr = expr.replace("$__rate_interval", f"{_RATE}s")
    return prometheus.query(expr) if instant else prometheus.range(expr, start, end, step)


def _name(target: _Json, one: Series) -> str:
    legend: str = target["legendFormat"]
    return re.sub(r"\{\{(\w+)\}\}", lambda found: one.metric.get(found[1], ""), legend)


def _table(panel: _Json, found: list[Series]) -> _Json:
    how = panel["transformations"][0]["options"]
    names = sorted(how["indexByName"], key=how["indexByName"].__getitem__)
    cells = [
        [float(one.value[1]) if n == "Value" else one.metric.get(n, "") for n in names] for one in found if one.value
    ]
    severities = {
        word: told["color"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "mappings"
        for word, told in one["value"][0]["options"].items()
    }
    return {"columns": [how["renameByName"][n] for n in names], "cells": cells, "severities": severities}


def _colours(panel: _Json) -> dict[str, str]:
    return {
        override["matcher"]["options"]: one["value"]["fixedColor"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    }
