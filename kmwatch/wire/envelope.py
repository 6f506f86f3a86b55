"""Shippers' JSON around a log line: rsyslog's omkafka, Filebeat, Fluent Bit, fluentd, Docker, Kafka Connect.

A shipper's object holds the line as one string among fields of its own. Records that are JSON by themselves have a
`message` too; what they have beside it tells them apart, and no client has a word in the names of fields.
"""

from __future__ import annotations

import json

import msgspec
from msgspec import Struct

from kmwatch.core.model import Word

DEPTH = 3  # envelopes in one another: Kafka Connect around a shipper around a container's log driver


class Kind(Word):
    """What a JSON value is, by the names of its fields."""

    SHIPPED = "shipped"
    CADF = "cadf"
    OSLO_JSON = "oslo_json"
    KOLLA = "kolla"
    OTHER = "other"
    BROKEN = "broken"  # not even lenient readers take it for a JSON object


_ABSENT = msgspec.Raw()
_LONGEST_HOST = 255  # RFC 1035 section 2.3.4


class _Object(Struct, gc=False):
    message: msgspec.Raw = _ABSENT  # Filebeat, rsyslog, Vector, Logstash; oslo.log's formatters as well
    log: msgspec.Raw = _ABSENT  # Docker, Fluent Bit; an object in Filebeat's
    payload: msgspec.Raw = _ABSENT  # Kafka Connect; CADF notifications as well
    schema: msgspec.Raw = _ABSENT
    oslo: msgspec.Raw = msgspec.field(default=_ABSENT, name="oslo.message")
    event_type: msgspec.Raw = _ABSENT
    levelname: msgspec.Raw = _ABSENT  # oslo.log's JSONFormatter
    asctime: msgspec.Raw = _ABSENT
    funcname: msgspec.Raw = _ABSENT  # that and its FluentFormatter
    text: msgspec.Raw = msgspec.field(default=_ABSENT, name="Payload")  # kolla-ansible's fluentd
    module: msgspec.Raw = msgspec.field(default=_ABSENT, name="python_module")
    host: msgspec.Raw = _ABSENT  # rsyslog; an object with a name in Filebeat's
    hostname: msgspec.Raw = _ABSENT
    machine: msgspec.Raw = msgspec.field(default=_ABSENT, name="Hostname")  # kolla-ansible's fluentd


class _Host(Struct, gc=False):
    name: str | None = None


_object = msgspec.json.Decoder(_Object).decode
_host = msgspec.json.Decoder(str | _Host | None).decode
_text = msgspec.json.Decoder(str).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def peel(value: bytes) -> tuple[Kind, bytes, str | None]:
    """Say what a JSON object is, and take off a shipper's envelope.

    Args:
        value: of any content. What strict readers refuse (a lone surrogate, a control byte, bytes that are no
            UTF-8: shippers pass on what clients wrote) is read with replacements.

    Returns:
        The kind; of SHIPPED what is in the envelope, of the others the value, mended if it had to be; and the host
        that a shipper names. Never raises.
    """
    try:
        return _peeled(value)
    except _UNREADABLE:
        pass
    try:
        return _peeled(mended(value))
    except (*_UNREADABLE, ValueError):
        return Kind.BROKEN, value, None


def mended(value: bytes) -> bytes:
    """The same JSON as strict readers take it; raises ValueError or RecursionError if it is none."""
    readable = json.loads(value.decode("utf-8", "replace"), strict=False)
    return json.dumps(readable, ensure_ascii=False).encode("utf-8", "replace")


def _peeled(value: bytes) -> tuple[Kind, bytes, str | None]:
    found = _object(value)
    if bytes(found.oslo) or bytes(found.event_type):
        return Kind.CADF, value, None
    if bytes(found.levelname) or bytes(found.asctime) or bytes(found.funcname):
        return Kind.OSLO_JSON, value, None
    if bytes(found.module):
        return Kind.KOLLA, value, None
    if bytes(found.schema) and bytes(found.payload):
        return Kind.SHIPPED, _inner(bytes(found.payload)), None
    for line in (found.message, found.log, found.text):
        held = bytes(line)
        if held[:1] == b'"':
            return Kind.SHIPPED, _inner(held), _named(found)
    return Kind.OTHER, value, None


def _inner(held: bytes) -> bytes:
    """The bytes of a string, JSON that is none as it stands; null is a tombstone."""
    if held[:1] == b'"':
        return _text(held).encode()
    return b"" if held == b"null" else held


def _named(found: _Object) -> str | None:
    for field in (found.host, found.hostname, found.machine):
        held = bytes(field)
        if held:
            try:
                host = _host(held)
            except msgspec.ValidationError:
                continue
            name = host.name if isinstance(host, _Host) else host
            if name:
                return name[:_LONGEST_HOST]
    return None
