"""Real lines of every form, as a Key Manager, its servers and shippers wrote them: what each says; all agree."""

from __future__ import annotations

import msgspec
import pytest

from kmwatch.core.record import AccessRecord, AuditRecord, Ignored, Note, Rejected, ServiceRecord, Slot
from tests.golden.forms import FORMS, TOLD, decoded, lines, reader, services, table, told

PAYLOAD = "req-98fd599f-b17e-4fe6-ac78-938a3dd6d35e"
LEGACY = "req-e186e425-7920-4661-aca5-cd9a42f0f019"
ACL = "req-c27f00f8-2f2f-4609-aebb-192687a93cda"
FAILED = "req-1fbb2c64-23e1-4394-995a-6bb65d3930f0"
DENIED = "req-153b94b4-a40c-4fac-a241-b4c65c243870"
STALE = "req-c5065f92-f21d-42dd-a837-07a3d54a4f66"  # its successor was refused by auth_token, under this id


def of(name: str, request_id: str) -> list[ServiceRecord]:
    return [one for one in services(name) if one.request_id == request_id]


def less_names(one: ServiceRecord) -> ServiceRecord:
    """As text tells it: no names, no roles, milliseconds."""
    at = one.observed_time // 1000 * 1000
    return msgspec.structs.replace(one, user_name=None, project_name=None, roles=(), observed_time=at)


def test_every_line_says_what_it_said_when_this_was_last_read() -> None:
    assert table() == TOLD.read_text(encoding="utf-8"), "run python -m tests.golden.forms and read the difference"


@pytest.mark.parametrize("path", sorted(FORMS.iterdir()), ids=lambda path: path.name)
def test_nothing_real_is_rejected(path: object) -> None:
    assert not [told(one) for one in decoded(getattr(path, "name", "")) if isinstance(one, Rejected)]


# One truth in every form


@pytest.mark.parametrize("name", ["filebeat_service.jsonl", "fluentbit_service.jsonl", "rsyslog_service.jsonl"])
def test_shippers_lines_say_what_the_plain_ones_say(name: str) -> None:
    wanted = [one for one in services("oslo_text.log") if one.request_id in (PAYLOAD, LEGACY, ACL)]
    assert len(wanted) == 5
    assert services(name) == wanted


@pytest.mark.parametrize("name", ["oslo_json.log", "oslo_fluent.log", "kolla.jsonl"])
@pytest.mark.parametrize("request_id", [PAYLOAD, LEGACY, ACL, DENIED, STALE])
def test_json_and_parsed_fields_say_what_the_text_says(name: str, request_id: str) -> None:
    assert of("oslo_text.log", request_id)
    assert [less_names(one) for one in of(name, request_id)] == of("oslo_text.log", request_id)


def test_json_adds_names_and_roles() -> None:
    for name in ("oslo_json.log", "oslo_fluent.log"):
        (end,) = (one for one in of(name, LEGACY) if one.slot == Slot.SERVICE_END)
        assert (end.user_name, end.project_name, end.roles) == ("mallory", "tenant-m", ("creator", "member", "reader"))


def test_a_debug_log_doubles_nothing() -> None:
    for request_id in (PAYLOAD, ACL):
        assert of("oslo_text_debug.log", request_id) == of("oslo_text.log", request_id)
    assert sum(one is Ignored.NO_EVIDENCE for one in decoded("oslo_text_debug.log")) == 8


def test_an_event_is_one_whether_by_messagingv2_or_by_the_log_driver() -> None:
    sent = decoded("notifications.jsonl")
    assert [one.slot for one in sent if isinstance(one, AuditRecord)] == [Slot.CADF_REQUEST, Slot.CADF_RESPONSE]
    assert decoded("logdriver_text.log") == decoded("logdriver_json.log") == sent


def test_events_of_the_middleware_without_oslo_messaging_stand_beside_the_lines_they_belong_to() -> None:
    got = decoded("notifier_repr.log")
    audits = {one.request_id for one in got if isinstance(one, AuditRecord)}
    assert len(audits) == 2
    assert {one.request_id for one in got if isinstance(one, ServiceRecord)} == audits
    answered = [one for one in got if isinstance(one, AuditRecord) and one.slot == Slot.CADF_RESPONSE]
    assert [(one.action, one.status) for one in answered] == [("create", 201), ("update", 200)]


def test_the_sap_middleware_sends_one_event_a_request() -> None:
    got = [one for one in decoded("sap.jsonl") if isinstance(one, AuditRecord)]
    assert [(one.slot, one.action, one.status) for one in got] == [(3, "create", 201), (3, "read/get", 200)]


# Traps


def test_a_stale_context_blames_nobody() -> None:
    raw, got = lines("oslo_text.log"), decoded("oslo_text.log")
    stale = [one for line, one in zip(raw, got, strict=True) if b"Begin " in line or b".auth_token [" in line]
    assert len(stale) == 19
    assert set(stale) == {Ignored.STALE_CONTEXT}
    assert [one.status for one in of("oslo_text.log", STALE)] == [200]


def test_clients_text_in_a_line_makes_no_line() -> None:
    raw, got = lines("oslo_text.log"), decoded("oslo_text.log")
    injected = [
        one for line, one in zip(raw, got, strict=True) if b"INFO barbican.api.controllers.secrets [None req-0" in line
    ]
    assert injected == [Ignored.STALE_CONTEXT]
    for control in ("\x85", "\x0b", "\x0c", "\x1c", "\x1b", "\u2028"):
        (whole,) = (line for line in raw if b"\x1b[31mred" in line)
        split = whole.replace(b"\x1b", control.encode())
        assert reader.decode(split, None) is Ignored.STALE_CONTEXT


def test_a_url_with_two_secrets_tells_neither() -> None:
    (doubtful,) = (one for one in services("oslo_text.log") if one.flags)
    assert (doubtful.flags, doubtful.path_raw, doubtful.status) == (("path_ambiguous",), None, 200)
    odd = [one.path_raw for one in services("oslo_text.log") if (one.path_raw or "").endswith("31d42/payload")]
    assert odd == ["/v1/secrets/dcd55d7a-1e67-4cb3-9e2d-17a1be931d42/payload"] * 2  # Host: "a b", "... - DELETE http"


def test_a_legacy_read_is_noted_before_it_is_tried_and_a_refusal_names_its_policy() -> None:
    note, end = of("oslo_text.log", LEGACY)
    assert (note.note, note.detail) == (Note.LEGACY, "c87aa996-611b-402c-b6b3-ea85285d55bb")
    assert (end.method, end.path_raw, end.status) == (
        "GET",
        "/v1/secrets/c87aa996-611b-402c-b6b3-ea85285d55bb.json",
        200,
    )
    note, end = of("oslo_text.log", DENIED)
    assert (note.note, note.detail, end.status) == (Note.DENIED, "secret:decrypt", 403)


def test_a_traceback_is_a_continuation() -> None:
    assert [one.status for one in of("oslo_text.log", FAILED)] == [500]
    assert sum(one is Ignored.CONTINUATION for one in decoded("oslo_text.log")) == 8


def test_haproxy_cuts_long_requests_and_says_so() -> None:
    cut = [one for one in decoded("haproxy.log") if isinstance(one, AccessRecord) and one.cut]
    assert cut
    assert all(len(one.path_raw) > 900 for one in cut)


def test_uwsgi_blanks_long_requests() -> None:
    assert Ignored.BLANKED in decoded("uwsgi.log")
