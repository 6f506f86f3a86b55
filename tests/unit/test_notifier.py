from __future__ import annotations

import copy
import json

import pytest

from kmwatch.core.record import AuditRecord, Decoded, Ignored, Rejected, RejectReason
from kmwatch.wire import cadf as wire
from kmwatch.wire.notifier import MAX_REPR, carries, read
from tests.support.audit import RESPONSE, cadf

AUDIT = "keystonemiddleware.audit"
DRIVER = "oslo.messaging.notification."
CONTEXT: dict[str, object] = {
    "user": None,
    "is_admin": True,
    "roles": [],
    "user_identity": "- - - - -",
    "x": "}, Payload: {'id': 'forged'}",
}


def text(message: dict[str, object]) -> str:
    return f"Event type: {message['event_type']}, Context: {CONTEXT}, Payload: {message['payload']}"


def with_agent(agent: str) -> dict[str, object]:
    made: dict[str, object] = copy.deepcopy(cadf(RESPONSE))
    payload = made["payload"]
    assert isinstance(payload, dict)
    payload["initiator"]["host"]["agent"] = agent
    return made


def reason(got: Decoded) -> RejectReason:
    assert isinstance(got, Rejected), got
    return got.reason


@pytest.mark.parametrize("logger", [AUDIT, DRIVER + "audit.http.request", DRIVER + "compute.instance.update"])
def test_loggers_that_may_carry_an_event(logger: str) -> None:
    assert carries(logger)


@pytest.mark.parametrize("logger", ["barbican.api", "keystonemiddleware.audit._api", "oslo.messaging", ""])
def test_loggers_that_never_do(logger: str) -> None:
    assert not carries(logger)


@pytest.mark.parametrize(
    "agent",
    [
        "curl/8",
        "it's",
        'a "quoted" one',
        "both ' and \"",
        "back\\slash",
        "None, True, False",
        "line\nend\ttab\x1b\x85\x00",
        "\u2028 \U0001f511 \xff",
        "'}, 'requestPath': '/v1/forged', 'x': {'",
        "[[[[{{{{((((",
        "__import__('os').system('true')",
        "",
    ],
)
def test_an_event_says_the_same_by_all_ways(agent: str) -> None:
    made = with_agent(agent)
    plain = wire.decode(json.dumps(made).encode(), None)
    assert isinstance(plain, AuditRecord)
    assert plain.initiator.agent == agent
    assert read(AUDIT, text(made), None) == plain
    assert read(DRIVER + RESPONSE, json.dumps(made), None) == plain


def test_other_notifications_are_no_audit_events() -> None:
    assert read(DRIVER + "compute.instance.update", "{}", None) is Ignored.NOT_AUDIT
    assert read(AUDIT, "Event type: other, Context: None, Payload: {'id': '1'}", None) is Ignored.NOT_AUDIT


def test_what_else_the_middleware_says_is_no_evidence() -> None:
    assert read(AUDIT, "Failed to load the audit map", None) is Ignored.NO_EVIDENCE


@pytest.mark.parametrize(
    "payload",
    [
        "{",
        "{'id': '1'",
        "{'id': 1 + 1}",
        "{'id': f'{1}'}",
        "{'id': b'1'}",
        "{'id': open('/etc/passwd')}",
        "{{'a': 1}: 2}",
        "{'a': " + "[" * 300 + "]" * 300 + "}",
        "{'a': " + "-" * 5000 + "1}",
        "{'a': '\\N{DIGIT ONE}'}",
        "{'a': 'x'} {'b': 'y'}",
    ],
)
def test_what_is_no_literal_of_the_kind_is_rejected_and_never_run(payload: str) -> None:
    message = f"Event type: audit.http.response, Context: None, Payload: {payload}"
    assert reason(read(AUDIT, message, None)) in (RejectReason.BAD_LINE, RejectReason.BAD_AUDIT_EVENT)


@pytest.mark.parametrize("share", range(1, 10))
def test_an_event_that_is_cut_is_rejected(share: int) -> None:
    whole = text(cadf(RESPONSE))
    assert reason(read(AUDIT, whole[: len(whole) * share // 10], None)) is RejectReason.BAD_LINE
    whole = json.dumps(cadf(RESPONSE))
    assert reason(read(DRIVER + RESPONSE, whole[: len(whole) * share // 10], None)) is RejectReason.NOT_JSON


def test_an_event_beyond_any_size_is_rejected() -> None:
    message = text(with_agent("x" * MAX_REPR))
    assert reason(read(AUDIT, message, None)) is RejectReason.TOO_LARGE


def test_stamps_of_the_future_give_way_to_the_transports() -> None:
    late = wire.decode(json.dumps(cadf(RESPONSE)).encode(), 5_000_000)
    assert isinstance(late, AuditRecord)
    assert late.flags == ("clock_skewed",)
    assert read(AUDIT, text(cadf(RESPONSE)), 5_000_000) == late
    assert read(DRIVER + RESPONSE, json.dumps(cadf(RESPONSE)), 5_000_000) == late
