from __future__ import annotations

import json

import pytest

from kmwatch.core.model import SECOND, AddressSource
from kmwatch.core.record import AuditRecord, Ignored, Rejected, RejectReason, Slot
from kmwatch.store.redact import redacted
from kmwatch.wire.cadf import CLOCK_TOLERANCE, MAX_BYTES, decode
from kmwatch.wire.recorded import known, unwrap
from tests.support.audit import BOTH, REQUEST, RESPONSE, SECRET, START, TOKEN, Json, cadf, envelope

STAMP = START + SECOND
NOVA = {"id": "nova", "typeURI": "service/compute/servers"}


def read(message: object, stamp: int | None = STAMP) -> AuditRecord:
    got = decode(envelope(message), stamp)
    assert isinstance(got, AuditRecord), got
    return got


def refused(message: object, stamp: int | None = STAMP) -> Rejected:
    got = decode(envelope(message), stamp)
    assert isinstance(got, Rejected), got
    return got


def test_a_response_tells_who_did_what_and_how_it_ended() -> None:
    got = read(cadf())
    assert (got.slot, got.key, got.request_id) == (Slot.CADF_RESPONSE, "req-1", "req-1")
    assert (got.event_time, got.observed_time) == (START + 500_000, START + 600_000)
    assert (got.action, got.outcome, got.status) == ("read", "success", 200)
    assert got.path_raw == f"/v1/secrets/{SECRET}/payload"
    who = got.initiator
    assert (who.user_id, who.user_name, who.project_id) == ("user-1", "alice", "project-1")
    assert (who.address, who.address_source, who.agent) == ("10.0.0.1", AddressSource.AUDIT, "curl/8")


def test_a_request_has_no_result_and_was_observed_when_it_began() -> None:
    got = read(cadf(REQUEST))
    assert (got.slot, got.status, got.outcome) == (Slot.CADF_REQUEST, None, "pending")
    assert got.event_time == got.observed_time == START + 500_000


def test_the_one_event_of_the_sap_middleware_is_both_halves() -> None:
    message = cadf("audit.cadf", action="read/get", eventTime="2026-11-23T20:47:51.500000+00:00")
    assert (read(message).slot, read(message).event_time) == (BOTH, START + 500_000)


@pytest.mark.parametrize(
    "value",
    [
        envelope(cadf()),
        json.dumps({"oslo.version": "2.0", "oslo.message": cadf()}).encode(),
        json.dumps(cadf()).encode(),
        json.dumps(cadf(), indent=2).encode() + b"\n",
        json.dumps({"oslo.message": json.dumps(cadf()), "more": [1]}).encode(),
    ],
    ids=["envelope", "message is no string", "bare", "pretty bare", "no version"],
)
def test_every_envelope_gives_the_same_record(value: bytes) -> None:
    assert decode(value, STAMP) == read(cadf())


def test_a_kcat_line_and_our_own_line_give_the_same_record_and_stamp() -> None:
    value = envelope(cadf()).decode()
    kcat = json.dumps({"topic": "t", "partition": 0, "offset": 7, "tstype": "create", "ts": 5, "payload": value})
    ours = json.dumps({"topic": "t", "partition": 0, "offset": 7, "timestamp_ms": 5, "value": value})
    assert unwrap(kcat.encode()) == unwrap(ours.encode()) == (value.encode(), 5000)
    bare = json.dumps(cadf()).encode()
    assert unwrap(bare) == (bare, None)
    assert known(kcat.encode())
    assert known(ours.encode())
    assert known(bare)
    assert known(envelope(cadf()))
    assert not known(b'{"message": "a log line"}')
    assert not known(b"plain text")


def test_a_recorded_tombstone_or_a_blank_line_is_empty() -> None:
    value, stamp = unwrap(b'{"topic": "t", "timestamp_ms": 5, "value": null}')
    assert (value, stamp) == (b"", 5000)
    assert decode(value, stamp) is Ignored.EMPTY
    assert decode(b" \r\n", None) is Ignored.EMPTY


def test_a_recorded_value_with_a_lone_surrogate_is_read_all_the_same() -> None:
    agent = {"host": {"address": "10.0.0.1", "agent": "\udc80"}, "request_id": "req-1"}
    value = json.dumps({"oslo.message": json.dumps(cadf(initiator=agent), ensure_ascii=False)}, ensure_ascii=False)
    line = json.dumps({"topic": "t", "value": value}).encode()
    assert line.count(b"\\udc80") == 1  # it stands in the outermost string
    got = decode(*unwrap(line))
    assert isinstance(got, AuditRecord)
    assert got.initiator.agent == "?"


def test_a_lone_surrogate_inside_the_message_does_not_hide_the_request() -> None:
    agent = {"host": {"address": "10.0.0.1", "agent": "a\ud800b"}, "id": "user-1", "request_id": "req-1"}
    got = read(cadf(initiator=agent))
    assert (got.initiator.user_id, got.initiator.agent) == ("user-1", "a?b")


@pytest.mark.parametrize("event_type", ["compute.instance.create.end", "image.update", "identity.user.created", "x"])
def test_other_notifications_on_the_topic_are_ignored(event_type: str) -> None:
    message = {"event_type": event_type, "payload": {"id": 5, "nested": [1, None]}, "priority": "INFO"}
    assert decode(envelope(message), STAMP) is Ignored.NOT_AUDIT
    assert decode(json.dumps(message).encode(), STAMP) is Ignored.NOT_AUDIT


def test_audit_events_of_other_services_are_ignored() -> None:
    message = cadf(target=NOVA, requestPath="/v2.1/servers/detail")
    assert decode(envelope(message), STAMP) is Ignored.OTHER_SERVICE


def test_a_forged_host_header_cannot_hide_a_request_as_another_services() -> None:
    assert read(cadf(target=NOVA)).path_raw == f"/v1/secrets/{SECRET}/payload"
    assert read(cadf(target=NOVA, requestPath=f"/v1//secrets/{SECRET}/%70ayload.zzz?x")).status == 200


@pytest.mark.parametrize("target", [None, {"typeURI": "unknown"}, {"id": "x"}, {"typeURI": ""}])
def test_an_event_without_a_believable_target_is_kept(target: Json | None) -> None:
    assert read(cadf(target=target, requestPath="/elsewhere")).path_raw == "/elsewhere"


def test_the_join_key_is_the_request_id_or_else_the_event_id() -> None:
    assert read(cadf(initiator={"id": "u"})).key == "cadf-bd627c1a-8f68-5ac1-9331-6e8dd0e876df"
    assert read(cadf(initiator=None)).request_id is None
    assert read(cadf(initiator={"request_id": "unknown"})).request_id is None


def test_what_keystone_did_not_say_is_unknown_and_no_name() -> None:
    who = read(cadf(initiator={"id": "unknown", "name": "", "project_id": "unknown"})).initiator
    assert (who.user_id, who.user_name, who.project_id) == (None, None, None)
    assert (who.address, who.address_source) == (None, AddressSource.NONE)


@pytest.mark.parametrize("address", ["", "unknown", 'evil"} {"a":1', "x" * 2000, "\x1b[2J"])
def test_an_address_is_whatever_the_client_wrote(address: str) -> None:
    who = read(cadf(initiator={"host": {"address": address}})).initiator
    assert (who.address, who.address_source) == (address, AddressSource.AUDIT)


@pytest.mark.parametrize(
    ("code", "status"), [("200", 200), (404, 404), ("000", None), ("abc", None), (-1, None), ("99999", None)]
)
def test_a_status_that_is_none_is_unknown(code: str | int, status: int | None) -> None:
    assert read(cadf(reason={"reasonType": "HTTP", "reasonCode": code})).status == status


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-11-23T20:47:51.538673+0000", START + 538_673),
        ("2026-11-23T20:47:51.538673+00:00", START + 538_673),
        ("2026-11-23T20:47:51Z", START),
        ("2026-11-23T20:47:51", START),
        ("2026-11-23T22:47:51.000001+02:00", START + 1),
    ],
)
def test_a_time_counts_in_utc(text: str, micros: int) -> None:
    assert read(cadf(eventTime=text, reporterchain=None)).event_time == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-13-01T00:00:00",
        "2026-11-23T20:47:51.xxxxxx+0000",
        "2026-11-23T20:47:51.²²²²²²+0000",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:01Z",
    ],
)
def test_a_time_that_is_none_or_beyond_all_sense_is_rejected(text: str) -> None:
    assert refused(cadf(eventTime=text, reporterchain=None), None).reason is RejectReason.BAD_TIME


def test_without_any_time_the_brokers_counts() -> None:
    assert read(cadf(eventTime=None, reporterchain=None)).event_time == STAMP
    assert refused(cadf(eventTime=None, reporterchain=None), None).reason is RejectReason.BAD_TIME
    huge = 10**18
    assert refused(cadf(eventTime=None, reporterchain=None), huge).reason is RejectReason.BAD_TIME


def test_a_stamp_in_the_future_is_clamped_and_flagged() -> None:
    early = START - 2 * CLOCK_TOLERANCE
    got = read(cadf(), early)
    assert (got.event_time, got.observed_time, got.flags) == (early, early, ("clock_skewed",))


def test_a_stamp_within_the_tolerance_is_believed() -> None:
    made = START + 600_000
    assert read(cadf(), made - CLOCK_TOLERANCE).flags == ()
    assert read(cadf(), made - CLOCK_TOLERANCE - 1).flags == ("clock_skewed",)


def test_only_the_part_that_lies_in_the_future_is_clamped() -> None:
    reported = [{"reporterTime": "2026-11-23T21:47:51.000000+0000"}]
    got = read(cadf(reporterchain=reported))
    assert (got.event_time, got.observed_time, got.flags) == (START + 500_000, STAMP, ("clock_skewed",))


def test_a_negative_stamp_means_that_there_is_none() -> None:
    assert read(cadf(), -1000) == read(cadf(), None)


def test_a_record_is_never_observed_before_it_began() -> None:
    reported = [{"reporterTime": "2026-11-23T20:47:50.000000+0000"}]
    got = read(cadf(reporterchain=reported))
    assert got.observed_time == got.event_time


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe", RejectReason.NOT_JSON),
        (b"not json", RejectReason.NOT_JSON),
        (b"[" * 100_000, RejectReason.NOT_JSON),
        (b'{"oslo.message": "{"}', RejectReason.NOT_JSON),
        (b'{"oslo.message": ""}', RejectReason.NOT_JSON),
        (b"1" * 5000, RejectReason.NOT_JSON),
        (b"null", RejectReason.BAD_ENVELOPE),
        (b"{}", RejectReason.BAD_ENVELOPE),
        (b'"text"', RejectReason.NOT_JSON),
        (b'{"oslo.message": "[]"}', RejectReason.BAD_ENVELOPE),
        (b'{"event_type": "audit.http.response"}', RejectReason.BAD_AUDIT_EVENT),
        (b'{"event_type": "audit.http.response", "payload": []}', RejectReason.BAD_AUDIT_EVENT),
        (b"x" * (MAX_BYTES + 1), RejectReason.TOO_LARGE),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_read_is_rejected_with_its_reason(value: bytes, reason: RejectReason) -> None:
    got = decode(value, STAMP)
    assert isinstance(got, Rejected)
    assert got.reason is reason
    assert len(got.detail) <= 250


@pytest.mark.parametrize(
    "changes",
    [
        {"requestPath": None},
        {"requestPath": ""},
        {"id": None},
        {"outcome": None},
        {"action": 5},
        {"initiator": []},
        {"initiator": {"host": "x"}},
    ],
)
def test_an_audit_event_that_lacks_its_sense_is_rejected(changes: Json) -> None:
    message = cadf()
    event = message["payload"]
    assert isinstance(event, dict)
    event.update(changes)
    assert refused(message).reason is RejectReason.BAD_AUDIT_EVENT


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("action", "acti"),
        lambda text: text[:-30],
        lambda text: text.replace("2026-11-23T20:47:51.5", "when"),
        lambda text: text.replace(f"/v1/secrets/{SECRET}/payload", ""),
    ],
    ids=["no action", "cut", "bad time", "no path"],
)
@pytest.mark.parametrize("wrap", [envelope, lambda message: json.dumps(message).encode()], ids=["envelope", "bare"])
def test_no_reject_shows_the_token(damage: object, wrap: object) -> None:
    value = damage(wrap(cadf(RESPONSE)).decode()).encode()  # type: ignore[operator]
    got = decode(value, STAMP)
    assert isinstance(got, Rejected)
    for part in (TOKEN, *TOKEN.split(" xxxxxxxx ")):
        assert part.encode() in value
        assert part not in got.detail
        assert part.encode() not in redacted(value)


@pytest.mark.parametrize("deep", ["[" * 2000, '{"a":' * 1500])
def test_a_record_nested_beyond_all_measure_is_rejected_and_not_fatal(deep: str) -> None:
    value = json.dumps({"oslo.version": "2.0", "oslo.message": '{"event_type": "audit.http.response", "x": ' + deep})
    assert isinstance(decode(value.encode(), STAMP), Rejected)
