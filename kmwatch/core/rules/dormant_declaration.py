"""KMW-028: a declaration that nobody has used for long explains a read.

What was declared for a project long over is a door that nobody watches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing

META = Meta(
    "KMW-028",
    1,
    "dormant-declaration-wakes",
    ("T1078.004",),
    Settings(1, 90 * DAY, Severity.MEDIUM, Mode.ENFORCE, DAY),
    counts=True,
    early=False,
    matched=True,
)


class DormantDeclaration:
    """A declaration counts as used when it is first seen, so that a new one is not dormant."""

    meta = META

    def __init__(self, settings: Settings, limit: int, declared: Iterable[str]) -> None:
        """Take the window, and the ids of the declarations there are."""
        self._window = settings.window
        self._grain = max(settings.window // 256, 1)
        self._used: Keyed[Micros] = Keyed("KMW-028/used", int, limit)
        self._declared = tuple(declared)
        self._known = False

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Note a use, and hold it against the one before."""
        match, at = case.match, case.event.event_time
        if match is None or not match.explained or match.declaration is None:
            return ()
        name, last = match.declaration, self._used.get(match.declaration)
        if case.confirmed and (last is None or at - last >= self._grain):
            self._used.put(name, at)
        if last is None or at - last <= self._window:
            return ()
        days = (at - last) // DAY
        message = f"declaration {name} was not used for {days} days; now {person(case.event)} read {thing(case)} by it"
        return (Hit(name, (case.citation,), message, match, "dormant"),)

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Note the declarations that are new; never speaks."""
        if not self._known:
            self._known = True
            for name in self._declared:
                if self._used.get(name) is None:
                    self._used.put(name, pulse.now)
        return ()

    def states(self) -> Iterable[Keyed[Any]]:
        """When each declaration was used last."""
        return (self._used,)

    def forget(self, now: Micros) -> None:
        """Nothing is too old: that is what this is about. There are as many as declarations."""
