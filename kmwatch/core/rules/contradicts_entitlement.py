"""KMW-011: the Key Manager gave out a payload to somebody who, as far as the inventory knows, was not entitled to it.

Its policy (barbican.common.policies.secrets, `secret:decrypt`) lets read: the project's administrators; its members, if
the secret is not private or their own; and whom the ACL names, from anywhere. A read outside of that means that policy,
database or identity were tampered with, or that the inventory is out of date.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, AuditEvent, Failure, Kind, Micros, Mode, Outcome, Secret, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, person, thing
from kmwatch.core.rules.history import AclHistory

META = Meta(
    "KMW-011",
    1,
    "read-contradicts-entitlement",
    ("T1548.005",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
)
_READERS = frozenset({"admin", "member", "creator", "observer"})  # roles that any default policy lets read
_EVERYWHERE = frozenset({"admin"})


class ContradictsEntitlement:
    """Needs `acl` in the inventory. Silent where a change of the ACL was seen: the inventory is older than that."""

    meta = META

    def __init__(self, acls: AclHistory) -> None:
        """Take the changes of ACLs that were seen."""
        self.shared = (acls,)
        self._acls = acls

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hold a read against what is known of its secret."""
        event = case.event
        secret = None if event.target.id is None else case.declarations.secret(event.target.id)
        if secret is None or self._acls.is_known(secret.id):
            return ()
        why = contradiction(event, secret)
        if why is None:
            return ()
        message = f"the Key Manager let {person(event)} read {thing(case)}, although {why}"
        return (Hit(case.caller, (case.citation,), message, case.match, "entitlement"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Changes by secret."""
        return (self._acls.state,)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._acls.forget(now)


def contradiction(event: AuditEvent, secret: Secret) -> str | None:
    """Why nothing that is known entitles the caller to read; None where something does, or may."""
    who, acl = event.initiator, secret.acl
    if acl is None or who.user_id is None or who.project_id is None or secret.project_id is None:
        return None
    if who.user_id in acl.users:
        return None
    if who.project_id != secret.project_id:
        return "its ACL does not name them and it belongs to another project"
    roles = frozenset(who.roles)
    if roles and roles.isdisjoint(_READERS):
        return "they have no role that lets them read, and its ACL does not name them"
    private = not acl.project_access and secret.creator_id not in (None, who.user_id)
    if private and roles and roles.isdisjoint(_EVERYWHERE):
        return "it is private, they did not create it, and its ACL does not name them"
    return None
