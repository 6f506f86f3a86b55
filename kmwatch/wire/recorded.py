"""Lines of files: recorded Kafka records as JSON (`kcat -J`, {"topic", ..., "value"}), or each a record as it is."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable

import msgspec
from msgspec import Struct

from kmwatch.core.model import Micros
from kmwatch.core.record import Decoded, Ignored, Rejected, RejectReason
from kmwatch.wire import stock
from kmwatch.wire.decode import Options, Reader


class _Line(Struct):
    topic: str | None = None
    value: msgspec.Raw = msgspec.Raw()  # ours
    payload: msgspec.Raw = msgspec.Raw()  # kcat's
    value_b64: str = ""  # of a value that is no UTF-8
    timestamp_ms: int | None = None
    ts: int | None = None
    message: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="oslo.message")
    event_type: str | None = None


Decoder = Callable[[bytes, Micros | None], Decoded]
_decode = Reader(Options(journal=True)).decode
_NO_PROOF = frozenset({Ignored.EMPTY, Ignored.CONTINUATION})  # lines of any text look like these
_NO_FORM = frozenset({RejectReason.UNKNOWN_FORM, RejectReason.NOT_JSON})
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_line = msgspec.json.Decoder(_Line).decode
_text = msgspec.json.Decoder(str).decode


def unwrap(line: bytes) -> tuple[bytes, Micros | None]:
    """The record's value and stamp of one line.

    A line that is no recorded Kafka record is the value itself, less its line end (LF, or CR and LF): decoding it
    will say what it is. One that strict readers refuse (a lone surrogate, bytes that are no UTF-8) is read with
    replacements.
    """
    if line[:1] != b"{" and not line.lstrip().startswith(b"{"):
        return _less_end(line), None
    try:
        return _unwrap(line)
    except (*_UNREADABLE, ValueError):
        pass
    try:
        return _unwrap(_mended(line))
    except (*_UNREADABLE, ValueError):
        return _less_end(line), None


def _unwrap(line: bytes) -> tuple[bytes, Micros | None]:
    found = _line(line)
    if found.topic is None:
        return _less_end(line), None
    raw = bytes(found.value) or bytes(found.payload)
    stamp = found.timestamp_ms if found.timestamp_ms is not None else found.ts
    micros = stamp * 1000 if stamp is not None and stamp >= 0 else None
    packed = b"" if raw else b64decode(found.value_b64, validate=True)  # binascii.Error is a ValueError
    value = packed or _content(raw)
    if value.startswith(stock.BEGINS):  # whoever can write to a topic must not say whose a secret is
        value = b" " + value  # in no form that is known, as to the daemon
    return value, micros


def _mended(line: bytes) -> bytes:
    readable = json.loads(line.decode("utf-8", "replace"), strict=False)
    return json.dumps(readable, ensure_ascii=False).encode("utf-8", "replace")


def readable(line: bytes, decode: Decoder = _decode) -> bool:
    """Whether a line shows what file it is in: a record of a known form, and not only the right wrapping."""
    found = decode(*unwrap(line))
    return not isinstance(found, Rejected) and found not in _NO_PROOF


def known(line: bytes, decode: Decoder = _decode) -> bool:
    """Whether a line is in a form that this release reads, be it damaged."""
    try:
        found = _line(line)
    except _UNREADABLE:
        pass
    else:
        if found.topic is not None and (bytes(found.value) or bytes(found.payload) or found.value_b64):
            return True
        if bytes(found.message) or (found.event_type or "").startswith("audit."):
            return True
    read = decode(*unwrap(line))
    return read.reason not in _NO_FORM if isinstance(read, Rejected) else read not in _NO_PROOF


def _less_end(line: bytes) -> bytes:
    return line[:-2] if line[-2:] == b"\r\n" else line.removesuffix(b"\n")


def _content(data: bytes) -> bytes:
    """The bytes of a JSON string, or JSON that is no string as it stands; null is a tombstone."""
    if data == b"null":
        return b""
    return _text(data).encode() if data[:1] == b'"' else data
