"""KMW-009: somebody who is no declared granter changed who may read a secret.

Audit events do not show the ACL's content. PUT with an empty body removes it, PATCH may add users, DELETE opens a
private secret to its whole project: any change may widen, so every change by an undeclared granter is told. A
container's ACL does not open its member secrets and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta("KMW-009", 1, "acl-widened", ("T1098",), Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR), counts=False)


class AclWidened(Stateless):
    """A declaration whose actions include acl_change names a granter."""

    meta = META
    forgives = True

    def __init__(self, settings: Settings) -> None:
        """Need no setting of its own."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful ACL changes."""
        return kind is Kind.ACL_CHANGE and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit unless a declaration names this caller a granter of this secret."""
        event, match = case.event, case.match
        if event.target.type != "secret" or (match is not None and match.explained):
            return ()
        what = "removed the ACL of" if event.method == "DELETE" else "changed the ACL of"
        message = f"{person(event)} {what} {thing(case)} and is no declared granter of it; content unknown"
        return (Hit(case.caller, (case.citation,), message, match, match.reason if match else None),)
