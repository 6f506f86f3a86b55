from __future__ import annotations

import json

import pytest

from kmwatch.wire.envelope import Kind, peel
from tests.support.audit import cadf, envelope

LINE = "a line \u00e9"


@pytest.mark.parametrize(
    ("shipped", "host"),
    [
        ({"@timestamp": "x", "host": "ctl01", "programname": "haproxy", "message": LINE}, "ctl01"),
        ({"log": {"file": {"path": "/x"}}, "message": LINE, "host": {"name": "ctl01", "ip": ["::1"]}}, "ctl01"),
        ({"log": LINE, "Hostname": "ctl01", "tag": "x"}, "ctl01"),
        ({"log": LINE, "stream": "stdout", "time": "x"}, None),
        ({"message": LINE}, None),
        ({"message": LINE, "host": 5}, None),
        ({"schema": {"type": "string"}, "payload": LINE}, None),
        ({"schema": None, "payload": LINE}, None),
    ],
)
def test_a_shippers_line_is_taken_out_of_its_envelope(shipped: object, host: str | None) -> None:
    assert peel(json.dumps(shipped).encode()) == (Kind.SHIPPED, LINE, host)


def test_a_line_of_uwsgi_that_kolla_has_parsed_is_put_together_again() -> None:
    parsed = {
        "Pid": "1", "App": "0", "Req": "3/3", "Address": "127.0.0.1", "User": "", "Vars": "30", "Bytes": "546",
        "Timestamp": "Mon Nov 23 20:48:03 2026", "Payload": "GET /v1/quotas => generated 87 bytes",
        "Hostname": "ctl01", "programname": "barbican-api-uwsgi",
    }  # fmt: skip
    line = (
        "[pid: 1|app: 0|req: 3/3] 127.0.0.1 () {30 vars in 546 bytes} [Mon Nov 23 20:48:03 2026] "
        "GET /v1/quotas => generated 87 bytes"
    )
    assert peel(json.dumps(parsed).encode()) == (Kind.SHIPPED, line, "ctl01")
    assert peel(b'{"App": "0", "Payload": "whole"}') == (Kind.SHIPPED, "whole", None)


def test_connects_payload_may_be_an_object() -> None:
    kind, inner, _ = peel(b'{"schema": null, "payload": {"message": "x"}}')
    assert (kind, inner) == (Kind.SHIPPED, b'{"message": "x"}')


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"message": "x", "asctime": "t", "name": "n", "levelname": "INFO", "context": {}}, Kind.OSLO_JSON),
        ({"message": "x", "time": "t", "name": "n", "level": "INFO", "funcname": "f"}, Kind.OSLO_JSON),
        ({"Payload": "x", "python_module": "barbican.api", "programname": "barbican-api"}, Kind.KOLLA),
        (cadf(), Kind.CADF),
        ({"request_id": "x"}, Kind.OTHER),
        ({"message": {"a": 1}}, Kind.OTHER),
    ],
)
def test_a_record_that_is_json_by_itself_is_no_envelope(record: object, kind: Kind) -> None:
    value = json.dumps(record).encode()
    assert peel(value) == (kind, value, None)


def test_a_notification_is_no_envelope() -> None:
    assert peel(envelope(cadf()))[0] is Kind.CADF


def test_what_clients_wrote_cannot_make_an_envelope_unreadable() -> None:
    kind, inner, _ = peel(b'{"message": "a\xff\x01\\ud800b"}')
    assert kind is Kind.SHIPPED
    assert isinstance(inner, str)
    assert inner.startswith("a\ufffd\x01")
    assert inner.endswith("b")


@pytest.mark.parametrize("value", [b"{", b"{]", b"[1]", b"{" * 100_000, b'{"message": "x"'])
def test_what_is_no_object_is_broken(value: bytes) -> None:
    assert peel(value) == (Kind.BROKEN, value, None)
