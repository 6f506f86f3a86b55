r"""Request logs of Apache httpd and nginx: common, combined, and kolla-ansible's with %D -> AccessRecord.

    127.0.0.1 - - [23/Nov/2026:20:58:40 +0000] "POST /v1/secrets HTTP/1.1" 201 87 1467929 "-" "curl/7.88.1"

The request, the referer and the agent are the client's, and so is the user: nginx shows whatever name a client
sends, spaces and brackets included. Both servers escape a quote in any of them (`\"`, `\x22`), so the first bare
quote begins the request, and the last bracket before it is the server's own stamp.

Apache stamps a request when it was received, nginx when it was answered, and a line does not tell which wrote it.
Where it names the duration (%D, microseconds) it is Apache's. Elsewhere the request is taken to lie within the
stamp's second, give or take `UNKNOWN`: a longer one is placed that much too early or late.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, Decoded, Rejected, RejectReason, Slot
from kmwatch.wire.peer import peer
from kmwatch.wire.times import clf

UNKNOWN: Micros = 5 * SECOND
_STAMP = r"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?: [+-][0-9]{4})?"
_TEXT = r'[^"\\]*(?:\\.[^"\\]*)*'
_HEAD = rf'(?:([^ :]+):[0-9]+ )?([^ ]+) [^ ]+ (?:-|{_TEXT}) \[({_STAMP})\] "'  # "-", for speed: most have no user
_line = re.compile(
    rf'{_HEAD}({_TEXT})" ([0-9]{{3}}|-) ([0-9]{{1,18}}|-)(?: ([0-9]{{1,15}}|-)(?= "))?'
    rf'(?: "{_TEXT}" "({_TEXT})")?(?: .*)?',
    re.DOTALL,
).fullmatch
_begin = re.compile(_HEAD, re.DOTALL).match
_version = re.compile(r"HTTP/[0-9](?:\.[0-9])?").fullmatch
_method = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 section 5.6.2, token
_escape = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL).sub
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"a": b"\a"}
_REMEMBERED = 4096
_times: dict[tuple[str, tzinfo], Micros] = {}  # a cache of a pure function, so no state


def decode(line: str, zone: tzinfo, slot: int = Slot.ACCESS, host: str | None = None) -> Decoded | None:
    """Read one line.

    Args:
        line: without a line end.
        zone: for stamps without an offset; both servers write one.
        slot: Slot.PROXY where the server stands in front of the Key Manager, Slot.ACCESS where it runs it; the
            line does not tell.
        host: the machine that wrote the line, where its envelope names one.

    Returns:
        The request's record, why there is none, or None if it is no line of these forms. Never raises.
    """
    found = _line(line)
    if found is not None:
        return _record(found.groups(), zone, slot, host)
    return Rejected(RejectReason.BAD_LINE, "a line of a web server, cut, or damaged") if _begin(line) else None


def _record(parts: Sequence[str | None], zone: tzinfo, slot: int, host: str | None) -> AccessRecord | Rejected:
    entry, client, stamp, request, status, size, took, agent = parts
    try:
        at = _micros(stamp or "", zone)
    except ValueError:
        return Rejected(RejectReason.BAD_TIME, f"{stamp!r} is no timestamp")
    known = took is not None and took != "-"
    ended = at + int(took or 0) if known else at + SECOND
    method, path = _request(request or "")
    return AccessRecord(  # by position: by name it would take 3 us more
        slot,
        "",  # key
        ended + SECOND if known else ended,
        at,
        at,
        ended,
        SECOND if known else UNKNOWN,
        method,
        path,
        _number(status) or None,
        peer(client or ""),
        False,  # noqa: FBT003  (cut)
        None,  # request id
        None,  # Accept
        None if agent is None or agent == "-" else plain(agent),
        None,  # TLS
        True,  # noqa: FBT003  (served)
        _number(size),
        entry,
        host,
    )


def _request(text: str) -> tuple[str, str]:
    """Method and path; what is no request (a TLS greeting, an idle connection) has no method."""
    method, _, rest = text.partition(" ")
    path, space, version = rest.rpartition(" ")
    if not space or not _version(version):
        path = rest  # HTTP/0.9
    if not path or not _method(method):
        return "", plain(text)
    return method, plain(path)


def plain(text: str) -> str:
    r"""Text as the client sent it: \xHH, \" and the like undone. Bytes that are no UTF-8 become U+FFFD."""
    if "\\" not in text:
        return text
    return _escape(_unescaped, text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _unescaped(found: re.Match[bytes]) -> bytes:
    code, letter = found.groups()
    return bytes((int(code, 16),)) if code else _LETTERS.get(letter, letter)


def _number(text: str | None) -> int:
    return 0 if text is None or text == "-" else int(text)


def _micros(stamp: str, zone: tzinfo) -> Micros:
    known = _times.get((stamp, zone))
    if known is None:
        known = clf(stamp, zone)
        if len(_times) >= _REMEMBERED:
            _times.clear()
        _times[stamp, zone] = known
    return known
