"""The witness `host`: lines of its audit log become events, and events cases for the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kmwatch.core.behind import Behind
from kmwatch.core.host.files import Files
from kmwatch.core.host.gather import Gather
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Micros
from kmwatch.core.record import HostRecord
from kmwatch.core.rules.hosted import HostCase


class HostWatch:
    """Bounded; all of it is remembered across restarts."""

    def __init__(self, behind: Behind, limit: int) -> None:
        """Know what is declared; hold at most `limit` events, and remember as many files."""
        self.gather = Gather(limit)
        self._behind = behind
        self._files = Files(behind.host, limit)

    def add(self, record: HostRecord, stream: str, now: Micros) -> bool:
        """Take a line, in the order of time; False if the very same was seen."""
        return self.gather.add(record, stream, now)

    def due(self, now: Micros) -> Iterator[tuple[HostCase, list[str]]]:
        """The events that time has passed, and where their lines stood."""
        for event, streams in self.gather.due(now):
            yield HostCase(event, self._files.observe(event), self._behind), streams

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (*self.gather.states(), *self._files.states())

    def restored(self) -> None:
        """Find derived state again."""
        self.gather.index()
