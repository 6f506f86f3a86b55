"""What a process tells of the work it does (kmwatch.telemetry.observer)."""

from __future__ import annotations

from structlog.testing import capture_logs

from kmwatch.core.model import MINUTE
from kmwatch.core.record import AuditRecord, Rejected, RejectReason
from kmwatch.core.step import Engine
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.observer import Telemetry
from tests.support.audit import START, engine, record, step

UNREADABLE = Rejected(RejectReason.NOT_JSON, "no JSON")


def counted(metrics: Metrics, outcome: str, form: str = "none") -> float | None:
    return metrics.registry.get_sample_value(
        "kmwatch_records_total", {"source": "kafka", "form": form, "outcome": outcome}
    )


def request(number: int) -> AuditRecord:
    """One request a minute, so that each lets the one before it become an event."""
    return record(number, at=START + number * MINUTE)


def restored() -> Engine:
    """An engine as the store gives it back: earlier processes have counted in its account."""
    engine_ = engine()
    step(engine_, [("t/0", request(1)), ("t/0", UNREADABLE), ("t/0", request(2))])
    assert engine_.account.streams["t/0"].joined == 1
    return engine_


def test_counters_of_a_new_process_start_at_0_whatever_the_store_has_counted() -> None:
    told, metrics = restored(), Metrics()
    telemetry = Telemetry(metrics)
    telemetry.began(told)
    telemetry.committed(told)
    assert (counted(metrics, "joined", "cadf"), counted(metrics, "rejected_not_json")) == (None, 0)


def test_counters_follow_what_this_process_does() -> None:
    told, metrics = restored(), Metrics()
    telemetry = Telemetry(metrics)
    telemetry.began(told)
    telemetry.stepped(step(told, [("t/0", request(3)), ("t/0", UNREADABLE), ("t/0", UNREADABLE)]), told)
    telemetry.committed(told)
    assert (counted(metrics, "joined", "cadf"), counted(metrics, "rejected_not_json")) == (1, 2)


def test_rejections_are_told_once_and_not_again_after_a_restart() -> None:
    told = restored()
    telemetry = Telemetry(Metrics())
    telemetry.began(told)
    with capture_logs() as lines:
        telemetry.committed(told)
        step(told, [("t/0", UNREADABLE)])
        telemetry.committed(told)
        telemetry.committed(told)
    assert [line["reasons"] for line in lines] == [{"not_json": 1}]
