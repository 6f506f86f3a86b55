"""Whatever a client writes, it stands in no other request's record; whatever the bytes, decoding never raises."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmwatch.core.record import AccessRecord, AuditRecord, Decoded, Ignored, Rejected, ServiceRecord
from kmwatch.wire.decode import FORMS, Options, Reader
from kmwatch.wire.event import iso
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.notifier import read as read_notifier
from kmwatch.wire.recorded import known, readable, unwrap

DATA = Path(__file__).parents[1] / "golden/data/forms"
CAPTURES = Captures(("user-agent", "accept"), ("x-openstack-request-id",))
ID, VICTIM = "req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e", "req-00000000-0000-4000-8000-000000000000"
LOGGER = "barbican.api.middleware.context"
HEAD = f"2026-11-23 20:47:51.606 32595 INFO {LOGGER}"
WHO = f"[None {ID} user project - - default default]"
SECRET = "/v1/secrets/dcd55d7a-1e67-4cb3-9e2d-17a1be931d42/payload"
FORGED = f"[None {VICTIM} victim project - - default default] Processed request: 200 OK - GET http://h{SECRET}"
# What a client may put into a header, and the pieces of lines that it would like to be taken for the service's.
PIECES = [
    *" /?[]{}-:\"'\\\x0b\x0c\x1c\x1b\x85\u2028",
    "/v1",
    "/v1/secrets/other/payload",
    " - DELETE http://",
    "Processed request: 200 OK - ",
    FORGED,
    f"{HEAD} {FORGED}",
    f"\\n{HEAD} {FORGED}",
    WHO,
    "Retrieved secret payload for project: x",
]
client = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_characters="\n\r"), max_size=4), max_size=6
).map("".join)
# The web server ends a target at a space, and the service quotes what is no printable ASCII in a path, not in a query.
query = client.map(lambda text: re.sub(r"[\x00-\x20]", "", text))
reader = Reader(Options(captures=CAPTURES))


def holds(got: Decoded) -> None:
    """What every user of a decoded record counts on."""
    if isinstance(got, Rejected):
        assert len(got.detail) <= 300
    elif not isinstance(got, Ignored):
        assert got.observed_time >= 0
        assert iso(got.observed_time).endswith("Z")
        kind = AuditRecord | ServiceRecord | AccessRecord
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(got), type=kind) == got


def as_text(message: str) -> bytes:
    return f"{HEAD} {WHO} {message}".encode()


def as_json(message: str) -> bytes:
    context = {"request_id": ID, "user": "user", "project_id": "project"}
    line = {"name": LOGGER, "levelname": "INFO", "message": message, "context": context, "created": 1e9}
    return json.dumps(line).encode()


def as_kolla(message: str) -> bytes:
    return json.dumps(
        {
            "python_module": LOGGER, "log_level": "INFO", "Payload": f" {message}", "user_id": "user",
            "tenant_id": "project", "request_id": ID, "Timestamp": "2026-11-23 20:47:51.606",
        }
    ).encode()  # fmt: skip


writers = st.sampled_from([as_text, as_json, as_kolla])


@given(writers, client)
def test_a_client_request_id_makes_no_record(write: object, header: str) -> None:
    assert callable(write)
    assert reader.decode(write(f"Begin processing request {header}"), None) is Ignored.STALE_CONTEXT


@given(writers, client, query)
@example(as_text, f"h/{HEAD} {FORGED}?", "")
def test_host_and_query_change_no_other_field_and_choose_no_path(write: object, host: str, asked: str) -> None:
    assert callable(write)
    path = f"/v1/secrets/x/payload?{asked}"
    got = reader.decode(write(f"Processed request: 403 Forbidden - PUT http://{host}{path}"), None)
    holds(got)
    assert isinstance(got, ServiceRecord)
    assert (got.key, got.request_id, got.user_id, got.project_id) == (ID, ID, "user", "project")
    assert (got.method, got.status, got.note) == ("PUT", 403, None)
    assert got.path_raw in (path, None)
    assert (got.path_raw is None) == (got.flags == ("path_ambiguous",))


@given(client)
def test_a_shipper_changes_nothing(header: str) -> None:
    line = as_text(f"Processed request: 200 OK - GET http://{header}/v1/secrets")
    plain = reader.decode(line, None)
    assert reader.decode(json.dumps({"message": line.decode()}).encode(), None) == plain
    assert reader.decode(b"<142>Nov 23 20:48:04 ctl01 barbican-api: " + line + b"\n", None) == plain


@given(st.text(st.characters(), max_size=60), st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_agent_comes_through_pythons_repr(key: str, agent: str) -> None:
    payload = {
        "id": "1", "action": "read", "outcome": "success", "eventTime": "2026-11-23T20:47:51.5+0000",
        "requestPath": "/v1/secrets", "initiator": {"host": {"agent": agent}}, "odd": {key: [None, True, 1.5]},
    }  # fmt: skip
    message = f"Event type: audit.http.response, Context: { ({key: agent})!r}, Payload: {payload!r}"
    got = read_notifier("keystonemiddleware.audit", message, None)
    assert isinstance(got, AuditRecord)
    assert got.initiator.agent == agent


HEADS = [
    HEAD.encode(),
    f"{HEAD} [".encode(),
    f"{HEAD} {WHO} ".encode(),
    as_text("Processed request: "),
    f"2026-11-23 20:47:51.606 1 INFO keystonemiddleware.audit {WHO} Event type: audit.http.request, Context: ".encode(),
    f"2026-11-23 20:47:51.606 1 INFO oslo.messaging.notification.audit.http.request {WHO} {{".encode(),
    b'{"levelname": "INFO", "name": "barbican.api.middleware.context", "message": "',
    b'{"python_module": "barbican.api.middleware.context", "Payload": "',
    b'{"App": "0", "Payload": "',
]


@given(st.sampled_from(HEADS), st.binary(max_size=200), st.sampled_from([None, *FORMS]))
def test_any_bytes_in_any_form(head: bytes, rest: bytes, form: str | None) -> None:
    value = head + rest
    holds(Reader(Options(form=form, captures=CAPTURES)).decode(value, None))
    unwrap(value)
    known(value)
    readable(value)


@cache
def real() -> list[bytes]:
    return [line for path in sorted(DATA.iterdir()) for line in path.read_bytes().split(b"\n")[:-1]]


@given(st.data())
@settings(max_examples=300)
def test_real_lines_with_bytes_changed_cut_out_or_put_in(data: st.DataObject) -> None:
    line = bytearray(data.draw(st.sampled_from(real())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(line)))
        line[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=10))
    holds(reader.decode(*unwrap(bytes(line))))
    holds(reader.decode(bytes(line), None))


@given(st.sampled_from(real()), st.sampled_from(real()), st.floats(0, 1))
def test_a_line_cut_anywhere_with_another_behind_it(first: bytes, second: bytes, share: float) -> None:
    got = reader.decode(first[: int(len(first) * share)] + second, None)
    holds(got)
    if isinstance(got, ServiceRecord):
        assert got.request_id.encode() in first + second
