"""Lines of the host's audit log -> events: an event is all lines with the same host, time and serial number.

They stand next to each other in the order of time, among lines of other events of the same moment. An event is
whole when time has passed it. A line that comes after that, and was not part of it, makes an event of its own:
rather one told in two pieces than one that nobody hears of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Micros
from kmwatch.core.record import HostRecord

_NEVER: Micros = 2**62
_MOST_LINES: Final = 64  # of one event; the kernel writes at most a dozen
_REMEMBERED: Final = 20_000  # events whose lines are known when they come again


class Open(Struct):
    """An event whose moment has not passed."""

    at: Micros  # its place in time
    lines: list[HostRecord]
    streams: list[str]


class Gather:
    """Events that are not whole yet, and the lines of those that are told."""

    def __init__(self, limit: int) -> None:
        """Hold at most `limit` events; the oldest are told early, counted."""
        self.open: Keyed[Open] = Keyed("host/open", Open, limit, lambda _, event: self._crowded.append(event))
        self.next: Micros = _NEVER  # nothing is due before this
        self._told: Keyed[list[int]] = Keyed("host/told", list[int], min(limit, _REMEMBERED))
        self._crowded: list[Open] = []

    def add(self, record: HostRecord, stream: str, now: Micros) -> bool:
        """Take a line, in the order of time; False if the very same was seen."""
        key = record.key
        told, event = self._told.get(key), self.open.get(key)
        if told is not None and _digest(record) in told:
            return False
        if event is None:
            event = Open(now, [], [])
        elif record in event.lines or len(event.lines) >= _MOST_LINES:
            return False
        event.lines.append(record)
        event.streams.append(stream)
        self.open.put(key, event)
        self.next = min(self.next, event.at + 1)
        return True

    def due(self, now: Micros) -> Iterator[tuple[HostRecord, list[str]]]:
        """The events that time has passed, whole, and where their lines stood."""
        if now >= self.next:
            over = [(key, event) for key, event in self.open.items() if event.at < now]
            for key, event in over:
                self.open.pop(key)
                yield self._whole(key, event)
            self.index()
        while self._crowded:
            event = self._crowded.pop(0)
            yield self._whole(event.lines[0].key, event)

    @property
    def is_crowded(self) -> bool:
        """Whether events have had to make room, and are due now."""
        return bool(self._crowded)

    def index(self) -> None:
        """Find out when something is due next."""
        self.next = min([event.at + 1 for _, event in self.open.items()], default=_NEVER)

    def streams(self) -> Iterable[str]:
        """The stream of each line that waits."""
        return [stream for _, event in self.open.items() for stream in event.streams]

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (self.open, self._told)

    def _whole(self, key: str, event: Open) -> tuple[HostRecord, list[str]]:
        self._told.put(key, [*(self._told.get(key) or ()), *map(_digest, event.lines)])
        return merged(event.lines), event.streams


def merged(lines: list[HostRecord]) -> HostRecord:
    """One event of all its lines, whatever order they came in."""
    lines = sorted(lines, key=lambda line: (line.types, [path.item for path in line.paths], repr(line)))
    call = next((line for line in lines if line.syscall is not None), lines[0])
    process = call.process or next((line.process for line in lines if line.process is not None), None)
    return replace(
        call,
        types=tuple(kind for line in lines for kind in line.types),
        process=process,
        flags_opened=next((line.flags_opened for line in (call, *lines) if line.flags_opened is not None), None),
        cwd=next((line.cwd for line in lines if line.cwd is not None), None),
        paths=tuple(path for line in lines for path in line.paths),
        changes=tuple(change for line in lines for change in line.changes),
    )


def _digest(record: HostRecord) -> int:
    return int.from_bytes(blake2b(repr(record).encode("utf-8", "replace"), digest_size=8).digest()) >> 1
