"""The whole way: records of a real Key Manager -> Kafka -> the daemon -> what a real rsyslog and a file have."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import json

from kmwatch.condition import Status
from kmwatch.ports import INVENTORY
from kmwatch.telemetry.http import Readiness
from tests.servers.kafka import KafkaServer
from tests.servers.rsyslog import Rsyslog
from tests.support.cef import CefEvent, parse_cef
from tests.support.daemon import Answer, Config, Daemon, configuration, file_sink, kafka_source
from tests.support.recorded import PARTITIONS, Alert, Recorded, Reference, alerts_in, produce, recording, replayed
from tests.support.store import Rejected, rejected

READS = Path(__file__).with_name("data") / "reads.tsv"
TOKEN = "gAAAAABrBKZ0Tlk3fTp6N03D1FDYcm5TzSBOWWRqRSA"
GARBAGE = b'\xff\xfe{"credential": {"token": "' + TOKEN.encode() + b'"'
FOREIGN = b'{"oslo.version": "2.0", "oslo.message": "{\\"event_type\\": \\"compute.instance.create.end\\"}"}'
METRICS = {  # contract: what dashboards and alert rules rely on; histograms by their count
    "records_total",
    "events_total",
    "retrievals_total",
    "findings_total",
    "suppressed_total",
    "deliveries_total",
    "outbox_pending",
    "outbox_oldest_seconds",
    "lag_records",
    "detection_seconds_count",
    "join_total",
    "joins_open",
    "witness_last_seen_seconds",
    "audit_gap_total",
    "config_last_reload_success",
    "build_info",
}
UNUSED = {"dead_letters_total", "state_evicted_total"}  # exposed without a sample until the first one


@dataclass(frozen=True)
class Run:
    """What one daemon did with the recording, and what replay says of the same records."""

    reference: Reference
    before: Status  # while one receiver was away
    after: Status
    health: Answer | None
    ready: Answer | None
    metrics: dict[str, float]
    help: str
    exit_code: int
    log: list[str]
    siem: list[CefEvent]
    archive: list[Alert]
    latecomer: list[CefEvent]
    rejected: list[Rejected]
    topic: str
    garbage_at: int


def sinks(folder: Path, siem: Rsyslog, latecomer: Rsyslog) -> list[Config]:
    return [
        {"name": "siem", "syslog": {"address": siem.tls, "ca": str(siem.ca)}, "format": "cef"},
        file_sink(folder),
        {"name": "latecomer", "syslog": {"address": latecomer.tcp}, "format": "cef", "required": False},
    ]


def received(receiver: Rsyslog) -> list[CefEvent]:
    return [parse_cef(message.msg) for message in receiver.received()]


def truth(kind: str) -> dict[str, str]:
    """Reads of a kind, "legit" or "unfamiliar": request id -> secret id."""
    rows = [line.split("\t") for line in READS.read_text().splitlines() if not line.startswith("#")]
    return {request: secret for verdict, request, secret in rows if verdict == kind}


UNREADABLE = "KMW-030"  # what the record beyond reading makes, which the replay has not


def lines(events: list[CefEvent]) -> list[str]:
    return [event.extension["externalId"] for event in events if event.class_id != UNREADABLE]


@pytest.fixture(scope="module")
def run(kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("end-to-end")
    receivers = [folder / "siem", folder / "latecomer"]
    for receiver in receivers:
        receiver.mkdir()
    records = recording()
    first = [record for record in records if record.partition == 0]
    garbage_at = len(first) // 2
    at = records.index(first[garbage_at])
    mixed = [*records[:at], Recorded(0, GARBAGE), Recorded(3, FOREIGN), *records[at:]]
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    asyncio.run(produce(kafka, topic, mixed))

    latecomer = Rsyslog(receivers[1])  # not started: its port is closed
    with Rsyslog(receivers[0]) as siem:
        config = configuration(folder, kafka_source(kafka.bootstrap, topic), sinks(folder, siem, latecomer))
        reference = replayed(folder / "replay", config, records)
        with Daemon(folder, config) as daemon:
            daemon.start()
            daemon.wait_until_ready()
            before = daemon.wait_until(
                lambda status: (
                    status.account.events.evaluated == reference.events
                    and all(status.account.sinks[name].pending == 0 for name in ("siem", "archive"))
                ),
                "all events are judged and delivered to the sinks that are there",
            )
            ready = daemon.get("/readyz")
            with latecomer:
                after = daemon.wait_until(
                    lambda status: status.account.sinks["latecomer"].pending == 0, "the latecomer has everything"
                )
                health, page, metrics = daemon.get("/healthz"), daemon.get("/metrics"), daemon.metrics()
                exit_code = daemon.terminate()
                asyncio.run(latecomer.wait_for(set(reference.lines())))
                asyncio.run(siem.wait_for(set(reference.lines())))
            assert page is not None
            yield Run(
                reference,
                before,
                after,
                health,
                ready,
                metrics,
                page.body.decode(),
                exit_code,
                [line.event for line in daemon.log()],
                received(siem),
                alerts_in(folder / "alerts.jsonl"),
                received(latecomer),
                rejected(folder / "kmwatch.db"),
                topic,
                garbage_at,
            )


def test_the_siem_has_exactly_the_lines_of_a_replay_once_each(run: Run) -> None:
    assert run.reference.lines()
    assert sorted(lines(run.siem)) == sorted(run.reference.lines())


def test_the_archive_has_exactly_the_lines_of_a_replay_once_each(run: Run) -> None:
    assert sorted(alert.line for alert in run.archive if alert.rule != UNREADABLE) == sorted(run.reference.lines())


def test_every_secret_that_was_read_by_an_unfamiliar_caller_is_named_in_an_alert(run: Run) -> None:
    alerts = [event for event in run.siem if event.class_id in {"KMW-001", "KMW-002"}]
    named = {secret for event in alerts for secret in event.extension.get("cs1", "").split(",") if secret}

    assert named == set(truth("unfamiliar").values())


def test_no_declared_read_is_cited_as_unexplained(run: Run) -> None:
    alerts = [event for event in run.siem if event.class_id in {"KMW-001", "KMW-002"}]
    cited = {request for event in alerts for request in event.extension["kmwatchRequestIds"].split(",")}

    assert cited
    assert cited <= set(truth("unfamiliar"))
    assert not cited & set(truth("legit"))


def test_unexplained_reads_are_counted_as_they_were_labelled(run: Run) -> None:
    def reads(verdict: str) -> float:
        return sum(
            value
            for name, value in run.metrics.items()
            if name.startswith("kmwatch_retrievals_total") and f'verdict="{verdict}"' in name
        )

    assert reads("unexplained") == len(truth("unfamiliar"))
    assert reads("explained") >= len(truth("legit"))


def test_the_account_balances_and_equals_what_was_produced(run: Run) -> None:
    account = run.after.account
    produced = len(recording())

    assert account.balanced
    assert account.records.consumed == produced + 2
    assert account.records.joined == produced
    assert account.records.ignored == {"not_audit": 1}
    assert account.records.rejected == {"unknown_form": 1}
    assert (account.records.duplicate, account.records.waiting) == (0, 0)
    assert account.events.made == account.events.evaluated == run.reference.events
    delivered = {stream: records.consumed for stream, records in account.streams.items() if stream != INVENTORY}
    assert delivered == {
        f"{run.topic}/{number}": sum(r.partition == number for r in recording()) + (number in {0, 3})
        for number in range(PARTITIONS)
    }
    assert set(run.after.lag.values()) == {0}


def test_a_record_beyond_reading_is_kept_with_its_position_and_without_its_token(run: Run) -> None:
    (kept,) = run.rejected

    assert (kept.stream, kept.position, kept.reason) == (f"{run.topic}/0", run.garbage_at, "unknown_form")
    assert b"credential" in kept.value
    assert TOKEN.encode()[:12] not in kept.value


def test_a_receiver_that_is_away_holds_up_nobody_else(run: Run) -> None:
    sinks = run.before.account.sinks
    (state,) = [sink for sink in run.before.sinks if sink.name == "latecomer"]

    made = len(run.reference.lines()) + 1  # and that of the record beyond reading
    assert sinks["siem"].delivered == sinks["archive"].delivered == made
    assert (sinks["latecomer"].delivered, sinks["latecomer"].pending) == (0, made)
    assert state.state in {"retrying", "sending"}
    assert state.last_error


def test_a_receiver_that_comes_up_late_gets_every_line(run: Run) -> None:
    assert sorted(lines(run.latecomer)) == sorted(run.reference.lines())
    assert run.after.account.sinks["latecomer"].delivered == len(run.reference.lines()) + 1


def test_it_is_alive_and_ready_although_a_sink_that_is_not_required_is_away(run: Run) -> None:
    assert run.health is not None
    assert run.health.status == 200
    assert run.ready is not None
    found = json.decode(run.ready.body, type=Readiness)
    assert (found.ready, found.problems) == (True, ())


def test_every_metric_of_the_contract_is_exposed(run: Run) -> None:
    samples = {name.partition("{")[0] for name in run.metrics}

    assert {f"kmwatch_{name}" for name in METRICS} <= samples
    for name in UNUSED:
        assert f"# TYPE kmwatch_{name} " in run.help


def test_sigterm_drains_and_ends_with_0(run: Run) -> None:
    assert run.exit_code == 0
    assert run.log[-1] == "stopped"
    assert "undelivered" not in run.log
    assert not [event for event in run.log if "never retrieved" in event or "Traceback" in event]
