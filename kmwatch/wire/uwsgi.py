"""uWSGI's default request log (core/logging.c of uWSGI 2.0) -> AccessRecord, and the noise around it.

    [pid: 1|app: 0|req: 3/3] 127.0.0.1 () {30 vars in 546 bytes} [Mon Nov 23 20:48:03 2026] GET /v1/quotas =>
    generated 87 bytes in 6 msecs (HTTP/1.1 200) 6 headers in 256 bytes (1 switches on core 0)

The stamp is the second in which the request began. The URI is written raw: it is what stands between the first
words after the stamp and the last ` => generated `. With `log-x-forwarded-for` the address is the client's own
words; a line whose head may have been written by a client is flagged, and its address not believed.

uWSGI's HTTP parser (proto/http.c) takes a bare line feed for a part of the protocol, and CR LF for a part of the URI
where no space follows, and this log writes both raw: whoever connects to it directly can end their line early and
write lines of their own after it. What stands before the break is still uWSGI's word, so it is not thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import tzinfo

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, Decoded, Ignored, Rejected, RejectReason, Slot
from kmwatch.wire.peer import peer
from kmwatch.wire.times import ctime

DOUBTFUL = "line_doubtful"  # a flag: a client may have written more of this line than its URI
_ROUNDING: Micros = 1000
_USAGE = r"(?:\{address space usage: [^}]*\} \{rss usage: [^}]*\} )?"
_PROCESS = r"\[pid: ([0-9]{1,10}\|app: [^|\]]{1,20}\|req: [0-9/]{1,40})\] "
_STAMP = r" bytes\} \[([A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})\] ([^ ]+) "
_ANSWER = (
    r" => generated ([0-9]{1,18}) bytes in ([0-9]{1,12}) (msecs|micros) (?:via [a-z]+\(\) )?"
    r"\(([^ ]+) ([0-9]{1,3})\) [0-9]+ headers in [0-9]+ bytes \([0-9]+ switches on core [0-9]+\)"
)
_BEGINNINGS = ("[pid: ", "{address space usage: ")
_line = re.compile(
    rf"{_USAGE}{_PROCESS}([^ (]*) \([^() ]*\) \{{[0-9]+ vars in [0-9]+{_STAMP}(.*){_ANSWER}", re.DOTALL
).fullmatch
_broken = re.compile(
    rf"{_USAGE}{_PROCESS}([^ (]+) \([^() ]*\) \{{[0-9]+ vars in [0-9]+{_STAMP}([^ ]*)"
    r"(?: => generated ([0-9]{1,18}) bytes in ([0-9]{1,12}) (msecs|micros) |\Z)"
).match
_process = re.compile(_USAGE + _PROCESS).match
_stamp = re.compile(_STAMP).match
_answer = re.compile(_ANSWER).fullmatch
_begin = re.compile(rf"{_USAGE}\[pid: [0-9]+\|app: ").match

# What uWSGI (core/uwsgi.c, master.c, socket.c, plugins/python), librdkafka and Python's warnings write to the same
# stream. A request's line begins with its process, so that no client can make its own look like these.
_noise = re.compile(
    r"%[0-7]\|[0-9]+\.[0-9]+\|[A-Z]+\||[^ ]+\.py:[0-9]+: [A-Za-z]*Warning: |\*\*\* .*\*\*\* ?\Z|!!! .*!!! ?\Z"
    r"|uWSGI (?:running as|http|router|worker|master)"
    r"|(?:compiled with version|os|nodename|machine|clock source|pcre jit|lock engine|thunder lock|detected \w[\w ]*"
    r"|current working directory|PEP 405 virtualenv detected|Loading paste environment|Python version): ?"
    r"|(?:Set PythonHome|chdir\(\)|writing pidfile) to |(?:your (?:processes number limit|memory page size|server "
    r"socket listen backlog|mercy for graceful operations on workers)) is |uwsgi socket [0-9]+ "
    r"|(?:re)?spawned uWSGI |Respawned uWSGI |DAMN ! worker |Python main interpreter initialized|Python auto-reloader "
    r"|python threads support|Python threads support|mapped [0-9]+ bytes |added [^ ]+ to pythonpath|WSGI app [0-9]+ "
    r"|unable to load app |no app loaded\.|worker [0-9]+ (?:buried|killed|lifetime|\()|SIG[A-Z/]+SIG[A-Z]+ received"
    r"|SIG[A-Z]+ received|[Gg]oodbye to uWSGI|VACUUM: |\.\.\.(?:gracefully|brutally) |[Gg]racefully killing worker "
    r"|binary reloading uWSGI|closing all non-uwsgi|\[uWSGI\] |announcing my loyalty|\[deadlock-detector\]"
    r"|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4} - "
    r"|--- [^-].* ---\Z|pcre jit (?:dis|en)abled\Z|invalid HTTP request size \(max [0-9]+\)\.\.\.skip\Z"
    r"|\[[0-9]{9,11}\] (?:logsize: [0-9]+, triggering |/[^ ]+ reopened\.\Z)|not enough space in wsgi_req http "
    r"|Eventlet is deprecated\. |we strongly recommend against using it for new projects\.\Z"
    r"|If you are already using Eventlet, we recommend migrating|framework\.  For more detail see\Z"
    r"|https://eventlet\.readthedocs\.io/[^ ]*\Z",
    re.DOTALL,
).match


def decode(line: str, zone: tzinfo, host: str | None = None) -> Decoded | None:
    """Read one line.

    Args:
        line: without a line end.
        zone: in which uWSGI writes times.
        host: the machine that wrote the line, where its envelope names one.

    Returns:
        The request's record, why there is none, or None if it is no line of uWSGI's request log. The true start
        lies in the second from `began` and the true end in the second from `ended` (`precision`); `observed_time`
        is the end of the latter, so that the line was surely written by then. Never raises.
    """
    if not line.startswith(_BEGINNINGS):
        return None
    found = _line(line)
    if found is not None:
        serial, address, *parts = found.groups()
        return _record(serial, address, parts, zone, host)
    if not _begin(line):
        return None
    again = _second_look(line, zone, host) or _what_is_left(line, zone, host)
    return again or Rejected(RejectReason.BAD_LINE, "a line of uWSGI, cut, or damaged")


def _second_look(line: str, zone: tzinfo, host: str | None) -> Decoded | None:
    """A line whose address or user is of a client's making: what is last is uWSGI's."""
    process, end = _process(line), line.rfind(" => generated ")
    head, answer = _stamp(line, max(line.rfind(" bytes} [", 0, max(end, 0)), 0)), _answer(line, max(end, 0))
    if process is None or head is None or answer is None or head.end() > end:
        return None
    return _record(process[1], "", (*head.groups(), line[head.end() : end], *answer.groups()), zone, host)


def _what_is_left(line: str, zone: tzinfo, host: str | None) -> Decoded | None:
    """A line that ends before its status: who asked, for what; not how it ended."""
    found = _broken(line)
    if found is None or not found[5]:
        return None
    serial, address, stamp, method, path, size, took, unit = found.groups()
    return _record(serial, address, (stamp, method, path, size or "0", took or "0", unit, "", "0"), zone, host)


def is_noise(line: str) -> bool:
    """Whether the line is what a starting, stopping or complaining uWSGI writes between its requests."""
    return _noise(line) is not None


def _record(serial: str, address: str, parts: Sequence[str], zone: tzinfo, host: str | None) -> Decoded:
    stamp, method, path, size, took, unit, protocol, status = parts
    if protocol == method == path == "-":
        return Ignored.BLANKED
    try:
        began = ctime(stamp, zone)
    except ValueError:
        return Rejected(RejectReason.BAD_TIME, f"{stamp!r} is no timestamp")
    ended = began + (int(took) * 1000 if unit == "msecs" else int(took))
    broken = not protocol
    doubtful = not address or broken or " vars in " in path
    return AccessRecord(  # by position: by name it would take 3 us more
        Slot.ACCESS,
        "",  # key
        ended + SECOND,
        began,
        began,
        ended,
        SECOND + _ROUNDING,
        method,
        path,
        int(status) or None,
        None if doubtful and not broken else peer(address),
        broken,  # cut
        None,  # request id
        None,  # Accept
        None,  # agent
        None,  # TLS
        True,  # noqa: FBT003  (served)
        int(size),
        None,  # entry
        host,
        None,  # made id
        serial,
        (DOUBTFUL,) if doubtful else (),
    )
