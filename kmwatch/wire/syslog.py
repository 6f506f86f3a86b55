r"""RFC 5424 messages and their frames.

- PRI: facility 13 (log audit) unless configured; severity from the finding.
- TIMESTAMP is the event time, MSGID the rule. SD-ID is kmwatch@32473: 32473 is the enterprise number that
  RFC 5612 sets aside for documentation; kmwatch has none of its own.
- Structured data escapes exactly `"`, `\` and `]` (6.3.3). Text of an attacker is made visible and short
  first.
- No BOM unless asked for: RFC 5424 6.4 wants one before UTF-8, but receivers hand MSG on as it is, and a
  JSON or CEF parser stops at it. Without it the message is MSG-ANY, which may hold any octets.
- Streams are always octet counted (RFC 5425 4.3, RFC 6587 3.4.1), never split by newlines. A datagram holds
  one message (RFC 5426 3.1).
- A size limit first makes the body smaller within its own format; only what still does not fit is cut,
  between characters, and ends in `…[cut N octets]`.
"""

from __future__ import annotations

from collections.abc import Callable

from kmwatch.core.model import Activity, Finding, Mode, Severity
from kmwatch.wire.common import PRODUCT, iso, leading
from kmwatch.wire.escape import visible

LOG_AUDIT = 13
SD_ID = "kmwatch@32473"
BOM = b"\xef\xbb\xbf"
MIN_BYTES = 1024  # room for header, structured data and the start of a body

_SEVERITIES = {
    Severity.CRITICAL: 2,
    Severity.HIGH: 3,
    Severity.MEDIUM: 4,
    Severity.LOW: 5,
    Severity.INFORMATIONAL: 6,
}
_ACTIVITIES = {Activity.CREATE: "create", Activity.UPDATE: "update", Activity.CLOSE: "close"}
_PARAM = str.maketrans({"\\": "\\\\", '"': '\\"', "]": "\\]"})
_PARAM_LIMIT = 128  # characters

Body = Callable[[Finding, int | None], bytes]


def to_syslog(
    finding: Finding,
    body: Body,
    *,
    facility: int = LOG_AUDIT,
    hostname: str = "-",
    procid: str = "-",
    bom: bool = False,
    max_bytes: int | None = None,
) -> bytes:
    """Return one RFC 5424 message, without a frame.

    Args:
        finding: what to say.
        body: renders MSG within a size, see wire/formats.py.
        facility: 0 to 23.
        hostname: HOSTNAME; what is not printable ASCII is left out.
        procid: PROCID.
        bom: mark MSG as UTF-8 with a byte order mark.
        max_bytes: limit of the whole message in octets, at least MIN_BYTES.
    """
    words = (
        f"<{facility * 8 + _SEVERITIES[finding.severity]}>1",
        iso(finding.time),
        _name(hostname, 255),
        PRODUCT,
        _name(procid, 128),
        _name(finding.rule, 32),
        structured_data(finding),
        "",
    )
    front = " ".join(words).encode()
    if bom:
        front += BOM
    room = None if max_bytes is None else max_bytes - len(front)
    message = body(finding, room)
    return front + (message if room is None else cut_utf8(message, room))


def structured_data(finding: Finding) -> str:
    """Return the SD-ELEMENT: what a receiver routes and de-duplicates by, without parsing MSG."""
    request = leading(finding)
    params: tuple[tuple[str, str | None], ...] = (
        ("rule", finding.rule),
        ("uid", finding.uid),
        ("line", finding.line_uid),
        ("activity", _ACTIVITIES[finding.activity]),
        ("severity", finding.severity.name.lower()),
        ("mode", None if finding.mode is Mode.ENFORCE else finding.mode),
        ("reason", finding.reason),
        ("caller", finding.caller),
        ("user", request.user_id if request else None),
        ("secret", finding.secrets[0].id if finding.secrets else None),
        ("events", str(finding.counts.events)),
    )
    text = " ".join([f'{name}="{_param(value)}"' for name, value in params if value is not None])
    return f"[{SD_ID} {text}]"


def frame(message: bytes) -> bytes:
    """Octet counting: MSG-LEN SP SYSLOG-MSG."""
    return b"%d %b" % (len(message), message)


def cut_utf8(message: bytes, limit: int) -> bytes:
    """Cut UTF-8 to at most `limit` octets between characters, saying at the end how much is missing."""
    if len(message) <= limit:
        return message
    keep = max(0, limit - len(f"…[cut {len(message)} octets]".encode()))
    while keep and message[keep] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation octet, RFC 3629
        keep -= 1
    return message[:keep] + f"…[cut {len(message) - keep} octets]".encode()


def _param(value: str) -> str:
    return visible(value, _PARAM_LIMIT).translate(_PARAM)


def _name(text: str, limit: int) -> str:
    return "".join([c for c in text if "!" <= c <= "~"])[:limit] or "-"
