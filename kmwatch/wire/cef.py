r"""Finding -> ArcSight Common Event Format, version 0.

Escapes: header `\` and `|`; extension `\`, `=`, LF and CR. Every other control, direction or invisible
character of an attacker becomes visible text first (wire/escape.py), and so does a space at either end of a
value, which receivers strip.

CEF shows one request: the one that triggered the line. The lists of a finding stand in cs1 (secrets), cs6
(event ids) and kmwatchRequestIds. Dictionary lengths hold (cs 4000, names and paths 1023 characters); a
value that was cut ends in `…(+N)`, and flexString1, labelled "truncated", says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmwatch.core.health import Health, Report
from kmwatch.core.model import Activity, Citation, Finding, Severity
from kmwatch.wire.common import PRODUCT, VENDOR, VERSION, ip_version, iso, leading, split_operation
from kmwatch.wire.escape import visible
from kmwatch.wire.shrink import LEVELS, Cut, shrink

PREFIX = "CEF:0|"
_LONG = 4000  # characters: device custom strings
_TEXT = 1023  # characters: names, paths, agents, messages
_SEVERITIES = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 3,
    Severity.MEDIUM: 5,
    Severity.HIGH: 8,
    Severity.CRITICAL: 10,
}
_ACTIVITIES = {Activity.CREATE: "create", Activity.UPDATE: "update", Activity.CLOSE: "close"}
_HEADER = str.maketrans({"\\": "\\\\", "|": "\\|"})
_VALUE = str.maketrans({"\\": "\\\\", "=": "\\=", "\n": "\\n"})

Pair = tuple[str, str | int | None]


def to_cef(finding: Finding, max_bytes: int | None = None) -> str:
    """Return the finding as one CEF line, without syslog header or newline.

    Args:
        finding: what to say.
        max_bytes: wish of a receiver with a size limit, in octets of UTF-8. Lists and texts are cut and
            flexString1 says so. Where the barest form is larger, that form is returned: the caller decides.
    """
    line = _line(finding, Cut())
    if max_bytes is None or _octets(line) <= max_bytes:
        return line
    for entries, text in LEVELS:
        line = _line(*shrink(finding, entries, text))
        if _octets(line) <= max_bytes:
            break
    return line


def _octets(line: str) -> int:
    return len(line) if line.isascii() else len(line.encode())


def _line(f: Finding, cut: Cut) -> str:
    severity = _SEVERITIES[f.severity]
    head = (
        _head(VENDOR, 63),
        _head(PRODUCT, 63),
        _head(VERSION, 31),
        _head(f.rule, 1023),
        _head(f.title, 512),
    )
    pairs = [*_when_and_what(f), *_who(leading(f)), *_custom(f, cut)]
    if isinstance(f, Health):
        pairs += _health(f.report)
    extension = " ".join([f"{key}={_value(value)}" for key, value in pairs if value not in (None, "")])
    return f"{PREFIX}{'|'.join(head)}|{severity}|{extension}"


def _when_and_what(f: Finding) -> Iterable[Pair]:
    return (
        ("rt", f.time // 1000),
        ("start", f.start_time // 1000),
        ("end", f.end_time // 1000),
        ("externalId", f.line_uid),
        ("act", _ACTIVITIES[f.activity]),
        ("reason", f.reason),
        ("msg", _text(f.message)),
    )


def _who(c: Citation | None) -> Iterable[Pair]:
    if c is None:
        return ()
    method, path = split_operation(c.operation)
    return (
        ("cat", c.kind),
        ("outcome", _outcome(c.status)),
        *_address(c.address),
        ("kmwatchAddressSource", c.address_source),
        ("suser", _text(c.user_name)),
        ("suid", _text(c.user_id)),
        ("requestMethod", _text(method)),
        ("request", _text(path)),
        ("requestClientApplication", _text(c.agent)),
        ("fileType", _text(c.target_type)),
        ("fileId", _text(c.target_id)),
        *_labelled("cs2", "projectId", _text(c.project_id)),
    )


def _outcome(status: int | None) -> str | None:
    if status is None:
        return None
    return "success" if status < 400 else "failure"  # noqa: PLR2004 - RFC 9110 section 15


def _address(address: str | None) -> Iterable[Pair]:
    """`src` and c6a2 are typed in the dictionary; what is no address goes where any text may."""
    match ip_version(address) if address else None:
        case None:
            return ()
        case 4:
            return (("src", address),)
        case 6:
            return _labelled("c6a2", "Source IPv6 Address", address)
        case _:
            return (("kmwatchAddress", _text(address)),)


def _custom(f: Finding, cut: Cut) -> Iterable[Pair]:
    near = f.nearest
    nearest = (
        None if near is None else f"{near.declaration}: {near.failed_field} expected {near.expected}, got {near.actual}"
    )
    secrets, more_secrets = _joined([s.id for s in f.secrets])
    events, more_events = _joined(f.event_ids)
    requests, more_requests = _joined([c.request_id for c in f.citations if c.request_id is not None])
    notes = [str(cut), more_secrets and "cs1", more_events and "cs6", more_requests and "kmwatchRequestIds"]
    return (
        ("fname", _text(next((s.name for s in f.secrets if s.name), None))),
        *_labelled("cn1", "events", f.counts.events),
        *_labelled("cn2", "secrets", f.counts.secrets),
        *_labelled("cn3", "addresses", f.counts.addresses),
        *_labelled("cs1", "secretIds", secrets),
        *_labelled("cs3", "declaration", _text(f.declaration)),
        *_labelled("cs4", "nearest", _text(nearest)),
        *_labelled("cs5", "mode", f.mode),
        *_labelled("cs6", "eventIds", events),
        ("kmwatchRequestIds", requests),
        ("kmwatchCaller", _text(f.caller)),
        ("kmwatchRunbook", _text(f.runbook)),
        ("kmwatchSubject", _text(f.subject)),
        ("kmwatchFlags", _text(",".join(f.flags))),
        *_labelled("flexString2", "findingUid", f.uid),
        *_labelled("flexString1", "truncated", "; ".join([note for note in notes if note])),
    )


def _health(report: Report) -> list[Pair]:
    seen = [f"{w.name} {'never' if w.last_seen is None else iso(w.last_seen)}" for w in report.witnesses]
    return [
        ("kmwatchBuild", _text(report.build)),
        ("kmwatchLag", report.lag),
        ("kmwatchConsumed", report.consumed),
        ("kmwatchIgnored", report.ignored),
        ("kmwatchRejected", report.rejected),
        ("kmwatchDuplicate", report.duplicate),
        ("kmwatchJoined", report.joined),
        ("kmwatchWaiting", report.waiting),
        ("kmwatchBalanced", str(report.balanced).lower()),
        ("kmwatchPending", report.pending),
        ("kmwatchDead", report.dead),
        ("kmwatchLastEvent", None if report.last_event is None else iso(report.last_event)),
        ("kmwatchWitnesses", _text(",".join(seen))),
    ]


def _labelled(key: str, label: str, value: str | int | None) -> Iterable[Pair]:
    return () if value in (None, "") else ((key, value), (f"{key}Label", label))


def _joined(ids: Sequence[str]) -> tuple[str, bool]:
    """As many whole ids as the dictionary's length permits, newest kept, and whether some are missing.

    A comma within an id (a client may choose request ids) is escaped: it must not look like two ids.
    """
    kept: list[str] = []
    room = _LONG - 20  # for the note on what is missing
    for uid in reversed(ids):
        text = visible(uid, _TEXT).replace(",", "\\x2c")
        room -= len(text) + 1
        if room < 0:
            return ",".join([f"…(+{len(ids) - len(kept)})", *reversed(kept)]), True
        kept.append(text)
    return ",".join(reversed(kept)), False


def _text(text: str | None) -> str | None:
    return None if text is None else visible(text, _TEXT, keep_newlines=True)


def _head(text: str, limit: int) -> str:
    return visible(text, limit).translate(_HEADER)


def _value(value: str | int | None) -> str:
    text = visible(str(value), keep_newlines=True)
    if text.endswith(" "):
        text = f"{text[:-1]}\\x20"
    if text.startswith(" "):
        text = f"\\x20{text[1:]}"
    return text.translate(_VALUE)
