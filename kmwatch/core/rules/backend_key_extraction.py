"""KMW-037: a key was made readable or read out of the HSM, or the store was asked for more than the Key Manager asks.

Whoever unwraps a project key chooses the new key's attributes: as not sensitive, its value can be read, and every
payload of the project decrypted elsewhere, without one decrypt in the HSM's log. On a store: lists, metadata, other
versions, undelete, a snapshot of all of it, a response wrapped so that another may fetch it. ATT&CK: T1552.004.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.record import Deed, Result
from kmwatch.core.rules.backed import BackendCase, Silent, hit
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import REFUSED, NoRequests

META = Meta(
    "KMW-037",
    1,
    "backend-key-extraction",
    ("T1552.004",),
    Settings(1, 0, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=False,
)


class BackendKeyExtraction(Silent, NoRequests):
    """An attempt that was refused is high."""

    meta = META

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Hit on each attempt."""
        record = case.record
        if record.deed is not Deed.EXTRACT or not (case.ours or case.control):
            return
        failed = record.result in (Result.REFUSED, Result.FAILED)
        what = f"{'tried' if failed else 'did'} what the Key Manager never does: {record.detail!a}"
        if record.path and record.path not in record.detail:
            what += f" on {record.path!a}"
        severity = min(Severity.HIGH, META.defaults.severity) if failed else None
        if case.control and (record.path or "").rpartition("sys/")[2].startswith("wrapping/"):
            severity = Severity.MEDIUM  # what was handed over is not known
        yield hit(case, what, REFUSED if failed else "extraction", severity)
