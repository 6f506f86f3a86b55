"""HAProxy's HTTP log (`option httplog`, configuration manual section 8.2.3) -> AccessRecord.

    127.0.0.1:32957 [23/Nov/2026:20:47:54.006] front~ back/srv 0/0/0/37/37 200 290 - - ---- 3/2/2/2/0 0/0 {a|b} {c}
    "GET / HTTP/1.1"

What a client wrote stands in captured cookies, captured headers and the request. HAProxy writes `"`, `#`, control
bytes and bytes from 127 of the latter two as #XX, in captured headers `{`, `|` and `}` too (hdr_encode_map and
url_encode_map of its source): a value can end neither its block nor the request. Captured cookies are written raw,
hence the second, slower look. The request is cut at 1024 bytes, the whole line at the syslog target's `len`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo

from msgspec import Struct

from kmwatch.core.model import Flag, Micros
from kmwatch.core.record import AccessRecord, Decoded, Ignored, Rejected, RejectReason, Slot
from kmwatch.wire.peer import peer
from kmwatch.wire.times import clf

PRECISION: Micros = 4000  # the accept time and three timers, each cut to a millisecond
_MILLISECOND: Micros = 1000
_STAMP = r"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}"
_TIMER = r"(-?[0-9]{1,10})"
_HEAD = (
    rf"([^ ]+):([0-9]+) \[({_STAMP})\] ([^ ~]+)(~?) [^ /]+/([^ ]+) "
    rf"{_TIMER}/{_TIMER}/{_TIMER}/{_TIMER}/\+?{_TIMER} (-1|[0-9]{{1,3}}) \+?([0-9]{{1,18}}) "
)
_TAIL = (
    r"[A-Za-z-]{4} [0-9]{1,10}/[0-9]{1,10}/[0-9]{1,10}/[0-9]{1,10}/\+?[0-9]{1,10} [0-9]{1,10}/[0-9]{1,10} "
    r'(?:\{([^{}"]*)\} )?(?:\{([^{}"]*)\} )?"([^"]*)"?'
)
_line = re.compile(rf"{_HEAD}[^ ]+ [^ ]+ {_TAIL}").fullmatch
_head = re.compile(_HEAD).match
_tail = re.compile(rf".* {_TAIL}", re.DOTALL).fullmatch  # the last that fits: what follows a raw cookie is HAProxy's
_begin = re.compile(rf"[^ ]+:[0-9]+ \[{_STAMP}\] ").match
_no_request = re.compile(  # the TCP log, and connections that never became a request
    r"[^ ]+ [^ /]+/[^ ]+ -?[0-9]+/-?[0-9]+/\+?-?[0-9]+ \+?[0-9]+ [A-Za-z-]{2} "
    r"|[^ /]+/[^ ]+: (?:Connection|SSL|TLS|Timeout|Received|Invalid|Missing|Proxy protocol|PROXY|[^ ]+ handshake)"
).match
_notice = re.compile(
    r"Connect from [^ ]+ to [^ ]+ \(|(?:Backup )?[Ss]erver [^ /]+/[^ ]+ |Health check for (?:backup )?server "
    r"|(?:[Pp]roxy|[Bb]ackend|[Ff]rontend|Listener) [^ ]+ (?:started|stopped|has no server|is |cannot|failed)"
    r"|(?:Pausing|Stopping|Enabling|Resuming) (?:proxy|frontend|backend|listener|peers|GLOBAL)"
    r"|\[(?:NOTICE|WARNING|ALERT|INFO)\] |New worker |Loading success|Reexecuting |Exiting Master|Current worker "
    r"|A worker process |All workers exited"
).match
_version = re.compile(r"HTTP/[0-9]\.[0-9]").fullmatch
_is_request_id = re.compile(r"req-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_escape = re.compile(rb"#([0-9A-Fa-f]{2})").sub
_BAD_REQUEST = "<BADREQ>"
_REQUEST_ID = "x-openstack-request-id"


class Captures(Struct, frozen=True):
    """Which headers the proxy is declared to capture, in its order; the line itself does not name them."""

    request: tuple[str, ...] = ()  # names in lower case
    response: tuple[str, ...] = ()


class _Seen(Struct, frozen=True):
    """What captures prove."""

    request_id: str | None = None
    accept: str | None = None
    agent: str | None = None
    made_id: str | None = None
    flags: tuple[str, ...] = ()


UNDECLARED = Captures()
_NOTHING = _Seen()
_UNFIT = _Seen(flags=(Flag.CAPTURE_UNREADABLE,))
_CUT_OFF = _Seen(flags=(Flag.REQUEST_UNREADABLE,))


def decode(line: str, zone: tzinfo, captures: Captures = UNDECLARED, host: str | None = None) -> Decoded | None:
    """Read one message of HAProxy, without its syslog framing.

    Args:
        line: the message, without a line end.
        zone: in which the proxy writes times.
        captures: what it captures. Undeclared, only one thing is believed: a request id in the second of two
            blocks, for those are the headers of the service's response, which no client can write.
        host: the machine that wrote the line, where its envelope names one.

    Returns:
        The request's record (one whose request was cut off too), why there is none, or None if this is no message
        of HAProxy. Never raises.
    """
    found = _line(line)
    if found is None:
        return _second_look(line, zone, captures, host)
    parts = found.groups()
    return _record(parts[:13], parts[13:], zone, captures, host)


def _second_look(line: str, zone: tzinfo, captures: Captures, host: str | None) -> Decoded | None:
    """A line with a raw cookie in it, one that was cut, or no request at all."""
    begun = _begin(line)
    if begun is None:
        return Ignored.NOT_A_REQUEST if _notice(line) else None
    head = _head(line)
    if head is not None:
        tail = _tail(line, head.end() - 1)
        return _record(head.groups(), tail.groups() if tail else None, zone, captures, host)
    if _no_request(line, begun.end()):
        return Ignored.NOT_A_REQUEST
    return Rejected(RejectReason.BAD_LINE, "a line of HAProxy, cut, or in a format of its own")


def _record(
    head: Sequence[str], tail: Sequence[str | None] | None, zone: tzinfo, captures: Captures, host: str | None
) -> AccessRecord | Rejected:
    client, port, stamp, entry, tls, server, received, queued, connected, answered, total, status, size = head
    try:
        accepted = clf(stamp, zone)
    except ValueError:
        return Rejected(RejectReason.BAD_TIME, f"{stamp!r} is no timestamp")
    waits = int(received), int(queued), int(connected)  # -1: it did not come so far
    began = accepted + (sum(waits) + waits.count(-1)) * _MILLISECOND
    end = accepted + int(total) * _MILLISECOND
    end = max(end, began)
    ended = end if answered[0] == "-" else began + int(answered) * _MILLISECOND
    if tail is None:
        method, path, cut, seen = "", "", True, _CUT_OFF
    else:
        method, path, cut = _request(tail[2] or "")
        seen = _NOTHING if tail[0] is None else _captured(tail[0], tail[1], captures)
    return AccessRecord(  # by position: by name it would take 3 us more
        Slot.PROXY,
        seen.request_id or "",
        max(ended, end),
        accepted,
        began,
        ended,
        PRECISION,
        method,
        path,
        None if status == "-1" else int(status),
        peer(client),
        cut,
        seen.request_id,
        seen.accept,
        seen.agent,
        tls == "~",
        server[0] != "<" and path != _BAD_REQUEST,  # <NOSRV>, <STATS>, <CACHE>: HAProxy answered by itself
        int(size),
        entry,
        host,
        seen.made_id,
        port,
        seen.flags,
    )


def _request(text: str) -> tuple[str, str, bool]:
    """Method, path, and whether the path may go on: only the protocol's version proves its end."""
    if text == _BAD_REQUEST:
        return "", text, False
    method, _, rest = text.partition(" ")
    path, space, version = rest.rpartition(" ")
    if space and _version(version):
        return method, plain(path), False
    if space and "HTTP/".startswith(version[:5]):
        return method, plain(path), True
    return method, plain(rest), True


def _captured(first: str | None, second: str | None, captures: Captures) -> _Seen:
    """What the one or two blocks of captured headers say."""
    declared = bool(captures.request) + bool(captures.response)
    if not declared:
        return _Seen(request_id=_only_id(second.split("|"))) if second is not None else _NOTHING
    if declared != (1 if second is None else 2):
        return _UNFIT
    asked = first if captures.request else None
    answered = second if captures.request else first
    request, response = _named(asked, captures.request), _named(answered, captures.response)
    return _Seen(
        request_id=_id(response),
        accept=request.get("accept") if request else None,
        agent=request.get("user-agent") if request else None,
        made_id=_id(request),
        flags=(Flag.CAPTURE_UNREADABLE,) if request is None or response is None else (),
    )


def _named(block: str | None, names: tuple[str, ...]) -> dict[str, str] | None:
    """The values of a block by name; an empty one was not sent. None: the block is not the declared one."""
    if not names:
        return {}
    values = (block or "").split("|")
    if len(values) != len(names):
        return None
    return {name: plain(value) for name, value in zip(names, values, strict=True) if value}


def _id(headers: dict[str, str] | None) -> str | None:
    found = headers.get(_REQUEST_ID) if headers else None
    return found if found is not None and _is_request_id(found) else None


def _only_id(values: list[str]) -> str | None:
    found = {value for value in values if _is_request_id(value)}
    return found.pop() if len(found) == 1 else None


def plain(text: str) -> str:
    """Text as the client sent it: #XX undone. Bytes that are no UTF-8 become U+FFFD."""
    if "#" not in text:
        return text
    raw = _escape(lambda found: bytes((int(found[1], 16),)), text.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")
