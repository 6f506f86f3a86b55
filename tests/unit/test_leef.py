from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Activity, Finding, Severity
from kmwatch.wire.escape import visible
from kmwatch.wire.leef import to_leef
from tests.support.findings import TIME, beat, finding, hostile, hostile_findings, texts
from tests.support.leef import parse_leef


def test_the_header_names_product_and_rule() -> None:
    event = parse_leef(to_leef(finding()))
    assert (event.vendor, event.product, event.event_id) == ("kmwatch", "kmwatch", "KMW-001")


def test_the_attributes_answer_who_what_where_when_and_why() -> None:
    attributes = parse_leef(to_leef(finding())).attributes
    expected = {
        "devTime": str(TIME // 1000),
        "sev": "8",
        "cat": "unexplained-read",
        "src": "203.0.113.9",
        "usrName": "alice",
        "userId": "ff38bc60",
        "externalId": "line-1",
        "findingUid": "finding-1",
        "method": "GET",
        "url": "/v1/secrets/5ec4e7-1000/payload",
        "secretIds": "5ec4e7-1000",
        "secretNames": "lb-cert",
        "nearest": "octavia-lb: networks expected 10.20.0.0/24, got 203.0.113.9",
        "requestIds": "req-1000",
        "eventIds": "event-1000",
    }
    assert attributes.items() >= expected.items()
    assert len(attributes["devTime"]) == 13


@pytest.mark.parametrize("severity", list(Severity))
def test_severity_lies_between_1_and_10(severity: Severity) -> None:
    attributes = parse_leef(to_leef(replace(finding(), severity=severity))).attributes
    assert 1 <= int(attributes["sev"]) <= 10


def test_an_address_that_is_none_is_not_called_one() -> None:
    base = finding()
    odd = replace(base, citations=(replace(base.citations[0], address="203.0.113.9, 10.0.0.1"),))
    attributes = parse_leef(to_leef(odd)).attributes
    assert "src" not in attributes
    assert attributes["address"] == "203.0.113.9, 10.0.0.1"


@given(texts)
def test_text_of_an_attacker_arrives_as_it_is_shown_and_in_its_own_attribute(text: str) -> None:
    attributes = parse_leef(to_leef(hostile(text=text))).attributes
    for key in ("usrName", "userId", "userAgent", "projectId"):
        assert attributes.get(key, "") == visible(text)
    assert attributes["msg"] == visible(f"somebody read {text}")
    assert set(attributes) - set(parse_leef(to_leef(finding())).attributes) <= {"address", "src"}


@given(texts)
def test_a_hostile_rule_stays_within_its_header(text: str) -> None:
    rule = text or "-"
    assert parse_leef(to_leef(replace(finding(), rule=rule))).event_id == visible(rule, 255).replace("|", "/")


@given(hostile_findings)
def test_a_line_is_one_line(alert: Finding) -> None:
    assert len(to_leef(alert).splitlines()) == 1


@given(st.integers(1300, 9000), st.integers(1, 400))
def test_a_size_limit_is_kept_and_told(limit: int, citations: int) -> None:
    line = to_leef(finding(citations=citations), limit)
    attributes = parse_leef(line).attributes
    assert len(line.encode()) <= limit
    complete = attributes.get("eventIds", "").count("event-") == citations
    assert complete or "event_ids" in attributes["truncated"] or "eventIds" in attributes["truncated"]


def test_a_close_without_a_request_has_a_line_too() -> None:
    closing = replace(finding(), activity=Activity.CLOSE, citations=(), secrets=(), nearest=None)
    assert parse_leef(to_leef(closing)).attributes["activity"] == "close"


def test_a_heartbeat_tells_lag_account_and_witnesses() -> None:
    attributes = parse_leef(to_leef(beat())).attributes
    assert attributes["cat"] == "heartbeat"
    assert (attributes["lag"], attributes["balanced"], attributes["pending"]) == ("7", "true", "3")
    assert attributes["witnesses"] == "cadf 2026-11-23T23:51:59.482137Z,proxy_log never"
