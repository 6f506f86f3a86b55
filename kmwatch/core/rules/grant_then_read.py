"""KMW-008: somebody who is no declared granter changed a secret's ACL, and then another caller read the secret.

What an ACL says is in no log, so "newly granted" is: not the granter, not the secret's creator, and not who read it
last before the change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing
from kmwatch.core.rules.history import AclHistory, Reads

META = Meta(
    "KMW-008",
    1,
    "grant-then-read",
    ("T1098", "T1555.006"),
    Settings(1, HOUR, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
    matched=True,
)


class GrantThenRead:
    """A read that a declaration explains is what a service does that was let in: no more than medium."""

    meta = META

    def __init__(self, settings: Settings, acls: AclHistory, reads: Reads) -> None:
        """Take the window: how long after a change a read follows it."""
        self.shared = (acls, reads)
        self._window, self._acls, self._reads = settings.window, acls, reads
        self._explained = min(settings.severity, Severity.MEDIUM)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads; the changes before them are remembered for several rules."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hold a read against the changes before it."""
        event, before = case.event, self._reads.before
        changes = self._acls.by_others(case, self._window)
        if not changes or self._is_familiar(case):
            return ()
        if before is not None and before.by == case.caller and before.at < changes[0].event_time:
            return ()
        granter = changes[-1].user_name or changes[-1].user_id or "an unknown caller"
        message = f"{granter} changed the ACL of {thing(case)}, and then {person(event)} read it"
        explained = case.match is not None and case.match.explained is True
        severity = self._explained if explained else None
        return (Hit(case.caller, (*changes, case.citation), message, case.match, "sequence", severity),)

    def _is_familiar(self, case: Case) -> bool:
        target, user = case.event.target.id, case.event.initiator.user_id
        secret = None if target is None else case.declarations.secret(target)
        return secret is not None and secret.creator_id is not None and secret.creator_id == user

    def states(self) -> Iterable[Keyed[Any]]:
        """Changes and reads by secret."""
        return (self._acls.state, self._reads.state)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._acls.forget(now)
        self._reads.forget(now)
