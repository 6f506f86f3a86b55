"""What a detection is made of: its entry in the catalogue, what it is shown, and what it says."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import (
    AuditEvent,
    Citation,
    Evidence,
    Failure,
    Kind,
    Match,
    Micros,
    Mode,
    Outcome,
    Severity,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.traffic import Traffic

_LONGEST, _KEPT = 256, 192  # characters of a client's text
_COMPLETE, _PARTIAL = Evidence.COMPLETE, Evidence.PARTIAL
_UNCONFIRMED = frozenset(
    {"audit_missing", "service_log_missing", "access_log_missing", "proxy_log_missing", "response_missing"}
)


class Settings(Struct, frozen=True):
    """How a rule runs: the configuration's word, or the catalogue's default."""

    threshold: int
    window: Micros
    severity: Severity
    mode: Mode
    rollup: Micros  # how long one finding gathers what belongs to it before it closes with a count
    runbook: str | None = None  # where a person reads what to do about its findings


class Meta(Struct, frozen=True):
    """A rule's entry in the catalogue. A change of meaning raises `version`, and so changes the ids it makes."""

    id: str
    version: int
    title: str
    techniques: tuple[str, ...]
    defaults: Settings
    counts: bool  # whether threshold and window mean anything
    early: bool = True  # whether identity alone is enough to speak
    matched: bool = False  # whether what it says rests on the match with the caller map


class Case:
    """One event as rules see it: with its match and what the caller map knows of its caller.

    `caller` is whose behaviour this is: the user, or the address where no user is known.

    `before` is how the same request was told in full once already, when evidence that came late tells it again; a
    rule that counts requests has counted this one then.
    """

    __slots__ = ("_citation", "before", "caller", "declarations", "event", "match")

    def __init__(
        self, event: AuditEvent, match: Match | None, declarations: Declarations, before: AuditEvent | None = None
    ) -> None:
        """Hold an event against nothing yet; the citation is made when a rule asks for it."""
        self.event = event
        self.match = match
        self.declarations = declarations
        self.before = before
        who = event.initiator
        self.caller = who.user_id or f"address:{brief(who.address or '')}"
        self._citation: Citation | None = None

    @property
    def confirmed(self) -> bool:
        """Whether it may train a baseline: not on the word of one witness where others should have told of it too."""
        event = self.event
        if event.evidence is _COMPLETE:
            return True
        return event.evidence is _PARTIAL and (len(event.seen_in) > 1 or _UNCONFIRMED.isdisjoint(event.flags))

    @property
    def citation(self) -> Citation:
        """The event as a finding cites it."""
        if self._citation is None:
            self._citation = cite(self.event)
        return self._citation


class Hit(Struct, frozen=True):
    """What a rule says of one event, or of the feed. Hits of one key within the roll-up belong to one finding.

    One that cites no request must have a `time`, and should have a `subject`: what it is about.
    """

    key: str
    citations: tuple[Citation, ...]
    message: str
    match: Match | None = None
    reason: str | None = None
    severity: Severity | None = None  # where it differs from the rule's
    time: Micros | None = None  # event time of what is said, where that is not the last request cited
    subject: str | None = None  # such as "proxy_log", where the finding is about no caller
    closes: bool = False  # what an open finding of this key told of is over
    secrets: tuple[str, ...] = ()  # ids it is about, beside those of the requests
    related: tuple[str, ...] = ()  # uids of findings that it gathers


class Rule(Protocol):
    """A detection: synchronous, deterministic, with all its memory in `states`."""

    meta: Meta

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Whether events of this class concern the rule at all; asked once for each class."""

    def observe(self, case: Case) -> Iterable[Hit]:
        """Look at one event, in the order of time."""

    def states(self) -> Iterable[Keyed[Any]]:
        """The rule's memory, for commit and restore."""

    def forget(self, now: Micros) -> None:
        """Let go of memory that can no longer matter at this time."""


@runtime_checkable
class Watcher(Protocol):
    """A rule that also looks at the feed itself."""

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Look at the feed, at each whole minute of event time, in order with the events."""


@runtime_checkable
class Flagged(Protocol):
    """A rule that concerns itself only with events that carry one of some flags."""

    flags: frozenset[str]


@runtime_checkable
class Targeted(Protocol):
    """A rule that concerns itself only with requests for some targets, by id, whatever was asked of them."""

    targets: frozenset[str]


@runtime_checkable
class Sharer(Protocol):
    """A rule about shares: it asks how many requests of a class there were in all, and need not see each."""

    def shares(self, traffic: Traffic) -> None:
        """Take what counts them, and say for how long it must be able to tell (`Traffic.keep`)."""


@runtime_checkable
class Withholder(Protocol):
    """A rule that may have held something back, so as not to say too much at once."""

    def rest(self) -> Iterable[Hit]:
        """What was held back: the input has ended."""


@runtime_checkable
class Forgiving(Protocol):
    """A rule that has nothing to say of a request that a declaration explains."""

    forgives: bool


class Recorder(Protocol):
    """What several rules remember together. It is shown an event before they are, once, and says nothing."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Whether events of this class are to be remembered."""

    def note(self, case: Case) -> None:
        """Remember one event."""


@runtime_checkable
class Sharing(Protocol):
    """A rule that shares memory with others."""

    shared: tuple[Recorder, ...]


class Stateless:
    """A rule without memory."""

    def states(self) -> Iterable[Keyed[Any]]:
        """Nothing to keep."""
        return ()

    def forget(self, now: Micros) -> None:
        """Nothing to forget."""


def brief(text: str) -> str:
    """A client's text as memory may hold it: long ones are cut, and told apart by a hash of the whole."""
    if len(text) <= _LONGEST:
        return text
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{text[:_KEPT]}...({len(text)} characters, {digest})"


def cite(event: AuditEvent) -> Citation:
    """An event as a finding cites it; what a client made long is cut (see `brief`)."""
    who = event.initiator
    return Citation(
        event.event_id,
        event.event_time,
        event.kind,
        brief(f"{event.method or '-'} {event.path}"),
        event.status,
        event.request_id,
        who.user_id,
        who.user_name,
        who.project_id,
        None if who.address is None else brief(who.address),
        who.address_source,
        None if who.agent is None else brief(who.agent),
        event.target.type,
        None if event.target.id is None else brief(event.target.id),
        event.flags,
    )


def person(event: AuditEvent) -> str:
    """The caller as a reader knows them."""
    who = event.initiator
    return who.user_name or who.user_id or "an unknown caller"


def thing(case: Case) -> str:
    """The target as a reader knows it."""
    target = case.event.target
    secret = case.declarations.secret(target.id) if target.type == "secret" and target.id else None
    name = f' "{secret.name}"' if secret and secret.name else ""
    return f"{target.type}{name} {brief(target.id or case.event.path)}"
