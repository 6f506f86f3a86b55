"""KMW-047: several detections speak of one caller within an hour: one incident that lists them.

It is made of findings, not of events: of those that are sent, and of each finding once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Activity, Citation, Failure, Finding, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings

META = Meta(
    "KMW-047",
    1,
    "incident",
    (),
    Settings(3, HOUR, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=True,
)
_KEPT = 16  # findings of one caller


class Told(Struct, frozen=True, gc=False):
    """A finding as an incident lists it."""

    rule: str
    uid: str
    time: Micros
    severity: Severity
    citation: Citation


class Incident:
    """`threshold` counts distinct detections. As grave as the gravest of them, and no less than its own severity."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` callers."""
        self._threshold, self._window, self._least = settings.threshold, settings.window, settings.severity
        self._told: Keyed[list[Told]] = Keyed("KMW-047/told", list[Told], limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """No event."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()

    def note(self, line: Finding) -> Iterable[Hit]:
        """Note a line of another rule, and find the incident it completes or joins."""
        if line.activity is not Activity.CREATE or line.mode is not Mode.ENFORCE or not line.citations:
            return ()
        citation = line.citations[-1]
        who = citation.user_id
        if who is None:
            return ()
        known = [t for t in self._told.get(who) or () if abs(line.time - t.time) < self._window]
        before = {t.rule for t in known}
        known = [*known, Told(line.rule, line.uid, line.time, line.severity, citation)][-_KEPT:]
        self._told.put(who, known)
        rules = sorted({t.rule for t in known})
        if len(rules) < self._threshold or line.rule in before:
            return ()
        gravest = max(self._least, *(t.severity for t in known))
        message = f"{len(rules)} detections within an hour on {citation.user_name or who}: {', '.join(rules)}"
        return (
            Hit(
                who,
                tuple({t.citation.event_id: t.citation for t in known}.values()),
                message,
                None,
                "several_detections",
                gravest,
                line.time,
                related=tuple(t.uid for t in known),
            ),
        )

    def states(self) -> Iterable[Keyed[Any]]:
        """The latest findings of callers."""
        return (self._told,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers."""
        since = now - self._window
        self._told.forget_while(lambda told: told[-1].time < since)
