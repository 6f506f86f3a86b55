"""The bundled recording of a real Key Manager: what kmwatch says of it, and that only the recording decides."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kmwatch.pipeline
from kmwatch import assembly
from kmwatch.clock import Clock
from kmwatch.config.load import Loaded
from kmwatch.config.settings import Settings
from kmwatch.core.model import Kind
from kmwatch.sources.file import FileSource
from tests.golden import labelled
from tests.golden.replaying import GOLDEN, RECORDED, Replayed, configuration, lines, run, summary, table
from tests.support.audit import recorded_lines

SHUFFLED_BY_MS = 5000


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return configuration()


@pytest.fixture(scope="module")
def baseline(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return asyncio.run(run(loaded, [RECORDED], tmp_path_factory.mktemp("baseline")))


def same(one: Replayed, other: Replayed) -> bool:
    """Whether two replays wrote the same bytes and came to the same totals."""
    return (
        one.events == other.events
        and one.alerts == other.alerts
        and one.summary.records == other.summary.records
        and one.summary.findings == other.summary.findings
    )


# Golden files


def test_the_events_are_those_of_the_golden_table(baseline: Replayed) -> None:
    assert table(baseline.events) == (GOLDEN / "events.tsv").read_text()


def test_counts_and_digests_are_those_of_the_golden_summary(baseline: Replayed) -> None:
    assert summary(baseline) == json.loads((GOLDEN / "summary.json").read_text())


def test_every_record_is_accounted_for(baseline: Replayed) -> None:
    account = baseline.summary
    assert account.balanced
    assert account.records.consumed == account.records.joined == len(recorded_lines())
    assert (account.records.waiting, account.events.waiting) == (0, 0)
    assert account.events.made == account.events.evaluated == len(baseline.events.splitlines())
    assert sum(account.findings.lines.values()) == len(baseline.alerts.splitlines())


def test_events_are_sorted_by_time_and_id_and_alerts_by_time_and_uid(baseline: Replayed) -> None:
    events = [(event["event_time"], event["event_id"]) for event in lines(baseline.events)]
    alerts = [(alert["time"], alert["metadata"]["uid"]) for alert in lines(baseline.alerts)]
    assert events == sorted(events)
    assert [time for time, _ in alerts] == sorted(time for time, _ in alerts)
    assert len(set(alerts)) == len(alerts)


def test_every_finding_begins_and_ends(baseline: Replayed) -> None:
    by_finding: dict[str, list[str]] = {}
    for alert in lines(baseline.alerts):
        by_finding.setdefault(alert["finding_info"]["uid"], []).append(alert["activity_name"])
    assert {activities.count("Create") for activities in by_finding.values()} == {1}
    assert {activities.count("Close") for activities in by_finding.values()} == {1}


def test_a_finding_cites_only_requests_that_are_events(baseline: Replayed) -> None:
    known = {event["event_id"] for event in lines(baseline.events)}
    cited = {uid for alert in lines(baseline.alerts) for uid in alert["unmapped"]["kmwatch"]["event_ids"]}
    assert cited
    assert cited <= known


# The same input gives the same bytes


async def test_a_second_replay_gives_the_same_bytes(baseline: Replayed, loaded: Loaded, tmp_path: Path) -> None:
    assert same(await run(loaded, [RECORDED], tmp_path), baseline)


async def test_a_configuration_loaded_anew_gives_the_same_bytes(baseline: Replayed, tmp_path: Path) -> None:
    assert same(await run(configuration(), [RECORDED], tmp_path), baseline)


@pytest.mark.parametrize(("slice_", "read"), [(1, 1000), (7, 13), (10_000, 1), (10_000, 100_000)])
async def test_the_size_of_slices_and_reads_is_irrelevant(
    baseline: Replayed, loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_: int, read: int
) -> None:
    def files(paths: list[str], clock: Clock, settings: Settings) -> FileSource:  # noqa: ARG001
        return FileSource(paths, clock=clock, lines=read)

    monkeypatch.setattr(kmwatch.pipeline, "SLICE", slice_)
    monkeypatch.setattr(assembly, "files", files)
    assert same(await run(loaded, [RECORDED], tmp_path), baseline)


def stamped(line: bytes) -> int:
    return int(json.loads(line)["timestamp_ms"])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_order_of_arrival_is_irrelevant(
    baseline: Replayed, loaded: Loaded, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311
    arrive = sorted(recorded_lines(), key=lambda line: stamped(line) + draw.randint(0, SHUFFLED_BY_MS))
    assert arrive != list(recorded_lines())
    path = tmp_path / "shuffled.jsonl"
    path.write_bytes(b"".join(arrive))
    assert same(await run(loaded, [path], tmp_path), baseline)


def by_partition() -> Callable[[bytes], int]:
    return lambda line: int(json.loads(line)["partition"])


def by_chance() -> Callable[[bytes], int]:
    draw = random.Random(4)  # noqa: S311
    return lambda _: draw.randrange(3)


def by_turns() -> Callable[[bytes], int]:
    """Long runs: one file is silent while another goes on."""
    number = iter(range(10**6))
    return lambda _: next(number) // 400 % 2


@pytest.mark.parametrize("how", [by_partition, by_chance, by_turns])
async def test_how_the_recording_is_split_into_files_and_how_they_are_named_is_irrelevant(
    baseline: Replayed, loaded: Loaded, tmp_path: Path, how: Callable[[], Callable[[bytes], int]]
) -> None:
    part, content = how(), dict[int, list[bytes]]()
    for line in recorded_lines():
        content.setdefault(part(line), []).append(line)
    paths = []
    for number, some in content.items():
        path = tmp_path / f"{9 - number}.jsonl{'.gz' if number % 2 else ''}"
        path.write_bytes(gzip.compress(b"".join(some)) if number % 2 else b"".join(some))
        paths.append(path)
    assert len(paths) > 1
    for order in (paths, paths[::-1], sorted(paths)):
        assert same(await run(loaded, order, tmp_path), baseline)


async def test_records_that_come_twice_change_nothing_but_their_count(
    baseline: Replayed, loaded: Loaded, tmp_path: Path
) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_bytes(b"".join(line + line for line in recorded_lines()))
    twice = await run(loaded, [path], tmp_path)
    assert (twice.events, twice.alerts) == (baseline.events, baseline.alerts)
    assert twice.summary.records.duplicate == baseline.summary.records.consumed


# Held against what the recording's driver knows


@pytest.fixture(scope="module")
def labels() -> list[labelled.Label]:
    return labelled.read(GOLDEN / "labels.tsv.gz")


@pytest.fixture(scope="module")
def events(baseline: Replayed) -> list[Any]:
    return lines(baseline.events)


def pairs(labels: list[labelled.Label], events: list[Any]) -> Iterator[tuple[labelled.Label, Any]]:
    found = {event["request_id"]: event for event in events}
    return ((label, found[label.request_id]) for label in labels if label.request_id in found)


def test_no_request_that_the_audit_could_see_is_missing_and_none_is_told_twice(
    labels: list[labelled.Label], events: list[Any]
) -> None:
    seen = Counter(event["request_id"] for event in events)
    assert [label.request_id for label in labels if label.audited and not seen[label.request_id]] == []
    assert max(seen.values()) == 1
    assert len({event["event_id"] for event in events}) == len(events)
    strangers = set(seen) - {label.request_id for label in labels}
    assert len(strangers) == 1, "one connection was closed without an answer, so its driver knows no request id"


def test_the_kind_is_right(labels: list[labelled.Label], events: list[Any]) -> None:
    right = [event["kind"] in label.kinds for label, event in pairs(labels, events) if label.kinds]
    assert len(right) > 1200
    assert sum(right) / len(right) >= 0.990


def test_the_outcome_is_right_without_exception(labels: list[labelled.Label], events: list[Any]) -> None:
    wrong = [
        (label, event["outcome"], event["failure"])
        for label, event in pairs(labels, events)
        if event["outcome"] not in label.outcomes
        or (label.failures and (event["failure"] or "none") not in label.failures)
    ]
    assert wrong == []


def test_the_identity_is_right_without_exception(labels: list[labelled.Label], events: list[Any]) -> None:
    for label, event in pairs(labels, events):
        who = event["initiator"]
        assert (who["user_id"], who["project_id"]) == label.who


def test_unfamiliar_reads_are_found_and_legitimate_ones_left_alone(
    labels: list[labelled.Label], events: list[Any]
) -> None:
    found = dict[str, list[bool | None]]()
    for label, event in pairs(labels, events):
        if label.expected.startswith("retrieval/"):
            verdict = event["verdict"] or {"explained": None}
            found.setdefault(label.expected, []).append(verdict["explained"])
    unfamiliar, legitimate = found["retrieval/unfamiliar"], found["retrieval/legit"]
    assert unfamiliar.count(False) / len(unfamiliar) >= 0.88
    assert legitimate.count(True) / len(legitimate) >= 0.995


def test_only_a_request_that_gave_out_a_payload_has_a_verdict(labels: list[labelled.Label], events: list[Any]) -> None:
    judged = {event["request_id"] for event in events if event["verdict"]}
    assert {label.request_id for label in labels if label.request_id in judged} == judged
    assert {label.expected for label in labels if label.request_id in judged} == {
        "retrieval/legit",
        "retrieval/unfamiliar",
    }


def test_a_read_that_no_path_shows_is_flagged_for_other_witnesses(
    labels: list[labelled.Label], events: list[Any]
) -> None:
    for label, event in pairs(labels, events):
        if label.expected.startswith("retrieval/") and event["kind"] != Kind.RETRIEVAL:
            assert (event["kind"], event["flags"]) == (Kind.METADATA_READ, ["accept_unknown"])
