"""KMW-039: keys, policies, roles, tokens or the audit of the backend changed, or a payload was changed behind the API.

A key made in the Key Manager's partition can wrap others out; a policy or a token is another way in; an audit device
that goes off hides what follows; an overwritten payload is handed out as if it were the owner's. ATT&CK: T1098, T1485.
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
    "KMW-039",
    1,
    "backend-keys-or-policy-changed",
    ("T1098", "T1485"),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
)
_POOLS: Final = {"writes": "stored", "deletes": "deleted"}
_HAPPENED: Final = (Result.OK, Result.EMPTY, Result.UNKNOWN)


class BackendChanged(Silent, NoRequests):
    """On a store, creates and deletes of payloads are held against the API's own; an HSM keeps no payloads."""

    meta = META

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Hit on changes that the Key Manager never makes, and on a stranger's."""
        record = case.record
        if record.result not in _HAPPENED:
            return
        theirs = case.barred and record.deed in (Deed.WRITE, Deed.DELETE) and record.mount is not None
        if theirs or (record.deed is Deed.CHANGE and (case.ours or case.control)):
            of = f" of {record.path!a}" if record.path and record.path not in record.detail else ""
            yield hit(case, f"changed the backend: {record.detail!a}{of}", "changed")

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:
        """Hit on a payload that was stored or deleted without the API."""
        if verdict.said is not Said.LEFT or verdict.pool not in _POOLS or case is None or case.record.mount is None:
            return
        what = f"{_POOLS[verdict.pool]} {case.record.path!a} while no API request asked for it"
        yield hit(
            case, what, "unaccounted", Severity.MEDIUM if verdict.doubt or verdict.gaps else None, verdict.competing
        )
