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
        .height(_HEIGHT[panel.kind])
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
            levels = [models.Threshold(None, "green")]
            levels += [] if panel.alarm is None else [models.Threshold(panel.alarm, "red")]
            return stat.Panel().thresholds(dashboard.ThresholdsConfig().steps(levels)).decimals(0)
        case "table":
            return table.Panel()
        case "bars":
            return (
                timeseries.Panel()
                .draw_style(common_models.GraphDrawStyle.BARS)
                .fill_opacity(80)
                .stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
                .min(0)
            )
        case "lines":
            return timeseries.Panel().fill_opacity(10).min(0)


def main() -> None:
    """Write both."""
    for board in BOARDS:
        (HERE / f"{board.uid}.json").write_text(render(board), encoding="utf-8")


if __name__ == "__main__":
    main()
