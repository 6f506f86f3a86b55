from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from kmwatch.core.model import Activity, Finding, Mode, Severity
from kmwatch.wire.escape import encodable
from kmwatch.wire.ocsf import to_ocsf
from tests.support.findings import TIME, beat, finding, hostile, hostile_findings, texts

_schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("detection_finding", ["security_control"])
_validator = Draft202012Validator(_schema)


def decoded(line: bytes) -> Any:  # noqa: ANN401 - JSON, checked by its schema
    """The event, after the checks that every line must pass."""
    assert b"\n" not in line
    event = json.loads(line)
    _validator.validate(event)
    # What the schema does not say: the type follows from class and activity.
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"] == 200400 + event["activity_id"]
    return event


def test_ids_tell_finding_line_and_rule() -> None:
    event = decoded(to_ocsf(finding()))
    assert event["finding_info"]["uid"] == "finding-1"
    assert event["metadata"]["uid"] == "line-1"
    assert event["metadata"]["version"] == "1.8.0"
    assert event["metadata"]["product"]["name"] == "kmwatch"
    analytic = event["finding_info"]["analytic"]
    assert (analytic["uid"], analytic["type_id"], analytic["version"]) == ("KMW-001", 1, "3")


def test_times_are_milliseconds_and_the_exact_one_stands_beside() -> None:
    event = decoded(to_ocsf(finding()))
    assert event["time"] == TIME // 1000
    assert event["start_time"] == TIME // 1000 - 5000
    assert event["unmapped"]["kmwatch"]["event_time"] == "2026-11-23T23:51:59.482137Z"


@pytest.mark.parametrize("activity", list(Activity))
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("severity", list(Severity))
def test_every_transition_is_valid(activity: Activity, mode: Mode, severity: Severity) -> None:
    event = decoded(to_ocsf(replace(finding(), activity=activity, mode=mode, severity=severity)))
    assert event["activity_id"] == activity
    assert event["severity_id"] == severity
    assert event["is_alert"] == (mode is Mode.ENFORCE and activity is not Activity.CLOSE)


def test_a_close_claims_no_review() -> None:
    event = decoded(to_ocsf(replace(finding(), activity=Activity.CLOSE)))
    assert (event["status_id"], event["status"]) == (99, "Closed")
    assert decoded(to_ocsf(finding()))["status_id"] == 1


def test_evidence_names_request_user_project_address_and_event() -> None:
    (evidence,) = decoded(to_ocsf(finding()))["evidences"]
    assert evidence["uid"] == "event-1000"
    assert evidence["api"]["request"]["uid"] == "req-1000"
    assert evidence["api"]["operation"] == "GET /v1/secrets/5ec4e7-1000/payload"
    assert evidence["api"]["response"]["code"] == 200
    assert evidence["actor"]["user"]["uid"] == "ff38bc60"
    assert evidence["actor"]["user"]["name"] == "alice"
    assert evidence["actor"]["user"]["account"]["uid"] == "a1b2c3"
    assert evidence["src_endpoint"] == {"ip": "203.0.113.9"}


def test_every_cited_request_is_found_by_either_id_within_the_evidences() -> None:
    alert = finding(citations=3)
    evidences = json.dumps(decoded(to_ocsf(alert))["evidences"])
    for cited in alert.citations:
        assert f'"{cited.event_id}"' in evidences
        assert f'"{cited.request_id}"' in evidences


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("203.0.113.9", {"ip": "203.0.113.9"}),
        ("2001:DB8::1", {"ip": "2001:DB8::1"}),
        ("::ffff:203.0.113.9", {"ip": "::ffff:203.0.113.9"}),
        ("fe80::1%eth0", {"name": "fe80::1%eth0"}),
        ("unknown, 10.0.0.1", {"name": "unknown, 10.0.0.1"}),
        (None, None),
    ],
)
def test_only_an_address_counts_as_ip(address: str | None, endpoint: dict[str, str] | None) -> None:
    base = finding()
    event = decoded(to_ocsf(replace(base, citations=(replace(base.citations[0], address=address),))))
    assert event["evidences"][0].get("src_endpoint") == endpoint


def test_resources_carry_the_secrets_with_their_owner() -> None:
    (resource,) = decoded(to_ocsf(finding()))["resources"]
    assert (resource["uid"], resource["name"], resource["type"]) == ("5ec4e7-1000", "lb-cert", "secret")
    assert (resource["owner"]["uid"], resource["owner"]["account"]["uid"]) == ("c4ea704", "0b5e55ed")


def test_techniques_carry_names_tactics_and_the_version() -> None:
    sub, whole = decoded(to_ocsf(finding()))["finding_info"]["attacks"]
    assert sub["technique"]["uid"] == "T1555"
    assert sub["sub_technique"] == {"uid": "T1555.006", "name": "Cloud Secrets Management Stores"}
    assert sub["tactic"] == {"uid": "TA0006", "name": "Credential Access"}
    assert whole["technique"] == {"uid": "T1098", "name": "Account Manipulation"}
    assert sub["version"] == whole["version"] == "19"


def test_a_technique_without_a_name_keeps_its_id() -> None:
    event = decoded(to_ocsf(replace(finding(), techniques=("T9999.001",))))
    (attack,) = event["finding_info"]["attacks"]
    assert (attack["technique"]["uid"], attack["sub_technique"]["uid"]) == ("T9999", "T9999.001")


def test_our_own_part_has_every_key_even_when_empty() -> None:
    full = decoded(to_ocsf(finding()))["unmapped"]["kmwatch"]
    bare = decoded(to_ocsf(replace(finding(), nearest=None, reason=None, caller=None, flags=())))
    assert bare["unmapped"]["kmwatch"].keys() == full.keys()
    assert full.keys() >= {"mode", "reason", "declaration", "nearest", "failed_field", "counts", "event_ids"}
    assert (full["nearest"], full["failed_field"]) == ("octavia-lb", "networks")


def test_event_ids_are_complete_without_a_size_limit() -> None:
    alert = finding(citations=2000)
    event = decoded(to_ocsf(alert))
    assert event["unmapped"]["kmwatch"]["event_ids"] == list(alert.event_ids)
    assert event["unmapped"]["kmwatch"]["truncated"] is None
    assert "is_truncated" not in event["metadata"]


@given(st.integers(2000, 60_000), st.integers(1, 200))
def test_a_size_limit_is_kept_and_told(limit: int, citations: int) -> None:
    alert = finding(citations=citations)
    line = to_ocsf(alert, limit)
    event = decoded(line)
    assert len(line) <= limit
    own = event["unmapped"]["kmwatch"]
    if own["event_ids"] != list(alert.event_ids):
        assert event["metadata"]["is_truncated"] is True
        assert own["truncated"]["event_ids"] == citations
        assert own["event_ids"] == list(alert.event_ids)[len(alert.event_ids) - len(own["event_ids"]) :]


@given(hostile_findings)
def test_any_text_makes_a_valid_line_that_is_one_line(alert: Finding) -> None:
    line = to_ocsf(alert)
    decoded(line)
    assert len(line.decode().splitlines()) == 1


@given(texts)
def test_any_text_arrives_unchanged_but_for_lone_surrogates(text: str) -> None:
    event = decoded(to_ocsf(hostile(text=text)))
    assert event["evidences"][0]["actor"]["user"]["name"] == encodable(text)
    assert event["resources"][0]["name"] == encodable(text)


@given(hostile_findings, st.integers(1024, 4096))
def test_any_text_survives_a_size_limit(alert: Finding, limit: int) -> None:
    decoded(to_ocsf(alert, limit))


def test_the_same_finding_gives_the_same_bytes() -> None:
    assert to_ocsf(finding(7)) == to_ocsf(finding(7))


def test_an_alert_without_requests_is_valid() -> None:
    event = decoded(to_ocsf(replace(finding(), citations=(), secrets=(), event_ids=(), techniques=())))
    assert "evidences" not in event


def test_a_heartbeat_is_a_valid_application_lifecycle_event_and_no_alert() -> None:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("application_lifecycle", [])
    line = to_ocsf(beat(text="x\n\u202e"))
    event = json.loads(line)
    Draft202012Validator(schema).validate(event)
    assert len(line.decode().splitlines()) == 1
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"] == 600299
    assert event["unmapped"]["kmwatch"]["lag"] == 7
    assert event["status"] == "Failure"
