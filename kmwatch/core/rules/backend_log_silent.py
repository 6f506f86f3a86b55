"""KMW-040: the API hands out payloads, and the backend's log shows none of it: the feed is cut, or its audit is off.

With server errors from the API it is an outage instead (KMW-033). ATT&CK: T1685.002, T1562.008.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kmwatch.core.backend.ledger import Said, Verdict
from kmwatch.core.model import HOUR, MINUTE, Mode, Severity, Witness
from kmwatch.core.rules.backed import BackendCase, Silent
from kmwatch.core.rules.base import Hit, Meta, Settings, cite
from kmwatch.core.rules.hosted import NoRequests

META = Meta(
    "KMW-040",
    1,
    "backend-log-silent",
    ("T1685.002", "T1562.008"),
    Settings(3, 10 * MINUTE, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)
_CITED: Final = 16


class BackendLogSilent(Silent, NoRequests):
    """Counts reads one after the other; a read that the backend shows ends the count.

    Secrets that another plugin keeps count unless the inventory says so.
    """

    meta = META

    def __init__(self, settings: Settings) -> None:
        """Take threshold (reads) and window."""
        self._threshold, self._window = settings.threshold, settings.window

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:  # noqa: ARG002
        """Hit when there are enough of them."""
        if verdict.said is not Said.MISSING:
            return
        lacking = [event for event in verdict.requests if event.event_time >= verdict.at - self._window]
        if len(lacking) >= self._threshold:
            message = f"{len(lacking)} payload reads in a row that the API answered are not in the backend's log"
            cited = tuple(map(cite, lacking[-_CITED:]))
            yield Hit("silent", cited, message, None, "deficit", None, verdict.at, Witness.BACKEND.value)
