"""Shippers' JSON around a log line: rsyslog's omkafka, Filebeat, Fluent Bit, fluentd, Docker, Kafka Connect.

A shipper's object holds the line as one string among fields of its own. Records that are JSON by themselves have a
`message` too; what they have beside it tells them apart, and no client has a word in the names of fields.
"""

from __future__ import annotations

import json
import re

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
    LAUREL = "laurel"
    VAULT = "vault"
    PKCS11 = "pkcs11"
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
    app: msgspec.Raw = msgspec.field(default=_ABSENT, name="App")  # of uWSGI, by kolla-ansible's fluentd
    event: msgspec.Raw = msgspec.field(default=_ABSENT, name="ID")  # laurel
    request: msgspec.Raw = _ABSENT  # Vault's audit device
    time: msgspec.Raw = _ABSENT
    function: msgspec.Raw = _ABSENT  # a shim in front of a PKCS#11 token
    answer: msgspec.Raw = msgspec.field(default=_ABSENT, name="rv")
    host: msgspec.Raw = _ABSENT  # rsyslog; an object with a name in Filebeat's
    hostname: msgspec.Raw = _ABSENT
    machine: msgspec.Raw = msgspec.field(default=_ABSENT, name="Hostname")  # kolla-ansible's fluentd


class _Request(Struct, gc=False):
    """A line of uWSGI as kolla-ansible parses it (roles/fluentd/templates/conf/input/13-uwsgi.conf.j2)."""

    process: str = msgspec.field(name="Pid")
    app: str = msgspec.field(name="App")
    number: str = msgspec.field(name="Req")
    address: str = msgspec.field(name="Address")
    count: str = msgspec.field(name="Vars")
    size: str = msgspec.field(name="Bytes")
    stamp: str = msgspec.field(name="Timestamp")
    rest: str = msgspec.field(name="Payload")
    user: str = msgspec.field(default="", name="User")

    def line(self) -> str:
        """As uWSGI wrote it."""
        return (
            f"[pid: {self.process}|app: {self.app}|req: {self.number}] {self.address} ({self.user}) "
            f"{{{self.count} vars in {self.size} bytes}} [{self.stamp}] {self.rest}"
        )


class _Host(Struct, gc=False):
    name: str | None = None


_object = msgspec.json.Decoder(_Object).decode
_host = msgspec.json.Decoder(str | _Host | None).decode
_request = msgspec.json.Decoder(_Request).decode
_text = msgspec.json.Decoder(str).decode
_audited = re.compile(rb'"[0-9]{1,11}\.[0-9]{3}:[0-9]{1,20}"').fullmatch
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def peel(value: bytes) -> tuple[Kind, bytes | str, str | None]:
    """Say what a JSON object is, and take off a shipper's envelope.

    Args:
        value: of any content. What strict readers refuse (a lone surrogate, a control byte, bytes that are no
            UTF-8: shippers pass on what clients wrote) is read with replacements.

    Returns:
        The kind; of SHIPPED what is in the envelope, as text where it was a string; of the others the value as bytes,
        mended if it had to be; and the host that a shipper names. Never raises.
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


def _peeled(value: bytes) -> tuple[Kind, bytes | str, str | None]:  # noqa: PLR0911  (a list of kinds)
    found = _object(value)  # every field that is missing is the one object _ABSENT
    if found.oslo is not _ABSENT or found.event_type is not _ABSENT:
        return Kind.CADF, value, None
    behind = _behind(found)
    if behind is not None:
        return behind, value, None
    if found.levelname is not _ABSENT or found.asctime is not _ABSENT or found.funcname is not _ABSENT:
        return Kind.OSLO_JSON, value, None
    if found.module is not _ABSENT:
        return Kind.KOLLA, value, None
    if found.schema is not _ABSENT and found.payload is not _ABSENT:
        return Kind.SHIPPED, _inner(bytes(found.payload)), None
    if found.app is not _ABSENT and (whole := _rejoined(value)) is not None:
        return Kind.SHIPPED, whole, _named(found)
    for line in (found.message, found.log, found.text):
        if line is not _ABSENT and bytes(line)[:1] == b'"':
            return Kind.SHIPPED, _text(line), _named(found)
    return Kind.OTHER, value, None


def _rejoined(value: bytes) -> str | None:
    try:
        return _request(value).line()
    except msgspec.ValidationError:
        return None


def _behind(found: _Object) -> Kind | None:
    """A record of a log behind the API."""
    if found.event is not _ABSENT and _audited(bytes(found.event)):
        return Kind.LAUREL
    if found.time is _ABSENT:
        return None
    if found.request is not _ABSENT and bytes(found.request)[:1] == b"{":
        return Kind.VAULT
    return Kind.PKCS11 if found.function is not _ABSENT and found.answer is not _ABSENT else None


def _inner(held: bytes) -> bytes | str:
    """A string, or JSON that is none as it stands; null is a tombstone."""
    if held[:1] == b'"':
        return _text(held)
    return b"" if held == b"null" else held


def _named(found: _Object) -> str | None:
    for field in (found.host, found.hostname, found.machine):
        if field is not _ABSENT:
            try:
                host = _host(field)
            except msgspec.ValidationError:
                continue
            name = host.name if isinstance(host, _Host) else host
            if name:
                return name[:_LONGEST_HOST]
    return None
