"""Whatever the bytes: decoding says what they are, and never raises."""

from __future__ import annotations

import json

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmwatch.core.model import Micros
from kmwatch.core.path import server_path
from kmwatch.core.record import AuditRecord, Ignored, Rejected
from kmwatch.core.route import route
from kmwatch.store.redact import KEPT_BYTES, redacted
from kmwatch.wire.cadf import decode
from kmwatch.wire.event import iso
from kmwatch.wire.recorded import known, unwrap
from tests.support.audit import RESPONSE, SECRET, cadf, engine, envelope, recorded_lines, step

stamps = st.none() | st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
jsons = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner))
FIELDS = ["id", "action", "outcome", "eventTime", "requestPath", "initiator", "target", "reason", "reporterchain"]
PEOPLE = ["id", "name", "project_id", "request_id", "global_request_id", "host"]


def holds(value: bytes, stamp: Micros | None) -> None:
    """Decode, and hold the result against what every user of it counts on."""
    got = decode(value, stamp)
    assert isinstance(got, AuditRecord | Ignored | Rejected)
    if isinstance(got, AuditRecord):
        assert 0 <= got.event_time <= got.observed_time
        assert iso(got.observed_time).endswith("Z")
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(got), type=AuditRecord) == got
        msgspec.json.encode(got)
        made = engine()
        step(made, [("s", got)])
        made.flush()
        assert made.account.events_evaluated == 1
    if isinstance(got, Rejected):
        assert len(got.detail) <= 300
        assert len(redacted(value)) <= KEPT_BYTES + 50


@given(st.binary(max_size=300), stamps)
@example(b"\xef\xbb\xbf{}", None)
@example(b'{"oslo.message": "' + b"[" * 5000 + b'"}', 0)
def test_random_bytes(value: bytes, stamp: Micros | None) -> None:
    holds(value, stamp)
    unwrap(value)
    known(value)


@given(jsons, st.booleans(), stamps)
def test_random_json(value: object, wrapped: bool, stamp: Micros | None) -> None:  # noqa: FBT001
    holds(envelope(value) if wrapped else json.dumps(value).encode(), stamp)


@given(st.dictionaries(st.sampled_from(FIELDS), jsons), st.dictionaries(st.sampled_from(PEOPLE), jsons), stamps)
def test_an_audit_event_with_any_values_in_its_fields(
    changes: dict[str, object], person: dict[str, object], stamp: Micros | None
) -> None:
    message = cadf(RESPONSE, **{"initiator": person, **changes})
    holds(envelope(message), stamp)
    holds(json.dumps(message).encode(), stamp)


@given(st.data())
@settings(max_examples=300)
def test_real_records_with_bytes_changed_cut_out_or_put_in(data: st.DataObject) -> None:
    lines = recorded_lines()
    line = bytearray(lines[data.draw(st.integers(0, len(lines) - 1))])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=10))
    holds(*unwrap(bytes(line)))
    known(bytes(line))


@given(st.text(st.characters(), max_size=80), st.booleans())
def test_any_path_leads_somewhere(path: str, served: bool) -> None:  # noqa: FBT001
    way = route(path, served=served)
    assert way.path.startswith("/") or not way.routed


# Spellings


def payload_spelling(data: st.DataObject) -> str:
    """The path of a payload, spelled in one of the ways that the Key Manager serves."""
    out = data.draw(st.sampled_from(["/", "http://key-manager:9311", "HTTPS://[::1]", "http://a.b/../.."]))
    for element in ("v1", "secrets", SECRET, "payload"):
        noise = st.sampled_from(["/", "//", "/./", "/x/../", "/%2e/", "/y/%2E%2e/", "///"])
        out += data.draw(noise if element == "v1" and out else noise | st.sampled_from(["%2F", "%2f"]))
        for character in element:
            out += data.draw(st.sampled_from([character, f"%{ord(character):02x}", f"%{ord(character):02X}"]))
    out += data.draw(st.sampled_from(["", ".json", ".txt", ".PNG", ".html", "/", "//", "/.", "/x/.."]))
    return out + data.draw(st.sampled_from(["", "?", "?x=1", "?/acl", "?a=http://b/v1/secrets/c/payload"]))


@given(st.data(), st.booleans())
def test_any_spelling_of_a_payload_is_recognised(data: st.DataObject, served: bool) -> None:  # noqa: FBT001
    way = route(payload_spelling(data), served=served)
    assert (way.path, way.reads) == (f"/v1/secrets/{SECRET}/payload", "retrieval")
    assert (way.target_type, way.target_id) == ("secret", SECRET)


@given(st.data())
def test_the_path_of_an_audit_event_is_not_changed_by_normalising_it_again(data: st.DataObject) -> None:
    path = server_path(payload_spelling(data))
    assert server_path(path) == path


plain = st.text(st.characters(exclude_characters="%?", codec="utf-8"), max_size=60)


@given(plain)
def test_normalising_is_idempotent_where_nothing_is_left_to_decode(text: str) -> None:
    once = server_path("/" + text)
    assert server_path(once) == once
