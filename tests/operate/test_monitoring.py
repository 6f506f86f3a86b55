"""Alert rules and dashboards hold together with the daemon's metrics, the runbooks and a real Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.grafana.dashboards import render
from deploy.grafana.panels import BOARDS, Board
from tests.operate.expressions import FOREIGN, RULES, RUNBOOKS, Alert, alerts, exposed, shown, used
from tests.operate.monitored import feed, watched
from tests.servers.prometheus import PrometheusServer, promtool
from tests.support.daemon import Daemon

ALERTS = alerts()
# What a healthy run has none of: nothing was refused, evicted or judged without evidence.
QUIET = {
    "Reads that cannot be judged",
    "Lag by partition",  # of Kafka; the run reads files
    "Deliveries",  # its second query: lines that are dead
    "Outbox by sink",  # the same
    "Evicted",
    "Readings of the inventory",  # the run's is a file that does not change
}


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_where_it_should_and_is_silent_beside() -> None:
    """Promtool test rules: expected labels and annotations stand in the file of tests."""
    done = promtool("test", "rules", "kmwatch.rules.test.yaml", cwd=RULES.parent)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((RULES.parent / "kmwatch.rules.test.yaml").read_text(encoding="utf-8"))["tests"]
    cases = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]
    assert {(alert.name, fires) for alert in ALERTS for fires in (True, False)} == set(cases)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert.name))
def test_each_alert_has_a_runbook_and_says_where(alert: Alert) -> None:
    assert alert.runbook == f"docs/runbooks/{alert.name}.md"
    assert (RUNBOOKS / f"{alert.name}.md").is_file()
    assert alert.severity in {"critical", "warning", "info"}


def test_rules_and_panels_use_only_metrics_that_are_exposed() -> None:
    asked = {name for alert in ALERTS for name in used(alert.expr)} | {n for one in shown() for n in used(one.expr)}
    assert len(asked) > 20
    assert asked - exposed() == FOREIGN


def test_each_metric_of_ours_is_shown_or_alerted_on() -> None:
    asked = {name for alert in ALERTS for name in used(alert.expr)} | {n for one in shown() for n in used(one.expr)}
    ours = {name for name in exposed() if name.startswith("kmwatch_") and not name.endswith(("_sum", "_count"))}
    assert ours - asked == set(), "give it a panel in deploy/grafana/panels.py, then ./dev dashboards"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.uid))
def test_the_committed_dashboard_is_what_its_panels_say(board: Board) -> None:
    committed = Path(RULES.parents[1] / "grafana" / f"{board.uid}.json").read_text(encoding="utf-8")
    assert render(board) == committed, "run ./dev dashboards"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: str(board.uid))
def test_each_panel_links_to_a_runbook_that_is_there(board: Board) -> None:
    runbooks = {panel.runbook for row in board.rows for panel in row.panels}
    assert {name for name in runbooks if not (RUNBOOKS / f"{name}.md").is_file()} == set()


def test_promtool_accepts_every_expression_of_a_panel(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": one.expr} for number, one in enumerate(shown())]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_expression_has_data_in_a_real_prometheus_that_watched_a_real_run(tmp_path: Path) -> None:
    """The recording is fed while Prometheus scrapes: panels show what happened, and no alert rule is refused."""
    source = feed(tmp_path)
    with (
        Daemon(tmp_path, watched(tmp_path)) as daemon,
        PrometheusServer(tmp_path / "prometheus", [f"127.0.0.1:{daemon.port}"]) as prometheus,
    ):
        daemon.start()
        prometheus.wait_until("kmwatch_active == 1")
        for _ in source.parts(2):
            pass
        daemon.wait_until(lambda status: status.account.records.consumed == source.records, "all is read")
        prometheus.wait_until(f"sum(kmwatch_records_total) >= {source.records * 0.9}")  # the rest waits in the join
        prometheus.wait_until("sum(kmwatch_deliveries_total) > 0 and sum(kmwatch_retrievals_total) > 0")
        empty = {(one.panel) for one in shown() if not prometheus.query(one.expr)}
        for alert in ALERTS:
            prometheus.query(alert.expr)
    assert empty - QUIET == set()
