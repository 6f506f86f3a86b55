from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Activity, Finding, Mode
from kmwatch.wire.ecs import to_ecs
from kmwatch.wire.escape import encodable
from tests.support.findings import beat, finding, hostile, hostile_findings, texts

# ECS 8.17, the fields that every document may have: https://www.elastic.co/docs/reference/ecs
KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}
CATEGORIES = {"intrusion_detection", "process"}
TOP = {
    "@timestamp", "message", "tags", "labels", "ecs", "event", "rule", "observer", "threat", "source", "user", "cloud",
    "http", "url", "user_agent", "related",
}  # fmt: skip


def decoded(line: bytes) -> Any:  # noqa: ANN401 - JSON
    """The document, after the checks that every one must pass."""
    assert b"\n" not in line
    document = json.loads(line)
    assert set(document) - TOP == {"kmwatch"}
    assert document["event"]["kind"] in KINDS
    assert set(document["event"]["category"]) <= CATEGORIES
    return document


def test_the_schemas_own_fields_answer_who_what_where_and_when() -> None:
    document = decoded(to_ecs(finding()))
    assert document["@timestamp"] == "2026-11-23T23:51:59.482137Z"
    assert document["event"]["id"] == "line-1"
    assert document["event"]["kind"] == "alert"
    assert document["rule"] == {"id": "KMW-001", "name": "unexplained-read", "version": "3", "ruleset": "kmwatch"}
    assert document["source"] == {"address": "203.0.113.9", "ip": "203.0.113.9"}
    assert document["user"] == {"id": "ff38bc60", "name": "alice"}
    assert document["http"]["response"]["status_code"] == 200
    assert document["url"]["path"] == "/v1/secrets/5ec4e7-1000/payload"
    assert document["threat"]["technique"]["id"] == ["T1555.006", "T1098"]
    assert document["kmwatch"]["finding_uid"] == "finding-1"


def test_nothing_of_a_finding_is_lost() -> None:
    alert = finding(citations=3)
    own = decoded(to_ecs(alert))["kmwatch"]
    assert own["event_ids"] == list(alert.event_ids)
    assert [evidence["request_id"] for evidence in own["evidences"]] == [c.request_id for c in alert.citations]
    assert [secret["id"] for secret in own["secrets"]] == [secret.id for secret in alert.secrets]
    assert (own["nearest"], own["failed_field"]) == ("octavia-lb", "networks")
    assert own["flags"] == ["late"]


@pytest.mark.parametrize("address", ["unknown", "203.0.113.9, 10.0.0.1", "fe80::1%eth0", "203.0.113.09"])
def test_only_addresses_go_where_an_index_expects_one(address: str) -> None:
    base = finding()
    document = decoded(to_ecs(replace(base, citations=(replace(base.citations[0], address=address),))))
    assert document["source"] == {"address": address}
    assert "ip" not in document["related"]


@pytest.mark.parametrize(("activity", "mode"), [(Activity.CLOSE, Mode.ENFORCE), (Activity.CREATE, Mode.SHADOW)])
def test_what_is_no_call_to_act_is_no_alert(activity: Activity, mode: Mode) -> None:
    assert decoded(to_ecs(replace(finding(), activity=activity, mode=mode)))["event"]["kind"] == "event"


@given(texts)
def test_text_of_an_attacker_arrives_as_it_was_in_its_own_field(text: str) -> None:
    document = decoded(to_ecs(hostile(text=text)))
    assert document["user_agent"]["original"] == encodable(text)
    assert document["user"]["name"] == encodable(text)
    assert document["kmwatch"]["secrets"][0]["name"] == encodable(text)
    assert document["message"] == encodable(f"somebody read {text}")


@given(hostile_findings)
def test_a_line_is_one_line(alert: Finding) -> None:
    assert len(to_ecs(alert).decode().splitlines()) == 1


@given(st.integers(2500, 20_000), st.integers(1, 400))
def test_a_size_limit_is_kept_and_told(limit: int, citations: int) -> None:
    line = to_ecs(finding(citations=citations), limit)
    own = decoded(line)["kmwatch"]
    assert len(line) <= limit
    assert len(own.get("event_ids", ())) == citations or own["truncated"]["event_ids"] == citations


def test_a_heartbeat_is_a_metric_with_its_numbers() -> None:
    document = decoded(to_ecs(beat()))
    assert (document["event"]["kind"], document["event"]["dataset"]) == ("metric", "kmwatch.health")
    assert document["kmwatch"]["health"]["lag"] == 7
    assert document["kmwatch"]["health"]["witnesses"][1] == {"name": "proxy_log", "last_seen": None}
