"""The recording told by all its witnesses: what kmwatch says of it, held against what its driver knows."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from kmwatch.config.load import Loaded, load
from kmwatch.core.model import Kind
from tests.golden import labelled
from tests.golden.replaying import GOLDEN, Replayed, lines, run
from tests.support.audit import RECORDING

LOGS = ("cadf.jsonl.gz", "service.log.gz", "haproxy.log.gz", "uwsgi.log.gz")
SECRET_READ = "retrieval/unfamiliar", "retrieval/legit"


class Way(Struct, frozen=True):
    """How a request really came."""

    address: str
    via: str  # direct: past the proxy


def ways() -> dict[str, Way]:
    rows = gzip.decompress((GOLDEN / "addresses.tsv.gz").read_bytes()).decode().splitlines()[1:]
    return {request_id: Way(address, via) for request_id, address, via in (row.split("\t") for row in rows)}


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(RECORDING / "complete.yaml", {})


@pytest.fixture(scope="module")
def told(loaded: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    paths = [RECORDING / name for name in LOGS]
    return asyncio.run(run(loaded, paths, tmp_path_factory.mktemp("complete")))


@pytest.fixture(scope="module")
def events(told: Replayed) -> list[Any]:
    return lines(told.events)


@pytest.fixture(scope="module")
def by_id(events: list[Any]) -> dict[str, Any]:
    return {event["request_id"]: event for event in events if event["request_id"]}


@pytest.fixture(scope="module")
def labels() -> list[labelled.Label]:
    return labelled.read(GOLDEN / "labels.tsv.gz")


# Right and wrong


def test_every_record_is_accounted_for(told: Replayed) -> None:
    assert told.summary.balanced
    assert told.summary.records.rejected == {}
    assert (told.summary.records.waiting, told.summary.events.waiting) == (0, 0)


def test_every_request_is_one_event_and_none_is_told_twice(
    labels: list[labelled.Label], events: list[Any], by_id: dict[str, Any]
) -> None:
    assert [label.request_id for label in labels if label.audited and label.request_id not in by_id] == []
    assert max(Counter(event["request_id"] for event in events if event["request_id"]).values()) == 1
    assert len({event["event_id"] for event in events}) == len(events)


def test_kind_outcome_and_identity_are_right_without_exception(
    labels: list[labelled.Label], by_id: dict[str, Any]
) -> None:
    for label in labels:
        event = by_id.get(label.request_id)
        if event is None:
            continue
        assert not label.kinds or event["kind"] in label.kinds
        assert event["outcome"] in label.outcomes
        if label.audited:
            assert (event["initiator"]["user_id"], event["initiator"]["project_id"]) == label.who


@pytest.mark.parametrize(("expected", "explained"), [(SECRET_READ[0], False), (SECRET_READ[1], True)])
def test_every_read_has_the_right_verdict(
    labels: list[labelled.Label], by_id: dict[str, Any], expected: str, *, explained: bool
) -> None:
    reads = [by_id[label.request_id] for label in labels if label.expected == expected]
    assert len(reads) > 130
    assert {event["kind"] for event in reads} == {Kind.RETRIEVAL}
    assert {event["verdict"]["explained"] for event in reads} == {explained}


def test_only_a_request_that_gave_out_a_payload_has_a_verdict(
    labels: list[labelled.Label], by_id: dict[str, Any]
) -> None:
    expected = {label.request_id: label.expected for label in labels}
    assert {expected[rid] for rid, event in by_id.items() if event["verdict"] and rid in expected} == {*SECRET_READ}


def test_no_address_that_proxy_or_web_server_vouch_for_is_wrong(by_id: dict[str, Any]) -> None:
    known = {request_id: way for request_id, way in ways().items() if request_id in by_id}
    proven = 0
    for request_id, way in known.items():
        who = by_id[request_id]["initiator"]
        if who["address_source"] in ("proxy", "access"):
            proven += 1
            assert who["address"] == way.address
            assert who["address_source"] == ("access" if way.via == "direct" else "proxy")
    assert proven > 0.99 * len(known)


def test_a_forged_address_is_flagged_and_the_true_one_told(by_id: dict[str, Any]) -> None:
    forged = {rid: event for rid, event in by_id.items() if "address_forged" in event["flags"]}
    assert len(forged) >= 13
    assert all(event["initiator"]["address"] == ways()[rid].address for rid, event in forged.items())


def test_what_came_past_the_proxy_is_flagged_and_nothing_else(by_id: dict[str, Any]) -> None:
    past = {rid for rid, event in by_id.items() if "past_proxy" in event["flags"]}
    assert past
    assert {ways()[rid].via for rid in past} == {"direct"}


def test_a_refused_token_is_told_with_its_address_and_without_an_identity(events: list[Any]) -> None:
    refused = [event for event in events if event["status"] == 401]
    assert len(refused) == 9
    for event in refused:
        assert event["failure"] == "unauthenticated"
        assert event["initiator"]["user_id"] is None
        assert event["initiator"]["address_source"] == "proxy"


def test_every_unfamiliar_read_is_cited_by_a_finding(labels: list[labelled.Label], told: Replayed) -> None:
    cited = {uid for alert in lines(told.alerts) for uid in alert["unmapped"]["kmwatch"]["event_ids"]}
    unfamiliar = {f"api:{label.request_id}" for label in labels if label.expected == "retrieval/unfamiliar"}
    assert len(unfamiliar) == 139
    assert unfamiliar <= cited


# The same input gives the same bytes


def scattered(name: str, content: bytes, draw: random.Random) -> list[bytes]:
    """The lines of a log, each up to five seconds late by the count of a busy second's lines."""
    split = [line + b"\n" for line in content.split(b"\n") if line]
    if name != "cadf.jsonl.gz":
        return split  # the order within a file is the writer's own
    stamps = [int(json.loads(line)["timestamp_ms"]) + draw.randint(0, 5000) for line in split]
    return [line for _, line in sorted(zip(stamps, split, strict=True), key=lambda pair: pair[0])]


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_order_of_files_and_of_arrival_is_irrelevant(
    told: Replayed, loaded: Loaded, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311
    paths = []
    for name in LOGS:
        path = tmp_path / f"{draw.randint(0, 99):02}-{name.removesuffix('.gz')}"
        path.write_bytes(b"".join(scattered(name, gzip.decompress((RECORDING / name).read_bytes()), draw)))
        paths.append(path)
    draw.shuffle(paths)
    again = await run(loaded, paths, tmp_path)
    assert (again.events, again.alerts) == (told.events, told.alerts)


async def test_lines_that_come_twice_change_nothing_but_their_count(
    told: Replayed, loaded: Loaded, tmp_path: Path
) -> None:
    paths = [RECORDING / name for name in LOGS]
    for name in LOGS:
        (tmp_path / name).write_bytes((RECORDING / name).read_bytes())
        paths.append(tmp_path / name)
    twice = await run(loaded, paths, tmp_path)
    assert (twice.events, twice.alerts) == (told.events, told.alerts)
    assert twice.summary.records.duplicate > told.summary.records.joined * 0.9
