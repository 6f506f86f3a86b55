"""What a report is made of, gathered from pages of reads and findings as they come, within bounds."""

from __future__ import annotations

from array import array
from collections import deque

from msgspec import Struct

from kmwatch.core.declaration import Declarations
from kmwatch.core.ledger import Read
from kmwatch.core.model import Activity, Finding, Micros
from kmwatch.report.matrix import Matrix

MOST_FINDINGS, MOST_READS = 1000, 1000  # shown at most, the newest; more is no page that anybody reads
_EXPLAINED, _UNDECIDED, _UNEXPLAINED = 0, 1, 2


class Told(Struct):
    """A finding by all its lines: what it said last, but not the sentence of its end."""

    line: Finding
    message: str


class Gathered:
    """Everything that happened in the period."""

    def __init__(self, declarations: Declarations, since: Micros | None, until: Micros | None) -> None:
        """Take what happened from `since` on and before `until`; None leaves that end open."""
        self.declarations = declarations
        self.matrix = Matrix(declarations)
        self.findings: dict[str, Told] = {}
        self.unexplained: deque[Read] = deque(maxlen=MOST_READS)  # undecided ones too
        self.counts = [0, 0, 0]  # explained, cannot be decided, unexplained
        self.callers: set[str | None] = set()
        self.secrets: set[str | None] = set()
        self.times = array("q")
        self.verdicts = array("b")
        self._since, self._until = since, until

    def read(self, read: Read) -> None:
        """Take a retrieval; they come in the order of time."""
        verdict = {True: _EXPLAINED, None: _UNDECIDED, False: _UNEXPLAINED}[read.explained]
        self.counts[verdict] += 1
        self.times.append(read.event_time)
        self.verdicts.append(verdict)
        self.callers.add(read.user_id)
        self.secrets.add(read.secret_id)
        self.matrix.add(read)
        if verdict != _EXPLAINED:
            self.unexplained.append(read)

    def finding(self, line: Finding) -> None:
        """Take a line of a finding; those of one finding come in the order they were made."""
        known = self.findings.get(line.uid)
        message = line.message if line.activity is not Activity.CLOSE or known is None else known.message
        if (self._since is None or line.end_time >= self._since) and (
            self._until is None or line.start_time < self._until
        ):
            self.findings[line.uid] = Told(line, message)

    @property
    def more_unexplained(self) -> int:
        """How many unexplained and undecided reads are not kept."""
        return self.counts[_UNDECIDED] + self.counts[_UNEXPLAINED] - len(self.unexplained)

    @property
    def period(self) -> tuple[Micros, Micros]:
        """The first and the last moment: as asked for, else of what happened."""
        starts = [told.line.start_time for told in self.findings.values()]
        ends = [told.line.end_time for told in self.findings.values()]
        first = self._since if self._since is not None else min([*self.times[:1], *starts], default=0)
        last = self._until if self._until is not None else max([*self.times[-1:], *ends], default=0)
        return first, max(first, last)
