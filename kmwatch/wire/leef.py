r"""Finding -> QRadar's Log Event Extended Format, version 2.0.

`LEEF:2.0|vendor|product|version|EventID|x09|key=value<TAB>key=value...`. IBM documents no escaping at all, so nothing
of an attacker may need one: every control character (the delimiter, CR and LF among them) becomes visible text, and a
`|` in the header becomes `/`. Attributes end at the delimiter and split at their first `=`, so values may hold `=` and
`|` as they are.

`devTime` is a 13-digit epoch in milliseconds, `sev` 1 to 10, `usrName` and EventID hold at most 255 characters. Like
CEF it shows one request, the one that triggered the line; lists are joined by commas, newest kept, and `truncated`
says what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmwatch.core.health import Health, Report
from kmwatch.core.model import Activity, Citation, Finding, Severity
from kmwatch.wire.common import PRODUCT, VENDOR, VERSION, ip_version, iso, leading, split_operation
from kmwatch.wire.escape import visible
from kmwatch.wire.shrink import LEVELS, Cut, shrink

PREFIX = "LEEF:2.0|"
_DELIMITER = "\t"
_NAME = 255  # characters: EventID, usrName
_TEXT = 1023
_LONG = 4000
_SEVERITIES = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 3,
    Severity.MEDIUM: 5,
    Severity.HIGH: 8,
    Severity.CRITICAL: 10,
}
_ACTIVITIES = {Activity.CREATE: "create", Activity.UPDATE: "update", Activity.CLOSE: "close"}

Pair = tuple[str, str | int | None]


def to_leef(finding: Finding, max_bytes: int | None = None) -> str:
    """Return the finding as one LEEF line, without syslog header or newline.

    Args:
        finding: what to say.
        max_bytes: wish of a receiver with a size limit, in octets of UTF-8. Lists and texts are cut and `truncated`
            says so. Where the barest form is larger, that form is returned: the caller decides.
    """
    line = _line(finding, Cut())
    if max_bytes is None or len(line.encode()) <= max_bytes:
        return line
    for entries, text in LEVELS:
        line = _line(*shrink(finding, entries, text))
        if len(line.encode()) <= max_bytes:
            break
    return line


def _line(f: Finding, cut: Cut) -> str:
    head = "|".join([_head(text) for text in (VENDOR, PRODUCT, VERSION, f.rule)])
    pairs = [*_when_and_what(f), *_who(leading(f)), *_why(f, cut)]
    if isinstance(f, Health):
        pairs += _health(f.report)
    attributes = _DELIMITER.join([f"{key}={value}" for key, value in pairs if value not in (None, "")])
    return f"{PREFIX}{head}|x09|{attributes}"


def _when_and_what(f: Finding) -> Iterable[Pair]:
    return (
        ("devTime", f.time // 1000),
        ("sev", _SEVERITIES[f.severity]),
        ("cat", _text(f.title, _NAME)),
        ("activity", _ACTIVITIES[f.activity]),
        ("externalId", f.line_uid),
        ("findingUid", f.uid),
        ("startTime", f.start_time // 1000),
        ("endTime", f.end_time // 1000),
        ("msg", _text(f.message)),
        ("reason", f.reason),
        ("mode", f.mode),
    )


def _who(c: Citation | None) -> Iterable[Pair]:
    if c is None:
        return ()
    method, path = split_operation(c.operation)
    is_ip = c.address is not None and ip_version(c.address) != 0
    return (
        ("src" if is_ip else "address", _text(c.address)),
        ("addressSource", c.address_source),
        ("usrName", _text(c.user_name, _NAME)),
        ("userId", _text(c.user_id)),
        ("projectId", _text(c.project_id)),
        ("kind", c.kind),
        ("status", c.status),
        ("method", _text(method)),
        ("url", _text(path)),
        ("userAgent", _text(c.agent)),
        ("resourceType", _text(c.target_type)),
        ("resource", _text(c.target_id)),
    )


def _why(f: Finding, cut: Cut) -> Iterable[Pair]:
    near = f.nearest
    nearest = (
        None if near is None else f"{near.declaration}: {near.failed_field} expected {near.expected}, got {near.actual}"
    )
    secrets, more_secrets = joined([secret.id for secret in f.secrets])
    names, more_names = joined([secret.name for secret in f.secrets if secret.name])
    events, more_events = joined(f.event_ids)
    requests, more_requests = joined([c.request_id for c in f.citations if c.request_id is not None])
    notes = [str(cut), more_secrets and "secretIds", more_names and "secretNames", more_events and "eventIds"]
    notes.append(more_requests and "requestIds")
    return (
        ("secretIds", secrets),
        ("secretNames", names),
        ("events", f.counts.events),
        ("secrets", f.counts.secrets),
        ("addresses", f.counts.addresses),
        ("declaration", _text(f.declaration)),
        ("nearest", _text(nearest)),
        ("caller", _text(f.caller)),
        ("runbook", _text(f.runbook)),
        ("subject", _text(f.subject)),
        ("techniques", ",".join(f.techniques)),
        ("flags", _text(",".join(f.flags))),
        ("requestIds", requests),
        ("eventIds", events),
        ("truncated", "; ".join([note for note in notes if note])),
    )


def _health(report: Report) -> list[Pair]:
    seen = [f"{w.name} {'never' if w.last_seen is None else iso(w.last_seen)}" for w in report.witnesses]
    return [
        ("build", _text(report.build)),
        ("lag", report.lag),
        ("consumed", report.consumed),
        ("ignored", report.ignored),
        ("rejected", report.rejected),
        ("duplicate", report.duplicate),
        ("joined", report.joined),
        ("waiting", report.waiting),
        ("balanced", str(report.balanced).lower()),
        ("pending", report.pending),
        ("dead", report.dead),
        ("lastEvent", None if report.last_event is None else iso(report.last_event)),
        ("witnesses", _text(",".join(seen))),
    ]


def joined(ids: Sequence[str]) -> tuple[str, bool]:
    """As many whole ids as fit, newest kept, and whether some are missing; a comma within an id is escaped."""
    kept: list[str] = []
    room = _LONG - 20  # for the note on what is missing
    for uid in reversed(ids):
        text = visible(uid, _TEXT).replace(",", "\\x2c")
        room -= len(text) + 1
        if room < 0:
            return ",".join([f"…(+{len(ids) - len(kept)})", *reversed(kept)]), True
        kept.append(text)
    return ",".join(reversed(kept)), False


def _text(text: str | None, limit: int = _TEXT) -> str | None:
    return None if text is None else visible(text, limit)


def _head(text: str) -> str:
    return visible(text, _NAME).replace("|", "/")
