"""What the page shows, ready to be set: every text that a stranger may have chosen is visible text by now."""

from __future__ import annotations

from msgspec import Struct


class Tile(Struct, frozen=True):
    """One figure of the summary."""

    label: str
    value: str
    note: str
    tone: str  # calm, good, warn, bad


class FindingRow(Struct, frozen=True):
    """A finding, by its last line."""

    number: int
    time: str
    until: str
    rule: str
    title: str
    severity: str
    mode: str
    message: str
    requests: int
    uid: str


class CellView(Struct, frozen=True):
    """A cell of the matrix. `state`: none, unused, used1 to used5 (how much); `stray` counts what nothing explains."""

    state: str
    reads: str
    stray: str
    title: str


class MatrixRow(Struct, frozen=True):
    """A caller's cells."""

    caller: str
    owner: str
    cells: tuple[CellView, ...]


class EntryRow(Struct, frozen=True):
    """An allow entry and its use."""

    entry: str
    callers: str
    secrets: str
    reads: int
    distinct: int
    broken: int
    first: str
    last: str
    expires: str
    state: str  # used, unused, expired


class ReadRow(Struct, frozen=True):
    """A read that nothing explains, with its evidence."""

    time: str
    secret: str
    secret_id: str
    secret_about: str
    address: str
    source: str
    agent: str
    evidence: str
    seen: str  # the logs that tell of it
    flags: str
    request: str


class ReadGroup(Struct, frozen=True):
    """Reads of one caller that fail for the same reason, the newest first."""

    caller: str
    caller_id: str
    project: str
    verdict: str  # unexplained, undecided
    reason: str
    nearest: str
    failed: str
    entitled: str
    size: str
    rows: tuple[ReadRow, ...]


class SecretRow(Struct, frozen=True):
    """A secret that deserves a look."""

    name: str
    secret_id: str
    about: str
    created: str
    expires: str
    reads: int
    last: str
    concerns: tuple[tuple[str, str], ...]  # word, tone
    note: str


class PlainRow(Struct, frozen=True):
    """A secret that only lacks an expiry."""

    name: str
    secret_id: str
    about: str
    reads: int
    last: str


class View(Struct, frozen=True):
    """The whole page."""

    period: str
    reach: str
    digest: str
    version: str
    tiles: tuple[Tile, ...]
    findings: tuple[FindingRow, ...]
    more_findings: int
    columns: tuple[str, ...]
    matrix: tuple[MatrixRow, ...]
    entries: tuple[EntryRow, ...]
    reads: tuple[ReadGroup, ...]
    more_reads: int
    secrets: tuple[SecretRow, ...]
    more_secrets: int
    endless: tuple[PlainRow, ...]
    more_endless: int
    reviewed: str
    chart: bytes  # JSON for page.js
