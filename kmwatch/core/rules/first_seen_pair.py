"""KMW-003: a caller reads a secret for the first time, under a declaration that does not name the secret.

Such a declaration ("lb-*") cannot say whether this read was meant. One finding a caller and day.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.lastseen import LastSeen
from kmwatch.core.learning import Learning
from kmwatch.core.model import DAY, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person, thing
from kmwatch.core.rules.counting import MOST_CITED, Sparing

META = Meta(
    "KMW-003",
    1,
    "first-seen-pair",
    ("T1555.006",),
    Settings(1, 7 * DAY, Severity.LOW, Mode.ENFORCE, DAY),
    counts=True,
    early=False,
    matched=True,
)


class FirstSeenPair:
    """Keyed by the secret's name where the inventory knows it, so that a rotation is no news.

    Whoever reads what they created themselves needs no memory: that is what it was made for.
    """

    meta = META

    def __init__(self, settings: Settings, limit: int, learning: Learning) -> None:
        """Take the window: how long a pair is remembered after its last read."""
        self._pairs = LastSeen("KMW-003/pairs", settings.window, limit)
        self._told = Sparing("KMW-003/told", MOST_CITED, limit)
        self._learning = learning

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit for a new pair once the learning period is over."""
        event, match, declarations = case.event, case.match, case.declarations
        if match is None or not match.explained or not declarations.is_wildcard(match.declaration):
            return ()
        secret = None if event.target.id is None else declarations.secret(event.target.id)
        if secret is not None and secret.creator_id is not None and secret.creator_id == event.initiator.user_id:
            return ()
        name = secret.name if secret is not None else None
        pair = f"{case.caller} {brief(name or event.target.id or event.path)}"
        at = event.event_time
        seen = self._pairs.see(pair, at) if case.confirmed else self._pairs.last(pair, at)
        if seen is not None or not self._learning.is_over(event):
            return ()
        if not self._told.allows(case.caller, event.observed_time):
            return ()
        message = f"{person(event)} read {thing(case)} for the first time, under {match.declaration}"
        return (Hit(case.caller, (case.citation,), message, match, "first_seen"),)

    def states(self) -> Iterable[Keyed[Any]]:
        """Pairs, and since when they are learned."""
        return (self._pairs.state, self._told.state, self._learning.state)

    def forget(self, now: Micros) -> None:
        """Let go of pairs that are new again."""
        self._pairs.forget(now)
        self._told.forget(now)
