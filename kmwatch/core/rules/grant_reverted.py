"""KMW-010: an ACL was changed, the secret read by somebody else, and the ACL changed again: a grant that hides itself.

Whether the second change undoes the first is in no log, but for a removal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person, thing
from kmwatch.core.rules.counting import Recent
from kmwatch.core.rules.history import AclHistory

META = Meta(
    "KMW-010",
    1,
    "acl-grant-reverted",
    ("T1098",),
    Settings(1, HOUR, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)
_READS = 4  # of a secret, between the changes


class GrantReverted:
    """Changes by declared granters do not count."""

    meta = META

    def __init__(self, settings: Settings, limit: int, acls: AclHistory) -> None:
        """Take the window: from the grant to its end."""
        self.shared = (acls,)
        self._window, self._acls = settings.window, acls
        self._reads = Recent("KMW-010/reads", _READS, settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful ACL changes and payload reads."""
        return kind in (Kind.ACL_CHANGE, Kind.RETRIEVAL) and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Note a read after a change, or find the grant that a change ends."""
        event = case.event
        secret, at = event.target.id, event.event_time
        if secret is None or event.target.type != "secret":
            return ()
        secret = brief(secret)
        if event.kind is Kind.RETRIEVAL:
            if self._acls.by_others(case, self._window):
                self._reads.add(secret, at, case.citation)
            return ()
        return self._end(case, secret, at)

    def _end(self, case: Case, secret: str, at: Micros) -> Iterable[Hit]:
        changes = [c for c in self._acls.before(secret, at, self._window) if not c.declared]
        if not changes or changes[-1].citation.event_id != case.event.event_id:
            return ()
        reads = self._reads.within(secret, at)
        grant = next((c for c in changes[:-1] if any(r.event_time >= c.citation.event_time for r in reads)), None)
        if grant is None:
            return ()
        since = grant.citation.event_time
        cited = (grant.citation, *[r for r in reads if r.event_time >= since], case.citation)
        how = "removed" if changes[-1].removed else "changed again, which may undo it,"
        message = f"the ACL of {thing(case)} was changed, {cited[-2].user_name or cited[-2].user_id} read it, "
        message += f"and it was {how} by {person(case.event)} within {(at - since) / 1e6:.0f} s"
        return (Hit(case.caller, cited, message, case.match, "removed" if changes[-1].removed else "changed"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Changes, and reads after them, by secret."""
        return (self._acls.state, self._reads.state)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._acls.forget(now)
        self._reads.forget(now)
