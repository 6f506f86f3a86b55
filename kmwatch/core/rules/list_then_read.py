"""KMW-007: a caller lists secrets and then reads several of them.

Services read what they were told to read; whoever lists first does not know what there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person
from kmwatch.core.sequence import Sequence

META = Meta(
    "KMW-007",
    1,
    "list-then-read",
    ("T1580", "T1555.006"),
    Settings(5, 10 * MINUTE, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)
BACKUP: Final = "backup"  # tag of a caller whose job this is


class ListThenRead:
    """Distinct secrets count. Reads of a caller tagged `backup`, and those held to a declared rate, do not."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold (secrets read) and window; remember at most `limit` callers that have listed."""
        self._chains = Sequence("KMW-007/chains", (1, settings.threshold), settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful lists and payload reads."""
        return kind in (Kind.LIST, Kind.RETRIEVAL) and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Note a list, or count a read after one."""
        event, match = case.event, case.match
        if event.kind is Kind.LIST:
            if event.target.type == "secret":
                self._chains.open(case.caller, event.event_id, case.citation)
            return ()
        if not self._chains.is_open(case.caller):
            return ()
        if match is not None and (match.rate is not None or self._is_backup(case)):
            return ()
        secret = brief(event.target.id or event.path)
        cited = self._chains.follow(case.caller, secret, case.citation)
        if not cited:
            return ()
        reads = [c for c in cited if c.kind == Kind.RETRIEVAL]
        message = f"{person(event)} listed the secrets and then read at least {len(reads)} of them"
        return (Hit(case.caller, cited, message, match, "sequence"),)

    def _is_backup(self, case: Case) -> bool:
        match = case.match
        return match is not None and match.explained is True and BACKUP in case.declarations.tags(match.caller)

    def states(self) -> Iterable[Keyed[Any]]:
        """Callers that have listed, with what they read since."""
        return (self._chains.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        self._chains.forget(now)
