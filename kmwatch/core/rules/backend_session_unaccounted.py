"""KMW-036: a login or the unwrapping of a project key that no API request explains, or a client nobody declared.

The Key Manager logs in and unwraps only within requests that need it: twice at most, and one key at most, each. More
than that is somebody else with its credential. A client that is declared by itself (a monitor, an administrator's
tool) and is not the one that serves the API needs no request. ATT&CK: T1078.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kmwatch.core.backend.ledger import Said, Verdict
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.record import Deed, Result
from kmwatch.core.rules.backed import BackendCase, Silent, hit
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import NoRequests

META = Meta(
    "KMW-036",
    1,
    "backend-session-unaccounted",
    ("T1078",),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
)
_POOLS: Final = {"logins": "logged in", "unwraps": "unwrapped a project key"}


class BackendSessionUnaccounted(Silent, NoRequests):
    """Where the log does not tell clients apart and several are declared, a session is a remark (low)."""

    meta = META

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Hit on a stranger's session, and on a stranger who was served nothing."""
        record = case.record
        if not case.barred or record.deed not in (Deed.LOGIN, Deed.UNWRAP, Deed.READ):
            return
        if record.result is Result.REFUSED:
            return  # KMW-038 tells it
        if record.deed is Deed.READ and record.result is Result.OK:
            return  # KMW-035 tells it
        yield hit(case, f"is declared for no {record.deed} ({record.detail!a})", "undeclared_client")

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:
        """Hit on a session that no API request explains."""
        if verdict.said is not Said.LEFT or verdict.pool not in _POOLS or case is None:
            return
        fitting = case.identity.fitting
        if len(fitting) == 1 and not verdict.server:
            return  # a declared client that is not the Key Manager's API
        severity = Severity.LOW if len(fitting) > 1 else None
        did = f"{_POOLS[verdict.pool]} while no API request needed it ({len(verdict.requests)} open)"
        yield hit(case, did, "unaccounted", severity, verdict.competing)
