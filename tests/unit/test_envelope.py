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
    assert peel(json.dumps(shipped).encode()) == (Kind.SHIPPED, LINE.encode(), host)


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
    assert inner.startswith(b"a\xef\xbf\xbd\x01")
    assert inner.endswith(b"b")


@pytest.mark.parametrize("value", [b"{", b"{]", b"[1]", b"{" * 100_000, b'{"message": "x"'])
def test_what_is_no_object_is_broken(value: bytes) -> None:
    assert peel(value) == (Kind.BROKEN, value, None)
