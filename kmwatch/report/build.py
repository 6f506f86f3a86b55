"""Gathered -> view: names for ids, words for numbers, and every stranger's text made visible."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap

import msgspec

from kmwatch import __version__
from kmwatch.core.ledger import Extent
from kmwatch.core.model import Finding, Micros, Severity
from kmwatch.core.review import Concern, Remark
from kmwatch.report.gather import MOST_FINDINGS, Gathered, Told
from kmwatch.report.matrix import NOBODY, Cell, EntryUse, Matrix
from kmwatch.report.unexplained import about, unexplained
from kmwatch.report.view import CellView, EntryRow, FindingRow, MatrixRow, PlainRow, SecretRow, Tile, View
from kmwatch.report.words import TEXT, minute, second, span, word
from kmwatch.wire.escape import visible

MOST_SECRETS = 500
_BUCKETS = 72
_TONES = {
    Concern.EXPIRED_IN_USE: "bad", Concern.EXPIRES_IN_USE: "bad", Concern.SUPERSEDED_IN_USE: "warn",
    Concern.NEVER_READ: "warn", Concern.NOT_READ_LATELY: "warn", Concern.NO_EXPIRY: "",
}  # fmt: skip
_URGENT = (Concern.EXPIRED_IN_USE, Concern.EXPIRES_IN_USE, Concern.SUPERSEDED_IN_USE)


class _Mark(msgspec.Struct):
    """A finding on the chart; times in milliseconds."""

    number: int
    rule: int
    severity: str
    start: float
    end: float
    requests: int
    lines: list[str]


class _Bucket(msgspec.Struct):
    at: float
    explained: int
    undecided: int
    unexplained: int


class _Chart(msgspec.Struct, rename={"start": "from", "end": "to"}):
    start: float
    end: float
    bucket: float
    rules: list[str]
    findings: list[_Mark]
    reads: list[_Bucket]


def build(gathered: Gathered, remarks: list[Remark], extent: Extent, now: Micros) -> View:
    """Set up the page.

    Args:
        gathered: what happened.
        remarks: of the review of secrets.
        extent: of the ledger.
        now: the moment of the review.
    """
    first, last = gathered.period
    told = sorted(gathered.findings.values(), key=lambda one: (one.line.start_time, one.line.uid))[-MOST_FINDINGS:]
    secrets, endless = _secrets(remarks, gathered)
    return View(
        f"{minute(first)} to {minute(last)} UTC",
        _reach(extent),
        gathered.declarations.digest,
        __version__,
        _tiles(gathered, remarks),
        tuple(_finding(number, one) for number, one in reversed(list(enumerate(told)))),
        len(gathered.findings) - len(told),
        tuple(word(column) for column in gathered.matrix.columns),
        _matrix(gathered.matrix),
        _entries(gathered.matrix, now),
        unexplained(gathered),
        gathered.more_unexplained,
        secrets[:MOST_SECRETS],
        max(0, len(secrets) - MOST_SECRETS),
        endless[:MOST_SECRETS],
        max(0, len(endless) - MOST_SECRETS),
        f"As of {minute(now)} UTC, from the inventory and the ledger: secrets that expire while they are read, are "
        "read though their successor exists, have not been read while they were watched, or never expire.",
        _chart(gathered, told, first, last),
    )


def _reach(extent: Extent) -> str:
    if extent.since is None:
        return "The ledger holds no retrieval."
    gone = f"; {extent.evicted} older ones had to go for its size" if extent.evicted else ""
    plural = "" if extent.rows == 1 else "s"
    return f"The ledger holds {extent.rows} retrieval{plural} since {minute(extent.since)}{gone}."


def _tiles(gathered: Gathered, remarks: list[Remark]) -> tuple[Tile, ...]:
    severities = Counter(told.line.severity for told in gathered.findings.values())
    grave = any(severities[severity] for severity in (Severity.HIGH, Severity.CRITICAL))
    listed = ", ".join(f"{severities[one]} {one.name.lower()}" for one in reversed(Severity) if severities[one])
    explained, undecided, unexplained = gathered.counts
    entries = gathered.matrix.entries.values()
    unused = sum(not entry.reads for entry in entries)
    concerns = Counter(remark.concern for remark in remarks)
    urgent = len({remark.secret.id for remark in remarks if remark.concern in _URGENT})
    lonely = len({r.secret.id for r in remarks if r.concern in (Concern.NEVER_READ, Concern.NOT_READ_LATELY)})
    return (
        Tile("Findings", f"{len(gathered.findings):,}", listed or "none", "bad" if grave else "good"),
        Tile(
            "Retrievals", f"{sum(gathered.counts):,}",
            f"{len(gathered.secrets)} secrets, {len(gathered.callers)} users", "calm",
        ),
        Tile(
            "Unexplained reads", f"{unexplained:,}",
            f"{undecided:,} more cannot be decided" if undecided else f"{explained:,} explained",
            "bad" if unexplained else "good",
        ),
        Tile(
            "Declarations used", f"{len(entries) - unused} of {len(entries)}",
            f"{unused} not used" if unused else "all of them", "warn" if unused else "good",
        ),
        Tile(
            "Secrets to act on", f"{urgent:,}", "expiring in use, or read after their successor",
            "bad" if urgent else "good",
        ),
        Tile(
            "Secrets to purge?", f"{lonely:,}",
            f"not read; {concerns[Concern.NO_EXPIRY]:,} never expire", "warn" if lonely else "good",
        ),
    )  # fmt: skip


def _finding(number: int, told: Told) -> FindingRow:
    line = told.line
    until = second(line.end_time) if line.end_time // 1_000_000 > line.start_time // 1_000_000 else ""
    return FindingRow(
        number, second(line.start_time), until, line.rule, line.title, _severity(line), line.mode,
        visible(told.message, TEXT), line.counts.events, line.uid,
    )  # fmt: skip


def _severity(line: Finding) -> str:
    return Severity(line.severity).name.lower()


def _matrix(matrix: Matrix) -> tuple[MatrixRow, ...]:
    owners = {use.clause.caller.entry.name: "" for use in matrix.entries.values()}
    most = max((cell.explained for cell in matrix.cells.values()), default=0)
    rows = []
    for row in matrix.rows:
        cells = tuple(_cell(matrix.cells.get((row, column)), most) for column in matrix.columns)
        rows.append(MatrixRow(word(row) if row != NOBODY else "not declared", owners.get(row, ""), cells))
    return tuple(rows)


def _cell(cell: Cell | None, most: int) -> CellView:
    if cell is None:
        return CellView("none", "", "", "")
    stray = cell.unexplained + cell.undecided
    state = "none" if not cell.entries else "unused"
    if cell.explained:
        state = f"used{min(5, 1 + 5 * (cell.explained - 1) // max(most, 1))}"
    told = [f"declared by {word(', '.join(cell.entries))}"] if cell.entries else ["not declared"]
    told += [f"{cell.explained} explained"] if cell.explained else []
    told += [f"{cell.unexplained} unexplained"] if cell.unexplained else []
    told += [f"{cell.undecided} cannot be decided"] if cell.undecided else []
    return CellView(state, str(cell.explained or ""), str(stray or ""), ", ".join(told))


def _entries(matrix: Matrix, now: Micros) -> tuple[EntryRow, ...]:
    def state(use: EntryUse) -> str:
        expires = use.clause.entry.expires
        return "expired" if expires is not None and expires <= now else "used" if use.reads else "unused"

    rows = []
    for name, use in matrix.entries.items():
        entry = use.clause.entry
        groups = ("what they created",) if entry.created_by_caller else entry.groups or ("any secret",)
        rows.append(EntryRow(
            word(name), visible(", ".join(use.callers), TEXT), visible(", ".join(groups), TEXT), use.reads,
            len(use.secrets), use.broken, minute(use.first), minute(use.last),
            "" if entry.expires is None else minute(entry.expires)[:10], state(use),
        ))  # fmt: skip
    order = {"expired": 0, "unused": 1, "used": 2}
    return tuple(sorted(rows, key=lambda row: (order[row.state], -row.reads)))


def _secrets(remarks: list[Remark], gathered: Gathered) -> tuple[tuple[SecretRow, ...], tuple[PlainRow, ...]]:
    """A row for each secret, in the order of its most urgent concern; those that only lack an expiry apart."""
    of: dict[str, list[Remark]] = {}
    for remark in remarks:
        of.setdefault(remark.secret.id, []).append(remark)
    plain = [found[0] for found in of.values() if found[0].concern is Concern.NO_EXPIRY]
    plain.sort(key=lambda remark: (remark.use.last if remark.use else 0, remark.secret.id))
    return (
        tuple(_secret(found, gathered) for found in of.values() if found[0].concern is not Concern.NO_EXPIRY),
        tuple(_plain(remark, gathered) for remark in plain),
    )


def _plain(remark: Remark, gathered: Gathered) -> PlainRow:
    secret, use = remark.secret, remark.use
    reads, last = (0, "") if use is None else (use.reads, minute(use.last))
    about_it = about(secret, gathered.declarations)
    return PlainRow(word(secret.name or "no name"), word(secret.id), about_it, reads, last)


def _secret(remarks: list[Remark], gathered: Gathered) -> SecretRow:
    secret, use = remarks[0].secret, remarks[0].use
    notes = [f"successor {remark.successor}" for remark in remarks if remark.successor]
    if use is None:
        notes.append(f"watched for {span(remarks[0].watched)}")
    return SecretRow(
        word(secret.name or "no name"),
        word(secret.id),
        about(secret, gathered.declarations),
        minute(secret.created),
        minute(secret.expires) or "never",
        0 if use is None else use.reads,
        "" if use is None else minute(use.last),
        tuple((remark.concern.replace("_", " "), _TONES[remark.concern]) for remark in remarks),
        word("; ".join(notes)),
    )


def _chart(gathered: Gathered, told: list[Told], first: Micros, last: Micros) -> bytes:
    rules = sorted({f"{one.line.rule} {one.line.title}" for one in told})
    marks = [
        _Mark(
            number, rules.index(f"{one.line.rule} {one.line.title}"), _severity(one.line), one.line.start_time / 1e3,
            one.line.end_time / 1e3, one.line.counts.events, wrap(visible(one.message, TEXT), 72),
        )
        for number, one in enumerate(told)
    ]  # fmt: skip
    size = max(1, -(-(last - first + 1) // _BUCKETS))
    buckets = [[0, 0, 0] for _ in range(_BUCKETS)]
    for at, verdict in zip(gathered.times, gathered.verdicts, strict=True):
        if first <= at <= last:
            buckets[(at - first) // size][verdict] += 1
    reads = [_Bucket((first + number * size) / 1e3, *counts) for number, counts in enumerate(buckets)]
    return msgspec.json.encode(_Chart(first / 1e3, last / 1e3, size / 1e3, rules, marks, reads))
