"""Roll-ups: hits that belong together become one finding with a beginning, updates and an end.

The first hit creates a finding. Later hits of the same rule and key join it until its time is over; one that brings
a new secret, a new address or a graver severity is told at once as an update, the rest is counted. It always ends
in a closing line with the count.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b

from msgspec import Struct, field
from msgspec.structs import replace

from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Activity, Citation, Counts, Finding, Match, Micros, Secret, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings

MOST_EVENTS = 250  # a finding with more closes and lets another begin: its lines list all of them


_NOT_FOUND = 404  # an id that does not exist names no secret


class Episode(Struct):
    """A finding that is still open."""

    uid: str
    deadline: Micros
    severity: Severity
    message: str
    events: dict[str, Micros] = field(default_factory=dict)  # event id -> event time, in order of arrival
    untold: list[Citation] = field(default_factory=list)  # joined since the last line
    secrets: dict[str, None] = field(default_factory=dict)
    addresses: dict[str, None] = field(default_factory=dict)
    told_secrets: int = 0
    last: Citation | None = None  # cited by a line that has nothing new to cite
    lines: int = 0
    match: Match | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()
    subject: str | None = None
    moments: tuple[Micros, Micros] | None = None  # of the first and the last hit that had a time of its own

    @property
    def span(self) -> tuple[Micros, Micros]:
        """When the first and the last of what it tells happened."""
        times = [*self.events.values(), *(self.moments or ())]
        return min(times), max(times)


class RollUp:
    """The open findings of one rule."""

    def __init__(self, meta: Meta, settings: Settings, declarations: Declarations, limit: int) -> None:
        """Gather the hits of a rule; at most `limit` findings are open at once, the oldest close early."""
        self.meta = meta
        self.settings = settings
        self.declarations = declarations
        self.episodes: Keyed[Episode] = Keyed(f"{meta.id}/open", Episode, limit, self._crowded_out)
        self._due: list[tuple[Micros, str]] = []
        self._crowded: list[Episode] = []
        self._of: dict[str, tuple[str, ...]] = {}  # event id -> keys of the open findings that cite it

    def hit(self, hit: Hit) -> list[Finding]:
        """Take a hit; returns the lines it makes, none if an earlier line has told it."""
        episode = self.episodes.get(hit.key)
        if hit.closes:
            return [] if episode is None else [self._over(episode, hit)]
        if episode is None:
            return [self._open(hit), *self._closings_of_crowded()]
        news = self._join(episode, hit)
        self.episodes.put(hit.key, episode)
        lines = [self._line(episode, Activity.UPDATE, _time(hit))] if news else []
        if len(episode.events) >= MOST_EVENTS:
            episode.flags = ("full",)
            self.episodes.pop(hit.key)
            lines.append(self._line(episode, Activity.CLOSE, _time(hit)))
        return [*lines, *self._closings_of_crowded()] if self._crowded else lines

    def amend(self, citation: Citation) -> list[Finding]:
        """More is known of a request that open findings cite: a new address is told at once."""
        return [line for key in self._of.get(citation.event_id, ()) for line in self._amend(key, citation)]

    def _amend(self, key: str, citation: Citation) -> list[Finding]:
        episode = self.episodes.get(key)
        if episode is None or citation.event_id not in episode.events:
            return []
        fresh = citation.address is not None and citation.address not in episode.addresses
        if citation.address is not None:
            episode.addresses[citation.address] = None
        if episode.last is not None and episode.last.event_id == citation.event_id:
            episode.last = citation
        self.episodes.put(key, episode)
        if not fresh:
            return []
        episode.untold.append(citation)
        return [self._line(episode, Activity.UPDATE, citation.event_time)]

    def next_deadline(self) -> Micros | None:
        """When the next open finding is over."""
        while self._due:
            deadline, key = self._due[0]
            episode = self.episodes.get(key)
            if episode is not None and episode.deadline == deadline:
                return deadline
            heapq.heappop(self._due)
        return None

    def close_due(self, now: Micros) -> list[Finding]:
        """Close the findings whose time is over, in the order of their ends."""
        out = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, key = heapq.heappop(self._due)
            episode = self.episodes.pop(key)
            if episode is not None:
                out.append(self._line(episode, Activity.CLOSE, deadline))
        return out

    def close_all(self) -> list[Finding]:
        """Close every finding: the input has ended."""
        ended = sorted(self.episodes.items(), key=lambda item: (item[1].deadline, item[0]))
        out = []
        for key, episode in ended:
            self.episodes.pop(key)
            out.append(self._line(episode, Activity.CLOSE, episode.span[1]))
        return out

    def index(self) -> None:
        """Find the deadlines again after a restore."""
        self._due = [(episode.deadline, key) for key, episode in self.episodes.items()]
        self._of = {}
        for key, episode in self.episodes.items():
            for event_id in episode.events:
                self._of[event_id] = (*self._of.get(event_id, ()), key)
        heapq.heapify(self._due)

    def _open(self, hit: Hit) -> Finding:
        time = _time(hit)
        began = min((citation.event_time for citation in hit.citations), default=time)
        # The last as well: a window that closed early may be reached again with the same first request.
        ends = (hit.citations[0].event_id, hit.citations[-1].event_id) if hit.citations else ()
        uid = _hash(self.meta.id, str(self.meta.version), hit.key, str(began), *ends)
        severity = hit.severity or self.settings.severity
        episode = Episode(uid, time + self.settings.rollup, severity, hit.message)
        self._join(episode, hit)
        self.episodes.put(hit.key, episode)
        heapq.heappush(self._due, (episode.deadline, hit.key))
        return self._line(episode, Activity.CREATE, time)

    def _over(self, episode: Episode, hit: Hit) -> Finding:
        """Close a finding before its time: what it told of is over."""
        self.episodes.pop(hit.key)
        return replace(self._line(episode, Activity.CLOSE, _time(hit)), message=hit.message)

    def _join(self, episode: Episode, hit: Hit) -> bool:
        """Add a hit to a finding; returns whether it brings something new."""
        before = len(episode.secrets), len(episode.addresses), episode.severity
        reason = episode.reason
        for citation in hit.citations:
            if citation.event_id in episode.events:
                continue
            episode.events[citation.event_id] = citation.event_time
            self._of[citation.event_id] = (*self._of.get(citation.event_id, ()), hit.key)
            episode.untold.append(citation)
            episode.last = citation
            if citation.target_type == "secret" and citation.target_id and citation.status != _NOT_FOUND:
                episode.secrets[citation.target_id] = None
            if citation.address:
                episode.addresses[citation.address] = None
        episode.severity = max(episode.severity, hit.severity or self.settings.severity)
        episode.message, episode.match, episode.reason = hit.message, hit.match, hit.reason
        episode.subject = hit.subject
        news = (len(episode.secrets), len(episode.addresses), episode.severity) != before
        if hit.time is None:
            return news
        began, ended = episode.moments or (hit.time, hit.time)
        episode.moments = min(began, hit.time), max(ended, hit.time)
        return news or hit.reason != reason

    def _line(self, episode: Episode, activity: Activity, time: Micros) -> Finding:
        match, meta = episode.match, self.meta
        if activity is Activity.CLOSE:
            for event_id in episode.events:
                open_ = tuple(key for key in self._of.pop(event_id, ()) if self.episodes.get(key) is not None)
                if open_:
                    self._of[event_id] = open_
        cited = episode.untold or ([episode.last] if episode.last else [])
        episode.untold = []
        fresh = list(episode.secrets)[episode.told_secrets :]
        episode.told_secrets = len(episode.secrets)
        episode.lines += 1
        message = episode.message
        if activity is Activity.CLOSE:
            plural = "" if len(episode.events) == 1 else "s"
            after = f" after {len(episode.events)} request{plural}" if episode.events else ""
            message = f"closed{after}; last: {message}"
        start, end = episode.span
        late = any("late" in citation.flags for citation in cited)
        return Finding(
            episode.uid,
            _hash(episode.uid, activity.name, str(episode.lines), str(len(episode.events))),
            activity,
            meta.id,
            meta.version,
            meta.title,
            episode.severity,
            self.settings.mode,
            time,
            start,
            end,
            message,
            episode.reason,
            match.declaration if match else None,
            match.nearest if match else None,
            match.caller if match else None,
            Counts(len(episode.events), len(episode.secrets), len(episode.addresses)),
            tuple(cited),
            tuple(sorted(episode.events, key=lambda event_id: (episode.events[event_id], event_id))),
            tuple(self.declarations.secret(secret) or Secret(secret) for secret in sorted(fresh)),
            meta.techniques,
            (*episode.flags, "late") if late else episode.flags,
            episode.subject,
        )

    def _crowded_out(self, _key: str, episode: Episode) -> None:
        episode.flags = ("evicted",)
        self._crowded.append(episode)

    def _closings_of_crowded(self) -> list[Finding]:
        crowded, self._crowded = self._crowded, []
        return [self._line(episode, Activity.CLOSE, episode.span[1]) for episode in crowded]


def _time(hit: Hit) -> Micros:
    return hit.citations[-1].event_time if hit.time is None else hit.time


def _hash(*parts: str) -> str:
    """A stable id of what was found: the parts' lengths keep neighbours apart."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
