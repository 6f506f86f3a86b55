"""KMW-038: the backend refused somebody (a wrong PIN, a token without the right), or its security officer or root came.

A wrong PIN leaves no trace in the Key Manager, and real HSMs count them: a few are an outage. The Key Manager's own
refusals (an expired or revoked token) come within its own failing reads, and are theirs; a stranger's, and a security
officer's, are not, whatever fails at that moment. ATT&CK: T1110.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.backend.ledger import Said, Verdict
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.record import Deed, Result
from kmwatch.core.rules.backed import BackendCase, Silent, hit
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import REFUSED, NoRequests

META = Meta(
    "KMW-038",
    1,
    "backend-access-refused",
    ("T1110",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
)


class BackendAccessRefused(Silent, NoRequests):
    """Security officer and root are high, refused or not."""

    meta = META

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Hit on a privileged login, and on a refusal that no API request can be behind."""
        record = case.record
        if record.result is Result.REFUSED:
            if case.barred or (not case.ours and (case.control or record.mount is None)):
                yield self._refused(case)
        elif record.privileged and (record.deed is Deed.LOGIN or record.mount is not None):
            yield hit(case, f"used the highest privilege: {record.detail!a}", "privileged", Severity.HIGH)

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:
        """Hit on a refusal that is not of an API request that failed for it."""
        if verdict.said is Said.REFUSED and case is not None and not verdict.requests:
            yield self._refused(case)

    def _refused(self, case: BackendCase) -> Hit:
        severity = Severity.HIGH if case.record.privileged else None
        return hit(case, f"was refused: {case.record.detail!a}", REFUSED, severity)
