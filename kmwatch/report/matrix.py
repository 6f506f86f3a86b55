"""Declared callers held against secret groups: what was declared, what of it was used, and what was read besides."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from kmwatch.core.clause import Clause
from kmwatch.core.declaration import Declarations
from kmwatch.core.ledger import Read
from kmwatch.core.model import Kind, Micros
from kmwatch.core.selector import GroupTest
from kmwatch.core.subject import Subject

NOBODY = ""  # the row of callers that the map does not know
ANY, OWN, ELSEWHERE = "any secret", "what they created", "in no group"


class Cell(Struct):
    """A caller and a group of secrets."""

    entries: list[str] = field(default_factory=list)  # that declare it; none: nothing does
    explained: int = 0
    unexplained: int = 0
    undecided: int = 0


class EntryUse(Struct):
    """What an allow entry was used for."""

    clause: Clause
    callers: list[str]
    reads: int = 0
    broken: int = 0  # reads that it would explain, but for a constraint
    secrets: set[str] = field(default_factory=set)
    first: Micros | None = None
    last: Micros | None = None


class Matrix:
    """Counts reads as they come; rows and columns are those of the map, in its order."""

    def __init__(self, declarations: Declarations) -> None:
        """Lay out the declarations that are about retrievals."""
        self._declarations = declarations
        self.cells: dict[tuple[str, str], Cell] = {}
        self.entries: dict[str, EntryUse] = {}
        self._groups: dict[str, GroupTest] = {}
        self._homes: dict[str | None, str] = {}
        rows, columns = dict[str, None](), dict[str, None]()
        for clause in declarations.clauses:
            if Kind.RETRIEVAL not in clause.entry.actions:
                continue
            caller, entry = clause.caller.entry.name, clause.entry
            rows[caller] = None
            self.entries.setdefault(entry.id, EntryUse(clause, list(entry.callers)))
            for group in clause.groups or ():
                self._groups[group.name] = group
            for column in _columns(clause):
                columns[column] = None
                self._cell(caller, column).entries.append(entry.id)
        self.rows, self.columns = [*rows], [*columns]

    def add(self, read: Read) -> None:
        """Count a read."""
        more = read.more
        row = more.caller or NOBODY
        if row not in self.rows:
            self.rows.append(row)
        cell = self._cell(row, self._column(read))
        if read.explained is True:
            cell.explained += 1
        elif read.explained is None:
            cell.undecided += 1
        else:
            cell.unexplained += 1
        self._use(read)

    def _use(self, read: Read) -> None:
        use = self.entries.get(read.declaration or "")
        if use is None:
            return
        if read.explained is not True:
            use.broken += 1
            return
        use.reads += 1
        use.secrets.add(read.secret_id or "")
        use.first = read.event_time if use.first is None else min(use.first, read.event_time)
        use.last = read.event_time if use.last is None else max(use.last, read.event_time)

    def _column(self, read: Read) -> str:
        """Where a read counts: the first group of its entry that holds the secret, else of all groups."""
        subject = self._declarations.subject("secret", read.secret_id)
        use = self.entries.get(read.declaration or "")
        if use is not None:
            for column in _columns(use.clause):
                group = self._groups.get(column)
                if group is None or subject.known_in(group):
                    return column
        return self._home(read.secret_id, subject)

    def _home(self, secret_id: str | None, subject: Subject) -> str:
        found = self._homes.get(secret_id)
        if found is None:
            found = next((name for name, group in self._groups.items() if subject.known_in(group)), ELSEWHERE)
            self._homes[secret_id] = found
            if found not in self.columns:
                self.columns.append(found)
        return found

    def _cell(self, row: str, column: str) -> Cell:
        return self.cells.setdefault((row, column), Cell())


def _columns(clause: Clause) -> Iterable[str]:
    if clause.entry.created_by_caller:
        return (OWN,)
    return (ANY,) if clause.groups is None else tuple(group.name for group in clause.groups)
