"""KMW-012: a caller of one project read a secret of another, and nothing known lets it.

Only an ACL opens a secret to other projects. Where the inventory has ACLs, KMW-011 holds the read against them; here
nobody knows of one.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta(
    "KMW-012",
    1,
    "cross-project-read",
    ("T1199",),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
    matched=True,
)


class CrossProject(Stateless):
    """A shared service is declared: what a declaration explains is left alone."""

    meta = META
    forgives = True

    def __init__(self, settings: Settings) -> None:
        """Need no setting of its own."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit when the projects differ."""
        event, match = case.event, case.match
        secret = None if event.target.id is None else case.declarations.secret(event.target.id)
        own = event.initiator.project_id
        if secret is None or secret.project_id is None or own is None or own == secret.project_id:
            return ()
        if secret.acl is not None or (match is not None and match.explained is True):
            return ()
        message = f"{person(event)} of project {own} read {thing(case)} of project {secret.project_id}"
        return (Hit(case.caller, (case.citation,), message, match, "cross_project"),)
