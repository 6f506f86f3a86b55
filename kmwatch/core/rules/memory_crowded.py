"""KMW-046: what detections remember had to make room. Whoever floods them may want something else forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings

META = Meta(
    "KMW-046",
    1,
    "memory-crowded",
    ("T1499",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    early=False,
)
_MEMORIES = 256  # more than there are


class MemoryCrowded:
    """One finding for each kind of memory. `watched` is set by whoever holds them all."""

    meta = META

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.watched: Callable[[], Iterable[Keyed[Any]]] = tuple
        self._owed: Keyed[int] = Keyed("KMW-046/owed", int, _MEMORIES)  # forgotten since the last pulse
        self._noted: dict[str, int] = {}  # by this process

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """No event."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Hit for each memory that has made room since the last pulse."""
        self._note()
        for name, gone in sorted(self._owed.items()):
            self._owed.pop(name)
            message = f"the memory {name} is full: {gone} of its least recent keys were forgotten"
            yield Hit(name, (), message, None, "evicted", None, pulse.now, name)

    def _note(self) -> None:
        for state in self.watched():
            new = state.evicted - self._noted.get(state.name, 0)
            if new:
                self._noted[state.name] = state.evicted
                self._owed.put(state.name, (self._owed.get(state.name) or 0) + new)

    def states(self) -> Iterable[Keyed[Any]]:
        """What is still to be told."""
        self._note()
        return (self._owed,)

    def forget(self, now: Micros) -> None:
        """Nothing to forget."""
