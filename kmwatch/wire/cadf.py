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
import orjson
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
_SKEWED = ("clock_skewed",)
_UNKNOWN = frozenset({"", "unknown", None})  # pycadf's cadftaxonomy.UNKNOWN stands for what Keystone did not say
_STATUS: dict[str | int | None, int] = {str(code): code for code in range(100, 600)}  # as keystonemiddleware writes it


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


_NOBODY, _NOWHERE = _Initiator(), _Host()
_message = msgspec.json.Decoder(_Message).decode
_REMEMBERED, _LONGEST = 4096, 256  # entries of the caches below, and characters of one
_seconds: dict[str, Micros] = {}  # caches of pure functions, so no state; this one by "2026-11-23T20:47:51."
_ours: set[str | None] = {"", "unknown", None}  # typeURIs that do not speak of another service
_initiators: dict[tuple[str | None, ...], Initiator] = {}


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
    try:  # the envelope is nearly all one string: orjson is the faster
        message = _message(orjson.loads(value)["oslo.message"])
    except (orjson.JSONDecodeError, msgspec.DecodeError, LookupError, TypeError, RecursionError) as error:
        return Ignored.EMPTY if not value or value.isspace() else _second_look(value, stamp, error)
    return _record(message, stamp)


def decode_message(inner: bytes | str, stamp: Micros | None) -> Decoded:
    """Read a notification that comes without the envelope, as the `log` driver of oslo.messaging writes it.

    Args:
        inner: the message's JSON, of any content.
        stamp: as for `decode`.

    Returns:
        The audit record, or why there is none. Never raises.
    """
    if len(inner) > MAX_BYTES:
        return Rejected(RejectReason.TOO_LARGE, f"{len(inner)} characters; the limit is {MAX_BYTES}")
    try:
        message = _message(inner)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: lone surrogates
        return _second_look(inner.encode("utf-8", "replace") if isinstance(inner, str) else inner, stamp, error)
    return _record(message, stamp)


def decode_object(inner: object, stamp: Micros | None) -> Decoded:
    """Read a notification that is already made of Python's dicts, lists and scalars.

    Args:
        inner: the message, of any content.
        stamp: as for `decode`.

    Returns:
        The audit record, or why there is none. Never raises.
    """
    if not isinstance(inner, dict) or not isinstance(inner.get("event_type"), str):
        return Rejected(RejectReason.BAD_ENVELOPE, "no event_type in the message")
    if inner["event_type"] not in _SLOTS:
        return Ignored.NOT_AUDIT
    try:
        return _record(msgspec.convert(_printable(inner), _Message, strict=False), stamp)
    except (msgspec.ValidationError, RecursionError) as bad:
        return Rejected(RejectReason.BAD_AUDIT_EVENT, _brief(bad))


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
    return decode_object(inner, stamp)


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
    if target is not None and target.type_uri not in _ours and _of_other_service(target.type_uri or "", path):
        return Ignored.OTHER_SERVICE
    text, reporters = event.event_time, event.reporters
    try:
        began = stamp if text is None else _micros(text)
        made = _micros(reporters[-1].time or "") if reporters else began
    except (ValueError, OverflowError):
        return Rejected(RejectReason.BAD_TIME, f"eventTime {str(text)[:80]!r} is no timestamp")
    if began is None or made is None:
        return Rejected(RejectReason.BAD_TIME, "no eventTime, and the record has no timestamp")
    flags: tuple[str, ...] = ()
    if made < began:  # noqa: PLR1730  (a call costs more)
        made = began
    if stamp is not None and made > stamp + CLOCK_TOLERANCE and stamp >= 0:  # a negative one says "none"
        began, made, flags = min(began, stamp), min(made, stamp), _SKEWED
    if began < 0 or made > _LATEST:
        return Rejected(RejectReason.BAD_TIME, f"{began} us is outside the years 1970 to 2999")
    who, reason = event.initiator or _NOBODY, event.reason
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
        None if reason is None else _STATUS.get(reason.code) or _status(reason.code),
        path,
        request_id,
        who.global_request_id or None,
        _who(who),
        flags,
    )


def _who(who: _Initiator) -> Initiator:
    host = who.host or _NOWHERE
    told = who.id, who.name, who.project_id, host.address, host.agent
    known = _initiators.get(told)
    if known is None:
        id_, name, project, address, agent = told
        known = Initiator(
            None if id_ in _UNKNOWN else id_,
            None if name in _UNKNOWN else name,
            None if project in _UNKNOWN else project,
            None,
            (),
            address,
            AddressSource.NONE if address is None else AddressSource.AUDIT,
            agent,
        )
        if len(_initiators) >= _REMEMBERED:
            _initiators.clear()
        if len(address or "") + len(agent or "") <= _LONGEST:
            _initiators[told] = known
    return known


def _of_other_service(uri: str, path: str) -> bool:
    """Whether both the target's typeURI and the path say that this is not the Key Manager's event."""
    if uri.startswith(("service/security/keymanager", "data/security")):
        if len(_ours) < _REMEMBERED and len(uri) <= _LONGEST:
            _ours.add(uri)
        return False
    found = route(path, served=True)
    return not found.routed or found.target_type == "version"  # every service has a root


def _status(code: str | int | None) -> int | None:
    """A status that is not written as usual."""
    if code is None:
        return None
    try:
        number = int(code)
    except ValueError:
        return None
    return number if 100 <= number <= 999 else None  # noqa: PLR2004


def _micros(text: str) -> Micros:
    """An ISO 8601 time; pycadf writes 2026-11-23T20:47:51.538673+0000. Without a zone it is UTC.

    Seconds are remembered, and not whole times: those hardly ever come twice.
    """
    second, fraction = text[:20], text[20:26]
    if text[26:] != "+0000" or not fraction.isdecimal():
        return _parse(text)
    start = _seconds.get(second)
    if start is None:
        if text[19] != ".":
            return _parse(text)
        start = _parse(text[:19])
        if len(_seconds) >= _REMEMBERED:
            _seconds.clear()
        _seconds[second] = start
    return start + int(fraction)


def _parse(text: str) -> Micros:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    span = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * SECOND + span.microseconds
