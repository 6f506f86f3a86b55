from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Activity, Finding, Mode, Severity
from kmwatch.wire.cef import to_cef
from kmwatch.wire.escape import visible
from tests.support.cef import parse_cef
from tests.support.findings import TIME, beat, finding, hostile, hostile_findings, texts


def shown(text: str) -> str:
    """What a reader of a CEF field sees of an attacker's text."""
    text = visible(text, keep_newlines=True)
    text = text[:-1] + "\\x20" if text.endswith(" ") else text
    return "\\x20" + text[1:] if text.startswith(" ") else text


def test_the_header_names_product_rule_title_and_severity() -> None:
    event = parse_cef(to_cef(finding()))
    assert (event.vendor, event.product) == ("kmwatch", "kmwatch")
    assert (event.class_id, event.name, event.severity) == ("KMW-001", "unexplained-read", 8)


def test_the_extension_answers_who_what_where_when_and_why() -> None:
    fields = parse_cef(to_cef(finding())).extension
    expected = {
        "rt": str(TIME // 1000),
        "start": str(TIME // 1000 - 5000),
        "end": str(TIME // 1000),
        "externalId": "line-1",
        "act": "create",
        "cat": "retrieval",
        "outcome": "success",
        "reason": "network",
        "src": "203.0.113.9",
        "suser": "alice",
        "suid": "ff38bc60",
        "requestMethod": "GET",
        "request": "/v1/secrets/5ec4e7-1000/payload",
        "requestClientApplication": "python-barbicanclient",
        "cs1": "5ec4e7-1000",
        "cs1Label": "secretIds",
        "cs2": "a1b2c3",
        "cs2Label": "projectId",
        "cs4": "octavia-lb: networks expected 10.20.0.0/24, got 203.0.113.9",
        "cs4Label": "nearest",
        "cs6": "event-1000",
        "cs6Label": "eventIds",
        "kmwatchRequestIds": "req-1000",
        "flexString2": "finding-1",
        "cn1": "1",
        "cn1Label": "events",
    }
    assert fields.items() >= expected.items()


@pytest.mark.parametrize(
    ("severity", "band"),
    [
        (Severity.INFORMATIONAL, range(4)),
        (Severity.LOW, range(4)),
        (Severity.MEDIUM, range(4, 7)),
        (Severity.HIGH, range(7, 9)),
        (Severity.CRITICAL, range(9, 11)),
    ],
)
def test_each_severity_falls_into_its_band(severity: Severity, band: range) -> None:
    assert parse_cef(to_cef(replace(finding(), severity=severity))).severity in band


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "src"),
        ("2001:db8::1", "c6a2"),
        ("::ffff:203.0.113.9", "c6a2"),
        ("unknown", "kmwatchAddress"),
        ("203.0.113.9, 10.0.0.1", "kmwatchAddress"),
        ("fe80::1%eth0", "kmwatchAddress"),
        ("203.0.113.09", "kmwatchAddress"),
    ],
)
def test_typed_address_fields_hold_addresses_only(address: str, key: str) -> None:
    base = finding()
    fields = parse_cef(to_cef(replace(base, citations=(replace(base.citations[0], address=address),)))).extension
    assert {k: v for k, v in fields.items() if k in {"src", "c6a2", "kmwatchAddress"}} == {key: address}


@given(texts)
def test_text_of_an_attacker_arrives_as_it_is_shown_and_in_its_own_field(text: str) -> None:
    fields = parse_cef(to_cef(hostile(text=text))).extension
    for key in ("suser", "suid", "requestClientApplication", "cs2", "fname", "fileId"):
        assert fields.get(key, "") == shown(text)
    assert fields["msg"] == shown(f"somebody read {text}")
    assert set(fields) - set(parse_cef(to_cef(finding())).extension) <= {"kmwatchAddress", "c6a2", "c6a2Label"}


@given(texts)
def test_a_hostile_title_stays_within_its_header(text: str) -> None:
    event = parse_cef(to_cef(replace(finding(), title=text, rule=text)))
    assert (event.name, event.class_id) == (visible(text), visible(text))


@given(hostile_findings)
def test_a_line_is_one_line(alert: Finding) -> None:
    assert len(to_cef(alert).splitlines()) == 1


def test_the_triggering_request_is_the_one_shown() -> None:
    fields = parse_cef(to_cef(finding(citations=3))).extension
    assert fields["fileId"] == "5ec4e7-1002"
    assert fields["cs6"] == "event-1000,event-1001,event-1002"


def test_a_comma_in_a_request_id_cannot_make_two_of_one() -> None:
    base = finding()
    forged = replace(base, citations=(replace(base.citations[0], request_id="req-1,req-2"),))
    assert parse_cef(to_cef(forged)).extension["kmwatchRequestIds"] == "req-1\\x2creq-2"


def test_a_list_beyond_the_dictionary_says_what_it_lacks() -> None:
    fields = parse_cef(to_cef(finding(citations=900))).extension
    missing, *rest = fields["cs6"].split(",")
    assert len(fields["cs6"]) <= 4000
    assert missing == f"…(+{900 - len(rest)})"
    assert rest[-1] == "event-1899"
    assert "cs6" in fields["flexString1"]


@given(st.integers(1100, 9000), st.integers(1, 400))
def test_a_size_limit_is_kept_and_told(limit: int, citations: int) -> None:
    line = to_cef(finding(citations=citations), limit)
    fields = parse_cef(line).extension
    assert len(line.encode()) <= limit
    assert fields["externalId"] == "line-1"
    complete = fields.get("cs6", "").count("event-") == citations
    assert complete or "event_ids" in fields["flexString1"] or "cs6" in fields["flexString1"]


def test_a_close_in_shadow_without_a_request_has_a_line_too() -> None:
    closing = replace(finding(), activity=Activity.CLOSE, mode=Mode.SHADOW, citations=(), secrets=(), nearest=None)
    fields = parse_cef(to_cef(closing)).extension
    assert (fields["act"], fields["cs5"], fields["externalId"]) == ("close", "shadow", "line-1")


def test_a_heartbeat_tells_lag_account_and_witnesses() -> None:
    event = parse_cef(to_cef(beat(text="a|b=c")))
    assert (event.class_id, event.name) == ("KMW-000", "heartbeat")
    assert (event.extension["kmwatchLag"], event.extension["kmwatchBalanced"]) == ("7", "true")
    assert event.extension["kmwatchWitnesses"] == "cadf 2026-11-23T23:51:59.482137Z,proxy_log never"
