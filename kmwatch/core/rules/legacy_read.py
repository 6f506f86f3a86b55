"""KMW-018: a payload was taken by GET /v1/secrets/{id} with an Accept header that asks for it.

The Key Manager deprecates this way. Its audit event is that of a metadata read, so whoever wants a payload unseen
takes it; only the service log, or a proxy that captures the Accept header, tells.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, person, thing

META = Meta(
    "KMW-018",
    1,
    "deprecated-plaintext-read",
    ("T1555.006",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    early=False,
)


class LegacyRead(Stateless):
    """An old client is declared: the entry that explains its reads says `legacy: true`, and should expire."""

    meta = META
    flags = frozenset({"legacy_read"})

    def __init__(self, settings: Settings) -> None:
        """Need no setting of its own."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit unless the declaration that explains the read allows the old way."""
        match = case.match
        if self.flags.isdisjoint(case.event.flags):
            return ()
        if match is not None and match.explained and case.declarations.allows_legacy(match.declaration):
            return ()
        message = f"{person(case.event)} took the payload of {thing(case)} by the deprecated way"
        return (Hit(case.caller, (case.citation,), message, match, "legacy_read"),)
