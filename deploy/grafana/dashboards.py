"""Makes Grafana's JSON of what `panels.py` says: `./dev dashboards` writes kmwatch-soc.json and kmwatch-operator.json.

The data source and where runbooks are published are variables of each dashboard, so that the files fit everybody.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from deploy.grafana.panels import BOARDS, Board, Panel

HERE = Path(__file__).parent
RUNBOOKS = "https://docs.example.net/kmwatch/runbooks"  # a placeholder; the variable `runbooks` holds yours
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_BAR = "1m"  # the least width of a bar; it holds what happened in its time, so that bars add up
SEVERITIES = {"critical": "dark-red", "high": "red", "medium": "orange", "low": "yellow", "informational": "blue"}
WORDS = {"undeclared": "red", "joined": "green", "delivered": "green", "complete": "green"}
_HEIGHT = {"stat": 4, "table": 8, "lines": 8, "bars": 8}

Builder = stat.Panel | table.Panel | timeseries.Panel


def render(board: Board) -> str:
    """A dashboard as JSON with a final newline; the same bytes for the same panels."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["kmwatch"])
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("1m")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(dashboard.TextBoxVariable("runbooks").label("Runbooks at").default_value(RUNBOOKS))
        .link(dashboard.DashboardLink("kmwatch").type(models.DashboardLinkType.DASHBOARDS).tags(["kmwatch"]))
    )
    number = 0
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            number += 1
            made = made.with_panel(_panel(panel).id(number))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _panel(panel: Panel) -> Builder:
    runbook = dashboard.DashboardLink(f"Runbook {panel.runbook}").url(f"${{runbooks}}/{panel.runbook}.html")
    made: Builder = (
        _kind(panel)
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(panel.span)
        .height(panel.height or _HEIGHT[panel.kind])
        .no_value(panel.empty)
        .links([runbook.target_blank(target_blank=True)])
    )
    for query, ref in zip(panel.queries, "ABCDEF", strict=False):
        made = made.with_target(_target(panel, query.expr, query.legend, ref))
    return made


def _target(panel: Panel, expr: str, legend: str, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref)
    if panel.kind in ("stat", "table"):
        target = target.instant()
    return target.format(prometheus_models.PromQueryFormat.TABLE) if panel.kind == "table" else target


def _kind(panel: Panel) -> Builder:
    match panel.kind:
        case "stat":
            return _stat(panel)
        case "table":
            return _table(panel)
        case "bars":
            return _colours(
                panel,
                timeseries.Panel()
                .draw_style(common_models.GraphDrawStyle.BARS)
                .fill_opacity(80)
                .line_width(0)
                .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
                .interval(_BAR)
                .legend(_legend("sum")),
            )
        case "lines":
            return _colours(panel, timeseries.Panel().fill_opacity(10).line_width(2).legend(_legend("lastNotNull")))


def _stat(panel: Panel) -> stat.Panel:
    levels = [models.Threshold(None, "green")]
    levels += [] if panel.alarm is None else [models.Threshold(panel.alarm, "red")]
    made = (
        stat.Panel()
        .thresholds(dashboard.ThresholdsConfig().steps(levels))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .decimals(0)
    )
    if panel.alarm is None and not panel.words:
        made = made.color_mode(common_models.BigValueColorMode.NONE)  # an amount that is neither good nor bad
    words = {str(word.value): models.ValueMappingResult(word.text, word.colour) for word in panel.words}
    return made.mappings([models.ValueMap(words)]) if words else made


def _table(panel: Panel) -> table.Panel:
    """Named columns in order, the rest hidden; a detection leads to its runbook, a severity has its colour."""
    order = {name: number for number, (name, _) in enumerate(panel.columns)}
    how = {"includeByName": dict.fromkeys(order, True), "indexByName": order, "renameByName": dict(panel.columns)}
    made = table.Panel().decimals(0).with_transformation(models.DataTransformerConfig("organize", options=how))
    for name, title in panel.columns:
        if name == "rule":
            link = {"title": "Runbook", "url": "${runbooks}/${__value.text}.html", "targetBlank": True}
            made = made.override_by_name(title, [models.DynamicConfigValue("links", [link])])
        elif name == "severity":
            words = {word: {"color": colour, "index": n} for n, (word, colour) in enumerate(SEVERITIES.items())}
            coloured = [{"type": "value", "options": words}]
            cell = models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
            made = made.override_by_name(title, [models.DynamicConfigValue("mappings", coloured), cell])
    return made


def _legend(calc: str) -> common.VizLegendOptions:
    """What the series are, and one number for each, beneath the chart."""
    mode, place = common_models.LegendDisplayMode.LIST, common_models.LegendPlacement.BOTTOM
    return common.VizLegendOptions().show_legend(show_legend=True).display_mode(mode).placement(place).calcs([calc])


def _colours(panel: Panel, made: timeseries.Panel) -> timeseries.Panel:
    """Words that mean the same have the same colour in every panel."""
    made = made.min(0)
    graver = any("severity" in query.legend for query in panel.queries)
    for name, colour in (SEVERITIES if graver else WORDS).items():
        fixed = models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        made = made.override_by_name(name, [fixed])
    return made


def main() -> None:
    """Write both."""
    for board in BOARDS:
        (HERE / f"{board.uid}.json").write_text(render(board), encoding="utf-8")


if __name__ == "__main__":
    main()
