"""What a process tells of the work it does (kmwatch.telemetry.observer)."""

from __future__ import annotations

from structlog.testing import capture_logs

from kmwatch.core.record import Rejected, RejectReason
from kmwatch.core.step import Engine
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.observer import Telemetry
from tests.support.audit import engine, record

UNREADABLE = Rejected(RejectReason.NOT_JSON, "no JSON")


def counted(metrics: Metrics, outcome: str) -> float | None:
    return metrics.registry.get_sample_value(
        "kmwatch_records_total", {"source": "kafka", "form": "cadf", "outcome": outcome}
    )


def restored() -> Engine:
    """An engine as the store gives it back: earlier processes have counted in its account."""
    engine_ = engine()
    engine_.step([("t/0", record(1)), ("t/0", UNREADABLE)])
    return engine_


def test_counters_of_a_new_process_start_at_0_whatever_the_store_has_counted() -> None:
    told, metrics = restored(), Metrics()
    telemetry = Telemetry(metrics)
    telemetry.began(told)
    telemetry.committed(told)
    assert (counted(metrics, "joined"), counted(metrics, "rejected_not_json")) == (0, 0)


def test_counters_follow_what_this_process_commits() -> None:
    told, metrics = restored(), Metrics()
    telemetry = Telemetry(metrics)
    telemetry.began(told)
    told.step([("t/0", record(2)), ("t/0", UNREADABLE), ("t/0", UNREADABLE)])
    telemetry.committed(told)
    assert (counted(metrics, "joined"), counted(metrics, "rejected_not_json")) == (1, 2)


def test_rejections_are_told_once_and_not_again_after_a_restart() -> None:
    told = restored()
    telemetry = Telemetry(Metrics())
    telemetry.began(told)
    with capture_logs() as lines:
        telemetry.committed(told)
        told.step([("t/0", UNREADABLE)])
        telemetry.committed(told)
        telemetry.committed(told)
    assert [line["reasons"] for line in lines] == [{"not_json": 1}]
