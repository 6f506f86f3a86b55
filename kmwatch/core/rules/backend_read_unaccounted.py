"""KMW-035: the HSM or the store served more payloads than the API had asked for.

One payload read makes exactly one decrypt, or one read of the store, within its own request. What is left over when
each API request has been used up once went to somebody who stands behind the API. Where several compete for the same
requests, the count is certain and the culprit among them is not: all are cited, as records of the backend and not as
anybody's requests, and the evidence of each says with how many it competes for which. A lost audit record leaves a
read over, too: the message says how many requests of late lack records, and then it is no critical one.
ATT&CK: T1555.006.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kmwatch.core.backend.ledger import Said, Verdict
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.record import Deed, Result
from kmwatch.core.rules.backed import MOST_SHOWN, BackendCase, Silent, hit
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import NoRequests

META = Meta(
    "KMW-035",
    1,
    "backend-read-unaccounted",
    ("T1555.006",),
    Settings(1, 0, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=False,
)
SURPLUS: Final = "surplus"


class BackendReadUnaccounted(Silent, NoRequests):
    """A read by a client that is certainly none of the declared needs no account: it is told at once."""

    meta = META

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Hit on a payload served to a stranger."""
        record = case.record
        if case.barred and record.deed is Deed.READ and record.result is Result.OK:
            yield hit(case, f"was served {record.path or 'a payload'!a} past the API", "undeclared_client")

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:
        """Hit on each read that nothing accounts for."""
        if verdict.said is not Said.LEFT or verdict.pool != "reads" or case is None:
            return
        served, asked = len(verdict.competing), len(verdict.requests)
        names = ", ".join(event.event_id for event in verdict.requests[:MOST_SHOWN])
        text, each = "was served one payload more than the API asked for", ""
        if asked or served > 1:
            requests = f"{asked} request{'' if asked == 1 else 's'}{f' ({names})' if names else ''}"
            text += f": {served} reads of the backend compete for {requests}"
            each = f", one of {served} reads for {requests}"
        severity, reason = None, SURPLUS
        if verdict.doubt is not None:
            severity, reason = Severity.MEDIUM, "audit_gap"
            text += f"; {verdict.doubt.event_id}, whose outcome is not known, would account for it"
        elif verdict.gaps:
            severity, reason = Severity.HIGH, "audit_gap"
            text += f"; {verdict.gaps} requests of late lack audit records, and a lost one would account for it"
        elif verdict.crowded:
            severity, reason = Severity.HIGH, "crowded"
            text += "; the account had to forget requests of late, and one of them would account for it"
        yield hit(case, text, reason, severity, verdict.competing, each)
