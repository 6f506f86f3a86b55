"""CADF audit notifications of keystonemiddleware in the oslo.messaging envelope -> AuditRecord.

The envelope (oslo_messaging/_drivers/common.py, version 2.0) holds the message as a JSON string inside JSON; a
bare message is read too. keystonemiddleware/audit/_notifier.py sends `audit.http.request` (outcome pending) and
`audit.http.response` with one CADF id; the SAP middleware sends one `audit.cadf`.

The record's `target` is not believed: keystonemiddleware picks it by comparing the client's Host header with the
service catalog, so a caller can make the Key Manager's own audit event name another service. Only the path tells.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from kmwatch.core.model import SECOND, AddressSource, Initiator, Micros
from kmwatch.core.record import AuditRecord, Decoded, Ignored, Rejected, RejectReason, Slot
from kmwatch.core.route import route

MAX_BYTES = 8 * 1024 * 1024  # Kafka's own default is 1 MiB; a bigger record is no audit event
_LATEST: Micros = 32_503_680_000 * SECOND  # the year 3000: what comes later no format of a sink could write
CLOCK_TOLERANCE: Micros = 60 * SECOND  # how far a stamp may lie after the moment the broker got it
_SLOTS = {
    "audit.http.request": Slot.CADF_REQUEST,
    "audit.http.response": Slot.CADF_RESPONSE,
    "audit.cadf": Slot.CADF_REQUEST | Slot.CADF_RESPONSE,
}
_UNKNOWN = frozenset({"", "unknown", None})  # pycadf's cadftaxonomy.UNKNOWN stands for what Keystone did not say
_SAYS_NOTHING = frozenset({"", "unknown", None})
_NO_ADDRESS, _TOLD_ADDRESS = AddressSource.NONE, AddressSource.AUDIT
_STATUS: dict[str | int | None, int] = {str(code): code for code in range(100, 600)}  # as keystonemiddleware writes it


class _Envelope(Struct, gc=False):
    message: str | None = msgspec.field(default=None, name="oslo.message")
    event_type: str | None = None
    payload: msgspec.Raw = msgspec.Raw()


class _Host(Struct, gc=False):
    address: str | None = None
    agent: str | None = None


class _Initiator(Struct, gc=False):
    id: str | None = None
    name: str | None = None
    project_id: str | None = None
    request_id: str | None = None
    global_request_id: str | None = None
    host: _Host | None = None


class _Target(Struct, gc=False):
    type_uri: str | None = msgspec.field(default=None, name="typeURI")


class _Reason(Struct, gc=False):
    code: str | int | None = msgspec.field(default=None, name="reasonCode")


class _Reporter(Struct, gc=False):
    time: str | None = msgspec.field(default=None, name="reporterTime")


class _Event(Struct, gc=False):
    id: str
    action: str
    outcome: str
    event_time: str | None = msgspec.field(default=None, name="eventTime")
    path: str | None = msgspec.field(default=None, name="requestPath")
    initiator: _Initiator | None = None
    target: _Target | None = None
    reason: _Reason | None = None
    reporters: list[_Reporter] = msgspec.field(default_factory=list, name="reporterchain")


class _Message(Struct, gc=False):
    event_type: str
    payload: _Event


class _Header(Struct):
    event_type: str | None = None


_NOBODY = _Initiator()
_envelope = msgspec.json.Decoder(_Envelope).decode
_message = msgspec.json.Decoder(_Message).decode
_header = msgspec.json.Decoder(_Header).decode
_seconds: dict[str, Micros] = {}  # "2026-11-23T20:47:51" -> microseconds; a cache, so it is no state


def decode(value: bytes, stamp: Micros | None) -> Decoded:
    """Read one record.

    Args:
        value: the record's bytes, of any content.
        stamp: when the broker or producer says it was written, if known. Stamps in the event that lie more than
            CLOCK_TOLERANCE after it are clamped to it and flagged, so that a forged future cannot move time.

    Returns:
        The audit record, or why there is none. Never raises.
    """
    if len(value) > MAX_BYTES:
        return Rejected(RejectReason.TOO_LARGE, f"{len(value)} bytes; the limit is {MAX_BYTES}")
    if not value or value.isspace():
        return Ignored.EMPTY
    try:
        inner: bytes | str = value
        envelope = _envelope(value)
        if envelope.message is not None:
            inner = envelope.message
        elif envelope.event_type is None:
            return Rejected(RejectReason.BAD_ENVELOPE, "no oslo.message and no event_type")
        message = _message(inner)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _second_look(value, stamp, error)
    return _record(message, stamp)


def _second_look(value: bytes, stamp: Micros | None, error: Exception) -> Decoded:
    """What the typed fast path refuses: other notifications, odd but legal JSON, or a record beyond reading.

    The standard library's reader takes what strict ones do not (lone surrogates, NaN), so that no client can hide
    a request by making its record unreadable to us.
    """
    try:
        outer = json.loads(value.decode("utf-8", "replace"))
        inner = outer.get("oslo.message", outer) if isinstance(outer, dict) else outer
        if isinstance(inner, str):
            inner = json.loads(inner)
    except (ValueError, RecursionError):
        return Rejected(RejectReason.NOT_JSON, _brief(error))
    if not isinstance(inner, dict) or not isinstance(inner.get("event_type"), str):
        return Rejected(RejectReason.BAD_ENVELOPE, "no event_type in the message")
    if inner["event_type"] not in _SLOTS:
        return Ignored.NOT_AUDIT
    try:
        return _record(msgspec.convert(_printable(inner), _Message, strict=False), stamp)
    except (msgspec.ValidationError, RecursionError) as bad:
        return Rejected(RejectReason.BAD_AUDIT_EVENT, _brief(bad))


def _printable(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    """The same JSON without lone surrogates, which no UTF-8 can carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return value


def _brief(error: Exception) -> str:
    return str(error)[:200]


def _record(message: _Message, stamp: Micros | None) -> Decoded:
    slot = _SLOTS.get(message.event_type)
    if slot is None:
        return Ignored.NOT_AUDIT
    event = message.payload
    path = event.path
    if not path:
        return Rejected(RejectReason.BAD_AUDIT_EVENT, "no requestPath")
    target = event.target
    if target is not None and target.type_uri not in _SAYS_NOTHING and _of_other_service(target.type_uri, path):
        return Ignored.OTHER_SERVICE
    try:
        began = stamp if event.event_time is None else _micros(event.event_time)
        made = _micros(event.reporters[-1].time or "") if event.reporters else began
    except (ValueError, OverflowError):
        return Rejected(RejectReason.BAD_TIME, f"eventTime {str(event.event_time)[:80]!r} is no timestamp")
    if began is None or made is None:
        return Rejected(RejectReason.BAD_TIME, "no eventTime, and the record has no timestamp")
    flags: tuple[str, ...] = ()
    if made < began:
        made = began
    if stamp is not None and made > stamp + CLOCK_TOLERANCE and stamp >= 0:  # a negative one says "none"
        began, made, flags = min(began, stamp), min(made, stamp), ("clock_skewed",)
    if began < 0 or made > _LATEST:
        return Rejected(RejectReason.BAD_TIME, f"{began} us is outside the years 1970 to 2999")
    who = event.initiator or _NOBODY
    request_id = who.request_id
    if request_id in _UNKNOWN:
        request_id = None
    return AuditRecord(
        slot,
        request_id or f"cadf-{event.id}",
        began,
        made,
        event.action,
        event.outcome,
        None if event.reason is None else _status(event.reason.code),
        path,
        request_id,
        who.global_request_id or None,
        _who(who),
        flags,
    )


def _who(who: _Initiator) -> Initiator:
    host, id_, name, project = who.host, who.id, who.name, who.project_id
    address = host.address if host is not None else None
    return Initiator(
        None if id_ in _UNKNOWN else id_,
        None if name in _UNKNOWN else name,
        None if project in _UNKNOWN else project,
        None,
        (),
        address,
        _NO_ADDRESS if address is None else _TOLD_ADDRESS,
        host.agent if host is not None else None,
    )


def _of_other_service(uri: str, path: str) -> bool:
    """Whether both the target's typeURI and the path say that this is not the Key Manager's event."""
    if uri.startswith(("service/security/keymanager", "data/security")):
        return False
    return not route(path, served=True).routed


def _status(code: str | int | None) -> int | None:
    known = _STATUS.get(code)
    if known is not None or code is None:
        return known
    try:
        number = int(code)
    except ValueError:
        return None
    return number if 100 <= number <= 999 else None  # noqa: PLR2004


def _micros(text: str) -> Micros:
    """An ISO 8601 time; pycadf writes 2026-11-23T20:47:51.538673+0000. Without a zone it is UTC."""
    if len(text) == 31 and text[19] == "." and text.endswith("+0000"):  # noqa: PLR2004
        second, fraction = text[:19], text[20:26]
        start = _seconds.get(second)
        if start is None:
            start = _parse(second)
            if len(_seconds) >= 4096:  # noqa: PLR2004
                _seconds.clear()
            _seconds[second] = start
        if fraction.isdigit():
            return start + int(fraction)
    return _parse(text)


def _parse(text: str) -> Micros:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    span = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds
