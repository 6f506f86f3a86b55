"""Recorded Kafka records as JSON lines: `kcat -J` output, and {"topic", "partition", "offset", ..., "value"}."""

from __future__ import annotations

import json

import msgspec
from msgspec import Struct

from kmwatch.core.model import Micros
from kmwatch.core.record import Rejected
from kmwatch.wire.cadf import decode


class _Line(Struct):
    topic: str | None = None
    value: msgspec.Raw = msgspec.Raw()  # ours
    payload: msgspec.Raw = msgspec.Raw()  # kcat's
    timestamp_ms: int | None = None
    ts: int | None = None
    message: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="oslo.message")
    event_type: str | None = None


_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_line = msgspec.json.Decoder(_Line).decode
_text = msgspec.json.Decoder(str).decode


def unwrap(line: bytes) -> tuple[bytes, Micros | None]:
    """The record's value and stamp of one line.

    A line that is no recorded Kafka record is taken as the value itself: decoding it will say what it is. One that
    strict readers refuse (a lone surrogate, bytes that are no UTF-8) is read with replacements.
    """
    try:
        return _unwrap(line)
    except _UNREADABLE:
        pass
    try:
        return _unwrap(_mended(line))
    except (*_UNREADABLE, ValueError):
        return line, None


def _unwrap(line: bytes) -> tuple[bytes, Micros | None]:
    found = _line(line)
    if found.topic is None:
        return line, None
    raw = bytes(found.value) or bytes(found.payload)
    stamp = found.timestamp_ms if found.timestamp_ms is not None else found.ts
    micros = stamp * 1000 if stamp is not None and stamp >= 0 else None
    return _content(raw), micros


def _mended(line: bytes) -> bytes:
    readable = json.loads(line.decode("utf-8", "replace"), strict=False)
    return json.dumps(readable, ensure_ascii=False).encode("utf-8", "replace")


def readable(line: bytes) -> bool:
    """Whether a line is a recorded record whose value is a notification, and not only the right wrapping."""
    return known(line) and not isinstance(decode(*unwrap(line)), Rejected)


def known(line: bytes) -> bool:
    """Whether a line is in a form that this release reads."""
    try:
        found = _line(line)
    except _UNREADABLE:
        return False
    if found.topic is not None and (bytes(found.value) or bytes(found.payload)):
        return True
    return bool(bytes(found.message)) or (found.event_type or "").startswith("audit.")


def _content(data: bytes) -> bytes:
    """The bytes of a JSON string, or JSON that is no string as it stands; null is a tombstone."""
    if data == b"null":
        return b""
    return _text(data).encode() if data[:1] == b'"' else data
