"""A batch as the arrays that its statements take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, json

from kmwatch.core.model import Finding
from kmwatch.ports import Commit, Selection
from kmwatch.store.postgres import journal, statements

Work = list[tuple[str, Mapping[str, Any]]]


class Rows(Struct):
    """Rows of state to keep, each once."""

    kinds: list[str]
    keys: list[bytes]
    values: list[bytes]


class Lines(Struct):
    """Lines of the outbox, each once, and the sinks they go to."""

    uids: list[str]
    findings: list[Finding]
    routed: list[str]  # a line's uid for each sink in `sinks`
    sinks: list[str]


def plain(text: str) -> str:
    """Text as PostgreSQL can hold it: without NUL."""
    return text.replace("\0", "\\x00")


def rows(commit: Commit) -> Rows:
    """What a commit keeps; of rows with the same key the last."""
    kept: dict[tuple[str, str], bytes] = {}
    for row in commit.rows:
        if row.value is not None:
            kept.pop((row.kind, row.key), None)  # so that it stands where it was written last
            kept[row.kind, row.key] = row.value
    return Rows([kind for kind, _ in kept], [key.encode() for _, key in kept], list(kept.values()))


def lines(commit: Commit) -> Lines:
    """What a commit puts into the outbox; of lines with the same uid the first."""
    out = Lines([], [], [], [])
    known: set[str] = set()
    for routed in commit.routed:
        uid = routed.finding.line_uid
        if uid in known:
            continue
        known.add(uid)
        out.uids.append(uid)
        out.findings.append(routed.finding)
        sinks = dict.fromkeys(routed.sinks)
        out.routed += [uid] * len(sinks)
        out.sinks += sinks
    return out


def selection(given: Selection) -> dict[str, Any]:
    """Which lines an operator speaks of."""
    return {"sink": given.sink, "lines": None if given.lines is None else sorted(given.lines)}


def batch(commit: Commit, kept: Rows, put: Lines, *, owner: str, stored: float) -> Work:
    """The statements of a batch that have something to do, in order."""
    work: Work = []
    if commit.moves:
        work.append((statements.MOVE, _moves(commit, owner)))
    gone = [row for row in commit.rows if row.value is None]
    if gone:
        given = {"kinds": [row.kind for row in gone], "keys": [row.key.encode() for row in gone]}
        work.append((statements.FORGET, given))
    if kept.kinds:
        given = {"rows": len(kept.kinds), "kinds": kept.kinds, "keys": kept.keys, "values": kept.values}
        work.append((statements.REMEMBER, given))
    if commit.rejects:
        work.append((statements.REJECT, _rejects(commit, stored)))
    if commit.entries:
        work.append((journal.WRITE, journal.rows(commit.entries)))
    if put.uids:
        work.append((statements.PUT, _lines(put, stored)))
    return work


def _moves(commit: Commit, owner: str) -> dict[str, Any]:
    return {
        "streams": [move.stream for move in commit.moves],
        "expected": [move.expected for move in commit.moves],
        "nexts": [move.next for move in commit.moves],
        "owner": owner,
    }


def _rejects(commit: Commit, stored: float) -> dict[str, Any]:
    once = list({(reject.stream, reject.offset): reject for reject in commit.rejects}.values())
    return {
        "streams": [reject.stream for reject in once],
        "positions": [reject.offset for reject in once],
        "reasons": [reject.reason for reject in once],
        "details": [plain(reject.detail) for reject in once],
        "values": [reject.value for reject in once],
        "stored": stored,
    }


def _lines(put: Lines, stored: float) -> dict[str, Any]:
    findings = put.findings
    return {
        "lines": len(put.uids),
        "uids": put.uids,
        "findings": [finding.uid for finding in findings],
        "rules": [finding.rule for finding in findings],
        "activities": [int(finding.activity) for finding in findings],
        "modes": [finding.mode.value for finding in findings],
        "bodies": [json.encode(finding).decode() for finding in findings],
        "stored": stored,
        "routed": put.routed,
        "sinks": put.sinks,
    }
