"""Finding -> two to four lines that an analyst reads at a glance.

    2026-11-23 23:51:59Z  HIGH  KMW-001 unexplained-read
      alice (ff38bc60…) from 203.0.113.9 (proxy): GET /v1/secrets/5ec4e7/payload -> 200, secret "lb-cert"
      network: nearest octavia-lb fails on networks: expected 10.20.0.0/24, got 203.0.113.9
      1 event, 1 secret, 1 address, alert finding-1

No line is wider than asked, and no text of an attacker reaches the terminal unescaped (wire/escape.py).
"""

from __future__ import annotations

import unicodedata

from kmwatch.core.model import Activity, Citation, Finding, Mode, Severity
from kmwatch.wire.common import iso, leading, shown_operation
from kmwatch.wire.escape import ELLIPSIS, visible

MIN_WIDTH = 40
_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_COLOURS = {
    Severity.INFORMATIONAL: "\x1b[36m",
    Severity.LOW: "\x1b[34m",
    Severity.MEDIUM: "\x1b[33m",
    Severity.HIGH: "\x1b[1;31m",
    Severity.CRITICAL: "\x1b[1;97;41m",
}
_ACTIVITIES = {Activity.CREATE: "", Activity.UPDATE: "  update", Activity.CLOSE: "  closed"}
# Characters of one name and of a path, so that none can push the rest of its line away.
_WORD = 48
_PATH = 120
_SHORT = 8  # of an id beside a name


def to_terminal(finding: Finding, *, colour: bool, width: int = 120) -> str:
    """Return the lines joined by newlines, without one at the end.

    Args:
        finding: what to say.
        colour: colour the severity and dim the last line with ANSI sequences; the text is the same without.
        width: columns; wide characters count as two. Less than MIN_WIDTH counts as MIN_WIDTH.
    """
    width = max(width, MIN_WIDTH)
    severity = finding.severity.name
    first = fit(_headline(finding, severity), width)
    rest = [fit(f"  {line}", width) for line in (_story(finding), _why(finding)) if line]
    last = fit(f"  {_counts(finding)}", width)
    if colour:
        first = first.replace(severity, f"{_COLOURS[finding.severity]}{severity}{_RESET}", 1)
        last = f"{_DIM}{last}{_RESET}"
    return "\n".join([first, *rest, last])


def fit(text: str, width: int) -> str:
    """Cut to `width` columns, an ellipsis at the end where something is missing."""
    if text.isascii() and len(text) <= width:
        return text
    columns = 0
    for index, character in enumerate(text):
        columns += _columns(character)
        if columns > width:
            return _cut(text[:index], width)
    return text


def _cut(text: str, width: int) -> str:
    while sum(map(_columns, text)) > width - 1:
        text = text[:-1]
    return text + ELLIPSIS


def columns(text: str) -> int:
    """How many columns a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    """A combining mark counts as one: a pile of them must not make a line longer than it looks."""
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _headline(f: Finding, severity: str) -> str:
    time = iso(f.time)
    mode = "" if f.mode is Mode.ENFORCE else f"  ({f.mode})"
    return f"{time[:10]} {time[11:19]}Z  {severity}  {f.rule} {_word(f.title)}{_ACTIVITIES[f.activity]}{mode}"


def _story(f: Finding) -> str:
    request = leading(f)
    if request is None:
        return visible(f.message)
    where = "" if request.address is None else f" from {_word(request.address)} ({request.address_source})"
    status = "" if request.status is None else f" -> {request.status}"
    name = next((s.name for s in f.secrets if s.id == request.target_id and s.name), None)
    secret = "" if name is None else f', secret "{_word(name)}"'
    return f"{_user(request)}{where}: {visible(shown_operation(request), _PATH)}{status}{secret}"


def _user(request: Citation) -> str:
    """The name with the start of its id, or the whole id: enough to tell two users of one name apart."""
    uid = request.user_id
    if request.user_name is None:
        return "somebody" if uid is None else _word(uid)
    short = "" if uid is None else f" ({visible(uid[:_SHORT])}{ELLIPSIS if len(uid) > _SHORT else ''})"
    return f"{_word(request.user_name)}{short}"


def _why(f: Finding) -> str:
    if f.nearest is None:
        return "" if f.reason is None or not f.citations else f"{f.reason}: {visible(f.message)}"
    near = f.nearest
    got = "nothing" if near.actual is None else _word(near.actual)
    reason = "" if f.reason is None else f"{f.reason}: "
    return (
        f"{reason}nearest {_word(near.declaration)} fails on {near.failed_field}: "
        f"expected {_word(near.expected)}, got {got}"
    )


def _counts(f: Finding) -> str:
    if not f.event_ids and f.subject is not None:
        return f"{_word(f.subject)}, alert {_word(f.uid)}"
    totals = (
        (f.counts.events, "event", "events"),
        (f.counts.secrets, "secret", "secrets"),
        (f.counts.addresses, "address", "addresses"),
    )
    counted = ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in totals)
    return f"{counted}, alert {_word(f.uid)}"


def _word(text: str) -> str:
    return visible(text, _WORD)
