"""Roll-ups: hits that belong together become one finding with a beginning, updates and an end.

The first hit creates a finding. Later hits of the same rule and key join it until its time is over. One that brings a
new secret, a new address or a graver severity is an update, the rest is counted. It always ends in a closing line with
the count.

Who reads fifty secrets in a minute must not make fifty updates: an update is told at once if it doubles what was told,
if it is graver, or if the last line is a minute old; else when it is.
"""

from __future__ import annotations

import heapq
from hashlib import blake2b

from msgspec import Struct, field
from msgspec.structs import replace

from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import MINUTE, Activity, Citation, Counts, Finding, Match, Micros, Mode, Secret, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.severity import FORGED, raised

HOLD: Micros = MINUTE  # how long an update may be held back, counted from the line before
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
    told_addresses: int = 0
    told_at: Micros = 0  # event time of the last line
    pending: Micros = 0  # when an update that is held back will be told; 0: there is none
    last: Citation | None = None  # cited by a line that has nothing new to cite
    lines: int = 0
    match: Match | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()
    subject: str | None = None
    moments: tuple[Micros, Micros] | None = None  # of the first and the last hit that had a time of its own
    mode: Mode | None = None  # where it differs from the rule's
    silence: str | None = None
    related: dict[str, None] = field(default_factory=dict)
    forged: bool = False  # the address of one of its requests, as the service was told it

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

    def hit(self, hit: Hit, mode: Mode | None = None, silence: str | None = None) -> list[Finding]:
        """Take a hit; returns the lines it makes, none if an earlier line has told it.

        One that is not sent, though its rule is, gathers in a finding of its own.
        """
        other = mode if mode is not self.settings.mode else None
        if other is not None:
            hit = replace(hit, key=f"{hit.key}\n{silence or other}")
        episode = self.episodes.get(hit.key)
        if hit.closes:
            return [] if episode is None else [self._over(episode, hit)]
        if episode is None:
            return [self._open(hit, other, silence), *self._closings_of_crowded()]
        now = self._join(episode, hit) or self._is_news(episode, hit.key, time_of(hit))
        lines = [self._line(episode, Activity.UPDATE, time_of(hit))] if now else []
        self.episodes.put(hit.key, episode)
        if len(episode.events) >= MOST_EVENTS:
            episode.flags = ("full",)
            self.episodes.pop(hit.key)
            lines.append(self._line(episode, Activity.CLOSE, time_of(hit)))
        return [*lines, *self._closings_of_crowded()] if self._crowded else lines

    def amend(self, citation: Citation) -> list[Finding]:
        """More is known of a request that open findings cite, such as its address."""
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
        episode.untold = [citation if c.event_id == citation.event_id else c for c in episode.untold]
        if fresh and citation not in episode.untold:
            episode.untold.append(citation)
        lines = []
        graver = FORGED in citation.flags and not episode.forged
        if graver:
            episode.forged, episode.severity = True, raised(episode.severity)
        if graver or (fresh and self._is_news(episode, key, citation.event_time)):
            lines = [self._line(episode, Activity.UPDATE, citation.event_time)]
        self.episodes.put(key, episode)
        return lines

    def next_deadline(self) -> Micros | None:
        """When the next open finding is over, or has an update to tell."""
        while self._due:
            at, key = self._due[0]
            episode = self.episodes.get(key)
            if episode is not None and at in (episode.deadline, episode.pending):
                return at
            heapq.heappop(self._due)
        return None

    def close_due(self, now: Micros) -> list[Finding]:
        """Close the findings whose time is over, and tell the updates held back until now, in the order of time."""
        out = []
        while (at := self.next_deadline()) is not None and at <= now:
            _, key = heapq.heappop(self._due)
            episode = self.episodes.get(key)
            if episode is not None and at < episode.deadline:
                out.append(self._line(episode, Activity.UPDATE, at))
                self.episodes.put(key, episode)
            elif episode is not None:
                self.episodes.pop(key)
                out.append(self._line(episode, Activity.CLOSE, at))
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
        self._due += [(episode.pending, key) for key, episode in self.episodes.items() if episode.pending]
        self._of = {}
        for key, episode in self.episodes.items():
            for event_id in episode.events:
                self._of[event_id] = (*self._of.get(event_id, ()), key)
        heapq.heapify(self._due)

    def _open(self, hit: Hit, mode: Mode | None, silence: str | None) -> Finding:
        time = time_of(hit)
        began = min((citation.event_time for citation in hit.citations), default=time)
        # The last as well: a window that closed early may be reached again with the same first request.
        ends = (hit.citations[0].event_id, hit.citations[-1].event_id) if hit.citations else ()
        uid = _hash(self.meta.id, str(self.meta.version), hit.key, str(began), *ends)
        severity = hit.severity or self.settings.severity
        episode = Episode(uid, time + self.settings.rollup, severity, hit.message, mode=mode, silence=silence)
        self._join(episode, hit)
        self.episodes.put(hit.key, episode)
        heapq.heappush(self._due, (episode.deadline, hit.key))
        return self._line(episode, Activity.CREATE, time)

    def _over(self, episode: Episode, hit: Hit) -> Finding:
        """Close a finding before its time: what it told of is over."""
        self.episodes.pop(hit.key)
        return replace(self._line(episode, Activity.CLOSE, time_of(hit)), message=hit.message)

    def _join(self, episode: Episode, hit: Hit) -> bool:
        """Add a hit to a finding; returns whether it brings something that must not be held back."""
        before = len(episode.related), episode.severity
        reason = episode.reason
        episode.secrets.update(dict.fromkeys(hit.secrets))
        episode.related.update(dict.fromkeys(hit.related))
        for citation in hit.citations:
            if citation.event_id in episode.events:
                continue
            episode.events[citation.event_id] = citation.event_time
            self._of[citation.event_id] = (*self._of.get(citation.event_id, ()), hit.key)
            episode.untold.append(citation)
            episode.last = citation
            episode.forged = episode.forged or FORGED in citation.flags
            if citation.target_type == "secret" and citation.target_id and citation.status != _NOT_FOUND:
                episode.secrets[citation.target_id] = None
            if citation.address:
                episode.addresses[citation.address] = None
        episode.severity = max(episode.severity, hit.severity or self.settings.severity)
        episode.message, episode.match, episode.reason = hit.message, hit.match, hit.reason
        episode.subject = hit.subject
        news = (len(episode.related), episode.severity) != before
        if hit.time is None:
            return news
        began, ended = episode.moments or (hit.time, hit.time)
        episode.moments = min(began, hit.time), max(ended, hit.time)
        return news or hit.reason != reason

    def _is_news(self, episode: Episode, key: str, now: Micros) -> bool:
        """Whether there is an update to tell at once; one that is held back is noted."""
        secrets, addresses = len(episode.secrets), len(episode.addresses)
        told = ((secrets, episode.told_secrets), (addresses, episode.told_addresses))
        more = [(n, before) for n, before in told if n > before]
        if not more:
            return False
        if any(n >= 2 * before for n, before in more) or now - episode.told_at >= HOLD:
            return True
        if not episode.pending:
            episode.pending = min(episode.told_at + HOLD, episode.deadline)
            heapq.heappush(self._due, (episode.pending, key))
        return False

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
        episode.told_secrets, episode.told_addresses = len(episode.secrets), len(episode.addresses)
        episode.told_at, episode.pending = time, 0
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
            episode.mode or self.settings.mode,
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
            episode.silence,
            tuple(episode.related),
            self.settings.runbook,
        )

    def _crowded_out(self, _key: str, episode: Episode) -> None:
        episode.flags = ("evicted",)
        self._crowded.append(episode)

    def _closings_of_crowded(self) -> list[Finding]:
        crowded, self._crowded = self._crowded, []
        return [self._line(episode, Activity.CLOSE, episode.span[1]) for episode in crowded]


def time_of(hit: Hit) -> Micros:
    """The event time of what a hit says."""
    return hit.citations[-1].event_time if hit.time is None else hit.time


def _hash(*parts: str) -> str:
    """A stable id of what was found: the parts' lengths keep neighbours apart."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
