"""KMW-014: a caller was refused a secret several times, and then read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person, thing
from kmwatch.core.rules.history import AclHistory
from kmwatch.core.sequence import Sequence

META = Meta(
    "KMW-014",
    1,
    "denied-then-allowed",
    ("T1078.004",),
    Settings(3, HOUR, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)


class DeniedThenAllowed:
    """What changed between, where it was seen to change, is shown: a grant explains it, and names whom to ask."""

    meta = META

    def __init__(self, settings: Settings, limit: int, acls: AclHistory) -> None:
        """Take threshold (refusals) and window; remember at most `limit` pairs of caller and secret."""
        self.shared = (acls,)
        self._chains = Sequence("KMW-014/chains", (settings.threshold, 1), settings.window, limit)
        self._window, self._acls = settings.window, acls

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Refusals, and successful payload reads."""
        success = outcome is Outcome.SUCCESS and failure is None
        return failure is Failure.DENIED or (kind is Kind.RETRIEVAL and success)

    def observe(self, case: Case) -> Iterable[Hit]:
        """Note a refusal, or find the refusals before a read."""
        event = case.event
        if event.target.type != "secret" or event.target.id is None:
            return ()
        secret = brief(event.target.id)
        key = f"{case.caller} {secret}"
        if event.failure is Failure.DENIED:
            self._chains.open(key, event.event_id, case.citation)
            return ()
        if not self._chains.is_open(key):
            return ()
        cited = self._chains.follow(key, event.event_id, case.citation)
        if not cited:
            return ()
        since = cited[0].event_time
        grants = [
            c.citation
            for c in self._acls.before(secret, event.event_time, self._window)
            if c.citation.event_time >= since
        ]
        refused = sum(c.status != event.status for c in cited)
        between = f" after {grants[-1].user_name or grants[-1].user_id} changed its ACL" if grants else ""
        message = f"{person(event)} was refused {thing(case)} at least {refused} times and then read it{between}"
        together = sorted((*cited, *grants), key=lambda c: (c.event_time, c.event_id))
        return (Hit(case.caller, tuple(together), message, case.match, "grant_between" if grants else "sequence"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Refusals by caller and secret, and changes by secret."""
        return (self._chains.state, self._acls.state)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._chains.forget(now)
        self._acls.forget(now)
