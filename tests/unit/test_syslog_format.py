from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Finding, Severity
from kmwatch.wire.cef import to_cef
from kmwatch.wire.escape import visible
from kmwatch.wire.formats import FORMATS, format_named
from kmwatch.wire.ocsf import to_ocsf
from kmwatch.wire.syslog import BOM, SD_ID, cut_utf8, frame, to_syslog
from tests.support.cef import parse_cef
from tests.support.findings import finding, hostile, hostile_findings, texts
from tests.support.rfc5424 import parse_syslog

OCSF = FORMATS["ocsf"].render
CEF = FORMATS["cef"].render


def test_the_header_tells_facility_time_host_program_and_rule() -> None:
    message = parse_syslog(to_syslog(finding(), OCSF, hostname="siem-relay", procid="42"))
    assert (message.facility, message.severity) == (13, 3)
    assert message.timestamp == "2026-11-23T23:51:59.482137Z"
    assert (message.hostname, message.app_name, message.procid) == ("siem-relay", "kmwatch", "42")
    assert message.msgid == "KMW-001"


@pytest.mark.parametrize("severity", list(Severity))
def test_a_graver_finding_has_a_lower_syslog_severity(severity: Severity) -> None:
    message = parse_syslog(to_syslog(replace(finding(), severity=severity), OCSF, facility=10))
    assert (message.facility, message.severity) == (10, 7 - severity)


def test_structured_data_carries_what_a_receiver_routes_by() -> None:
    message = parse_syslog(to_syslog(finding(), OCSF))
    assert message.sd_id == SD_ID
    assert message.params == {
        "rule": "KMW-001",
        "uid": "finding-1",
        "line": "line-1",
        "activity": "create",
        "severity": "high",
        "reason": "network",
        "caller": "octavia",
        "user": "ff38bc60",
        "secret": "5ec4e7-1000",
        "events": "1",
    }


@given(texts)
def test_text_of_an_attacker_stays_within_its_parameter(text: str) -> None:
    message = parse_syslog(to_syslog(hostile(text=text), OCSF))
    assert message.params["user"] == visible(text, 128)
    assert message.params["secret"] == visible(text, 128)
    assert message.params.keys() == parse_syslog(to_syslog(finding(), OCSF)).params.keys()


@given(hostile_findings)
def test_the_message_is_the_format_itself(alert: Finding) -> None:
    assert parse_syslog(to_syslog(alert, OCSF)).msg == to_ocsf(alert)
    assert parse_syslog(to_syslog(alert, CEF)).msg == to_cef(alert).encode()


def test_a_byte_order_mark_stands_before_the_message_only_when_asked_for() -> None:
    assert parse_syslog(to_syslog(finding(), OCSF)).msg[:1] == b"{"
    assert parse_syslog(to_syslog(finding(), OCSF, bom=True)).msg[:4] == BOM + b"{"


@given(texts)
def test_any_host_name_gives_a_valid_header(name: str) -> None:
    parse_syslog(to_syslog(finding(), OCSF, hostname=name, procid=name))


@given(st.integers(1024, 9000), st.integers(1, 100), texts)
def test_a_size_limit_holds_and_the_message_stays_whole_utf8(limit: int, citations: int, text: str) -> None:
    alert = replace(finding(citations=citations), message=text)
    for render in (OCSF, CEF):
        message = to_syslog(alert, render, max_bytes=limit)
        assert len(message) <= limit
        parse_syslog(message).msg.decode()


def test_a_message_cut_by_a_limit_is_still_parsed_and_says_so() -> None:
    alert = finding(citations=100)
    event = json.loads(parse_syslog(to_syslog(alert, OCSF, max_bytes=4096)).msg)
    assert event["metadata"]["is_truncated"] is True
    assert event["unmapped"]["kmwatch"]["truncated"]["event_ids"] == 100
    fields = parse_cef(parse_syslog(to_syslog(alert, CEF, max_bytes=2048)).msg.decode()).extension
    assert "event_ids has 100 in full" in fields["flexString1"]


def test_what_no_format_can_make_fit_is_cut_and_says_so() -> None:
    message = parse_syslog(to_syslog(finding(), OCSF, max_bytes=1024)).msg.decode()
    assert message.endswith(" octets]")
    assert "…[cut " in message


@given(texts.map(lambda text: visible(text).encode()), st.integers(30, 200))
def test_a_cut_falls_between_characters(message: bytes, limit: int) -> None:
    cut = cut_utf8(message, limit)
    cut.decode()
    assert len(cut) <= limit
    assert cut == message or b"[cut " in cut


def test_a_frame_counts_octets_not_characters() -> None:
    assert frame("é\n".encode()) == b"3 \xc3\xa9\n"


def test_an_unknown_format_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="cef, ecs, leef, ocsf"):
        format_named("xml")
