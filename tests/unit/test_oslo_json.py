from __future__ import annotations

import json
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from kmwatch.core.record import Decoded, Ignored, Note, Rejected, RejectReason, ServiceRecord, Slot
from kmwatch.wire import oslo_text
from kmwatch.wire.oslo_json import decode, decode_parsed

DATA = Path(__file__).parents[1] / "golden/data/forms"
ID = "req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e"
AT = 1_795_466_871_606_000
END = "Processed request: 200 OK - GET http://h/v1/secrets"
WHO = {"request_id": ID, "user": "u", "project_id": "p", "user_name": "bob", "project_name": "t", "roles": ["member"]}
LINE = {"name": "barbican.api.middleware.context", "message": END, "context": WHO}
JSON = {**LINE, "levelname": "INFO", "asctime": "2026-11-23 20:47:51,606", "created": 1795466871.6064}
FLUENT = {**LINE, "level": "INFO", "time": "2026-11-23 20:47:51,606"}
KOLLA = {
    "python_module": LINE["name"],
    "log_level": "INFO",
    "Timestamp": "2026-11-23 20:47:51.606",
    "Payload": f" {END}",
    "request_id": ID.removeprefix("req-"),
    "user_id": "u",
    "tenant_id": "p",
}


def read(line: object, zone: tzinfo = UTC) -> Decoded:
    return decode(json.dumps(line).encode(), zone, None)


def parsed(line: object, stamp: int | None = None) -> Decoded:
    return decode_parsed(json.dumps(line).encode(), UTC, stamp)


def reason(got: Decoded) -> RejectReason:
    assert isinstance(got, Rejected), got
    return got.reason


def record(got: Decoded) -> ServiceRecord:
    assert isinstance(got, ServiceRecord), got
    return got


def test_both_formatters_tell_names_and_roles() -> None:
    for line, at in ((JSON, AT + 400), (FLUENT, AT)):
        assert read(line) == ServiceRecord(
            Slot.SERVICE_END, ID, at, ID, None, "u", "p", "GET", "/v1/secrets", 200, None, None, "bob", "t", ("member",)
        )


def test_unix_time_needs_no_zone() -> None:
    zone = ZoneInfo("Asia/Tokyo")
    assert record(read(JSON, zone)).observed_time == AT + 400
    assert record(read(FLUENT, zone)).observed_time == AT - 9 * 3600 * 1_000_000


@pytest.mark.parametrize("created", [None, -1, 0, 1e30])
def test_unix_time_that_is_none_gives_way_to_the_written_one(created: float | None) -> None:
    assert record(read({**JSON, "created": created})).observed_time == AT


def test_a_summary_of_the_error_names_the_policy() -> None:
    got = read(
        {
            **JSON,
            "name": "barbican.api.controllers",
            "levelname": "ERROR",
            "message": "Secret payload retrieval attempt not allowed - please review your user/project privileges",
            "error_summary": "oslo_policy.policy.PolicyNotAuthorized: secret:decrypt is disallowed by policy",
        }
    )
    assert (record(got).note, record(got).detail) == (Note.DENIED, "secret:decrypt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"levelname": "DEBUG"}, Ignored.NO_EVIDENCE),
        ({"name": "keystonemiddleware.auth_token"}, Ignored.STALE_CONTEXT),
        ({"message": "Begin processing request None"}, Ignored.STALE_CONTEXT),
        ({"name": "neutron.wsgi"}, Ignored.OTHER_SERVICE),
    ],
)
def test_the_same_lines_as_in_text_are_no_evidence(change: dict[str, str], why: Ignored) -> None:
    assert read({**JSON, **change}) is why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"context": {}}, RejectReason.BAD_LINE),
        ({"context": None}, RejectReason.BAD_LINE),
        ({"context": []}, RejectReason.BAD_LINE),
        ({"context": {"request_id": 5}}, RejectReason.BAD_LINE),
        ({"message": None}, RejectReason.BAD_LINE),
        ({"name": 5}, RejectReason.BAD_LINE),
        ({"created": None, "asctime": "today"}, RejectReason.BAD_TIME),
    ],
)
def test_fields_of_another_shape_are_rejected(change: dict[str, object], why: RejectReason) -> None:
    assert reason(read({**JSON, **change})) is why


# kolla


def test_kollas_fields_give_the_ids_their_prefix_back() -> None:
    got = record(parsed({**KOLLA, "global_request_id": "70f343e5-1b8a-486b-82f5-2fe073cb9e25"}))
    assert (got.request_id, got.global_request_id) == (ID, "req-70f343e5-1b8a-486b-82f5-2fe073cb9e25")
    assert (got.user_id, got.project_id, got.path_raw, got.observed_time) == ("u", "p", "/v1/secrets", AT)


@pytest.mark.parametrize("made", ["None", "", "-", None])
def test_kollas_absent_global_id_is_none(made: str | None) -> None:
    assert record(parsed({**KOLLA, "global_request_id": made, "request_id": ID})).global_request_id is None


def test_a_context_that_kollas_expression_does_not_fit_is_read_from_the_payload() -> None:
    less = {name: value for name, value in KOLLA.items() if name not in ("request_id", "user_id", "tenant_id")}
    whole = {**less, "Payload": f"[{ID} u p - d d] {END}"}
    assert parsed(whole) == parsed(KOLLA)
    assert reason(parsed({**whole, "Payload": f"[u p] {END}"})) is RejectReason.BAD_LINE
    assert reason(parsed({**whole, "Payload": f"[-] {END}"})) is RejectReason.BAD_LINE


def test_a_traceback_that_kolla_joins_to_a_message_changes_nothing() -> None:
    message = " Secret creation attempt not allowed - please review your user/project privileges"
    denied = {**KOLLA, "python_module": "barbican.api.controllers", "log_level": "ERROR", "Payload": message}
    trace = "\n2026-11-23 20:47:51.606 32595 ERROR barbican.api.controllers Traceback (most recent call last):"
    assert parsed({**denied, "Payload": message + trace}) == parsed(denied)
    other = f"\n2026-11-23 20:47:51.606 1 INFO barbican.api.middleware.context [None {ID} u p - - d d] {END}"
    assert reason(parsed({**denied, "Payload": message + other})) is RejectReason.BAD_LINE


def test_without_a_time_of_its_own_a_line_has_its_transports() -> None:
    less = {name: value for name, value in KOLLA.items() if name != "Timestamp"}
    assert record(parsed(less, AT + 5)).observed_time == AT + 5
    assert reason(parsed(less)) is RejectReason.BAD_TIME
    assert reason(parsed({**KOLLA, "Timestamp": "today"}, AT)) is RejectReason.BAD_TIME


@pytest.mark.parametrize("change", [{"Payload": 5}, {"request_id": []}, {"python_module": None}])
def test_fields_of_kolla_of_another_shape_are_rejected(change: dict[str, object]) -> None:
    assert reason(parsed({**KOLLA, **change})) is RejectReason.BAD_LINE


def test_real_lines_parsed_as_kolla_does_say_what_the_text_says() -> None:
    told = 0
    for raw in (DATA / "oslo_text.log").read_bytes().split(b"\n")[:-1]:
        text = raw.decode("utf-8", "replace")
        head, _, rest = text.partition(" [")
        bracket, _, payload = rest.partition("]")
        day, time, _, level, module = head.split(" ")[:5]
        words = bracket.split(" ")
        if len(words) != 8:
            continue
        fields = {
            "Timestamp": f"{day} {time}", "log_level": level, "python_module": module, "Payload": payload,
            "request_id": words[1].removeprefix("req-"), "user_id": words[2], "tenant_id": words[3],
        }  # fmt: skip
        if words[0] != "None":
            fields["global_request_id"] = words[0].removeprefix("req-")
        assert parsed(fields) == oslo_text.decode(text, UTC, None)
        told += 1
    assert told > 30
