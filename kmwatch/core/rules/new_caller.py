"""KMW-004: a caller reads in a project in which it was never seen reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.lastseen import LastSeen
from kmwatch.core.learning import Learning
from kmwatch.core.model import DAY, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing

META = Meta(
    "KMW-004",
    1,
    "new-caller-in-project",
    ("T1078.004",),
    Settings(1, 30 * DAY, Severity.MEDIUM, Mode.ENFORCE, DAY),
    counts=True,
    early=False,
    matched=True,
)


class NewCaller:
    """The project is the secret's owner, where the inventory knows it, else the one the caller acts in.

    A read that a declaration explains was expected by somebody, so it is no more than low.
    """

    meta = META

    def __init__(self, settings: Settings, limit: int, learning: Learning) -> None:
        """Take the window: how long a caller is remembered after its last read in a project."""
        self._callers = LastSeen("KMW-004/callers", settings.window, limit)
        self._learning = learning
        self._declared = min(settings.severity, Severity.LOW)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit for a caller new in a project once the learning period is over."""
        event, match = case.event, case.match
        secret = None if event.target.id is None else case.declarations.secret(event.target.id)
        project = (secret.project_id if secret is not None else None) or event.initiator.project_id
        if project is None:
            return ()
        key, at = f"{case.caller} {project}", event.event_time
        seen = self._callers.see(key, at) if case.confirmed else self._callers.last(key, at)
        if seen is not None or not self._learning.is_over(event):
            return ()
        message = f"{person(event)} read in project {project} for the first time: {thing(case)}"
        severity = self._declared if match is not None and match.explained else None
        return (Hit(key, (case.citation,), message, match, "first_seen", severity),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Callers by project, and since when they are learned."""
        return (self._callers.state, self._learning.state)

    def forget(self, now: Micros) -> None:
        """Let go of callers that are new again."""
        self._callers.forget(now)
