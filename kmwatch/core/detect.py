"""match -> detect: each event, in the order of time, held against the caller map and shown to the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from kmwatch.core.account import Account, count
from kmwatch.core.backend.ledger import Verdict
from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.match import match as hold
from kmwatch.core.model import MINUTE, AddressSource, AuditEvent, Finding, Kind, Match, Micros, Mode, Outcome, Reason
from kmwatch.core.pulse import Pulse
from kmwatch.core.rate import Rates
from kmwatch.core.rollup import RollUp, time_of
from kmwatch.core.rules.backed import BackendCase, BackendRule
from kmwatch.core.rules.base import (
    Case,
    Flagged,
    Forgiving,
    Hit,
    Recorder,
    Rule,
    Settings,
    Sharer,
    Sharing,
    Targeted,
    Watcher,
    Withholder,
)
from kmwatch.core.rules.catalogue import Surroundings, build
from kmwatch.core.rules.hosted import HostCase, HostRule
from kmwatch.core.rules.incident import Incident
from kmwatch.core.rules.memory_crowded import MemoryCrowded
from kmwatch.core.severity import graver
from kmwatch.core.silence import Silences
from kmwatch.core.traffic import Counter, Traffic, class_of

_MATCHED = frozenset({Kind.RETRIEVAL, Kind.ACL_CHANGE, Kind.DELETE, Kind.ADMINISTRATION})
_MOST_CLASSES = 4096  # of events: flags are a closed set, so that more is somebody's play
NOWHERE = Surroundings()
UNSILENCED = Silences()
_TIDY_EVERY: Micros = 5 * MINUTE
_LONGEST_REQUEST: Micros = 10 * MINUTE  # an event may have begun this long before its place in the order


class Judged(Struct, frozen=True, gc=False):
    """An event with its match; `match` is None where nothing was to be explained."""

    event: AuditEvent
    match: Match | None
    again: bool = False  # it had been judged before: evidence came late


class _Traits(NamedTuple):
    """What a rule says of itself, asked once: asking costs too much for each class of events."""

    flags: frozenset[str] | None
    targeted: bool
    forgiving: bool

    @staticmethod
    def of(rule: Rule) -> _Traits:
        """Ask a rule."""
        flags = rule.flags if isinstance(rule, Flagged) else None
        return _Traits(flags, isinstance(rule, Targeted), isinstance(rule, Forgiving))


class Concern:
    """What there is to do with a class of events."""

    __slots__ = ("anywhere", "counter", "explained", "judged", "matched", "recorders", "rules")

    def __init__(
        self,
        rules: list[tuple[tuple[Rule, RollUp], _Traits]],
        recorders: list[Recorder],
        counter: Counter,
        *,
        matched: bool,
        judged: bool,
    ) -> None:
        self.rules = [pair for pair, _ in rules]  # whom it concerns
        self.anywhere = [pair for pair, its in rules if not its.targeted]  # whatever its target
        self.explained = [pair for pair, its in rules if not (its.targeted or its.forgiving)]  # if that is what it is
        self.recorders = recorders
        self.counter = counter
        self.matched = matched  # whether it is held against the caller map
        self.judged = judged  # whether that match is the event's verdict


class Detector:
    """Rules, their roll-ups, and the time they have seen."""

    def __init__(
        self,
        declarations: Declarations,
        settings: Mapping[str, Settings],
        limit: int,
        account: Account,
        *,
        proxy_expected: bool,
        given: Surroundings = NOWHERE,
        silences: Silences = UNSILENCED,
    ) -> None:
        """Run the rules that are not off, each with at most `limit` keys of memory."""
        self._declarations = declarations
        self._account = account
        self._proxy_expected = proxy_expected
        self._rates = Rates(limit)
        self.elsewhere: Callable[[], Iterable[Keyed[Any]]] = tuple  # memory that others keep and write, for KMW-046
        self._rules = [
            (rule, RollUp(rule.meta, chosen, declarations, limit))
            for rule, chosen in build(settings, limit, declarations, given)
        ]
        shared = [one for rule, _ in self._rules if isinstance(rule, Sharing) for one in rule.shared]
        self._recorders: list[Recorder] = list({id(one): one for one in shared}.values())
        self._traits = [_Traits.of(rule) for rule, _ in self._rules]
        self._targets = {target for rule, _ in self._rules if isinstance(rule, Targeted) for target in rule.targets}
        self._silences = silences
        self._incidents = next(((rule, rollup) for rule, rollup in self._rules if isinstance(rule, Incident)), None)
        for rule, _ in self._rules:
            if isinstance(rule, MemoryCrowded):
                rule.watched = lambda: (*self._memories(), *self.elsewhere())
        self._watchers = [(rule, rollup) for rule, rollup in self._rules if isinstance(rule, Watcher)]
        self._traffic = Traffic()
        for rule, _ in self._rules:
            if isinstance(rule, Sharer):
                rule.shares(self._traffic)
        self._host_rules = [(rule, rollup) for rule, rollup in self._rules if isinstance(rule, HostRule)]
        self._backend_rules = [(rule, rollup) for rule, rollup in self._rules if isinstance(rule, BackendRule)]
        self._concerns: dict[tuple[object, ...], Concern] = {}  # by class
        self._next_deadline: Micros | None = None
        self.beside: list[Keyed[Any]] = []  # memory of the engine that is bounded, watched and written like rules'

    def observe(
        self, event: AuditEvent, before: AuditEvent | None = None, *, again: bool = False
    ) -> tuple[Judged, list[Finding]]:
        """Judge one event; events come in the order of time.

        Args:
            event: the request, as all witnesses tell it.
            before: how it was told earlier, if it was: rules that have spoken then do not count it twice, and their
                findings take in what is new.
            again: that was in full, so that every rule has seen it: evidence came late.

        Returns:
            The event with its match, and the lines of findings it makes.
        """
        now, deadline = event.observed_time, self._next_deadline
        findings = self.advance(now) if deadline is not None and deadline <= now else []
        if now >= self._traffic.turn:
            self._traffic.fold(now)
        key = event.kind, event.outcome, event.failure, event.seen_in, event.flags
        concern = self._concerns.get(key) or self._concern(event)
        match = self._match(event) if concern.matched else None
        if before is not None:
            self._tell_again(Case(event, match, self._declarations, before if again else None), before, findings)
        else:
            concern.counter.count += 1
            if event.target.id in self._targets:
                rules = concern.rules
            else:
                rules = concern.explained if match is not None and match.explained else concern.anywhere
            if rules or concern.recorders:
                self._show(Case(event, match, self._declarations), rules, concern.recorders, findings)
        if findings:
            self.note(findings)
        return Judged(event, match if concern.judged else None, again), findings

    def early(self, event: AuditEvent) -> list[Finding]:
        """Judge one event by identity alone: more will be known of it, and `observe` will see it again."""
        now, deadline = event.observed_time, self._next_deadline
        findings = self.advance(now) if deadline is not None and deadline <= now else []
        case = self._early_case(event)
        rules = [] if case is None else [pair for pair in self._rules_for(event) if pair[0].meta.early]
        if case is not None and rules:
            self._show(case, rules, self._concerned(event).recorders, findings)
        if findings:
            self.note(findings)
        return findings

    def _tell_again(self, case: Case, before: AuditEvent, findings: list[Finding]) -> None:
        """Show what was told before to the rules that have not seen it as it is now."""
        if case.before is None:
            self._concerned(case.event).counter.count += 1  # what is told early is not counted
        else:
            self._traffic.move(before, case.event)
        shown = self._shown(before, case)
        concerned = {id(pair[0]) for event in (before, case.event) for pair in self._rules_for(event)}
        rules = [pair for pair in self._rules if id(pair[0]) in concerned]
        unseen = [pair for pair in rules if pair[0].meta.id not in shown]
        self._show(case, unseen, self._concerned(case.event).recorders, findings)
        self._amend(case, rules, findings)

    def _early_case(self, event: AuditEvent) -> Case | None:
        """None where the missing evidence may decide otherwise."""
        match = self._match(event) if self._concerned(event).matched else None
        return None if match is not None and match.explained is None else Case(event, match, self._declarations)

    def _shown(self, before: AuditEvent, case: Case) -> frozenset[str]:
        """The rules that have seen this request, and would see nothing else in it now."""
        early = self._early_case(before) if before.initiator.address_source is AddressSource.NONE else None
        early = early or Case(before, self._match(before), self._declarations)
        same = early.match is not None and case.match is not None and early.match.reason == case.match.reason
        return frozenset(
            rule.meta.id for rule, _ in self._rules_for(before) if rule.meta.early and (same or not rule.meta.matched)
        )

    def _rules_for(self, event: AuditEvent) -> list[tuple[Rule, RollUp]]:
        return self._concerned(event).rules

    def _concerned(self, event: AuditEvent) -> Concern:
        return self._concerns.get(class_of(event)) or self._concern(event)

    def _amend(self, case: Case, rules: list[tuple[Rule, RollUp]], findings: list[Finding]) -> None:
        """Tell open findings what is new of a request that they cite."""
        for _, rollup in rules:
            findings += rollup.amend(case.citation)
            self._mind(rollup)

    def _show(
        self, case: Case, rules: list[tuple[Rule, RollUp]], recorders: list[Recorder], findings: list[Finding]
    ) -> None:
        """Have a case remembered, show it to the rules it concerns, and gather what they say."""
        for recorder in recorders:
            recorder.note(case)
        for rule, rollup in rules:
            for hit in rule.observe(case):
                self._take(hit, rollup, findings)

    def _take(self, hit: Hit, rollup: RollUp, findings: list[Finding]) -> None:
        """Let a hit become what it becomes."""
        rule = rollup.meta.id
        count(self._account.hits, rule)
        hit = graver(hit, rollup.settings, self._declarations)
        silence = self._silences.of(rule, hit, time_of(hit), self._declarations) if self._silences.all else None
        if silence is not None:
            count(self._account.silenced, rule)
        shadowed = hit.match is not None and self._declarations.mode(hit.match.declaration) is Mode.SHADOW
        lines = rollup.hit(hit, Mode.SHADOW if shadowed or silence is not None else rollup.settings.mode, silence)
        if not lines:
            count(self._account.suppressed, rule)
        findings += lines
        self._mind(rollup)  # a line that is held back has its time too
        if lines:
            self._gather(lines, findings)

    def _gather(self, lines: list[Finding], findings: list[Finding]) -> None:
        """Let the incidents know of new findings."""
        if self._incidents is None:
            return
        incidents, rollup = self._incidents
        for line in lines:
            if line.rule != rollup.meta.id:
                for hit in incidents.note(line):
                    self._take(hit, rollup, findings)

    @property
    def declarations(self) -> Declarations:
        """What all is held against."""
        return self._declarations

    def host(self, case: HostCase) -> list[Finding]:
        """Show an event of the host's audit log, in the order of time, to the rules about the host."""
        now = case.event.observed_time
        findings = self.advance(now) if self._due(now) else []
        for rule, rollup in self._host_rules:
            for hit in rule.on_host(case):
                self._take(hit, rollup, findings)
        if findings:
            self.note(findings)
        return findings

    def backend(self, case: BackendCase) -> list[Finding]:
        """Show an operation of the backend, in the order of time, to the rules about it."""
        now = case.record.observed_time
        findings = self.advance(now) if self._due(now) else []
        for rule, rollup in self._backend_rules:
            for hit in rule.on_backend(case):
                self._take(hit, rollup, findings)
        if findings:
            self.note(findings)
        return findings

    def account(self, verdict: Verdict, case: BackendCase | None) -> list[Finding]:
        """Show what the account of the backend says to the rules about it."""
        findings: list[Finding] = []
        for rule, rollup in self._backend_rules:
            for hit in rule.on_account(verdict, case):
                self._take(hit, rollup, findings)
        if findings:
            self.note(findings)
        return findings

    def pulse(self, pulse: Pulse, *, last: bool = False) -> list[Finding]:
        """Show the feed itself to the rules that watch it.

        Called once for each whole minute of event time that has passed, in order with the events: after those before
        that minute, before those in it.

        Args:
            pulse: what came since the last.
            last: the input has ended within this minute, so that nothing is over by it: `flush` closes what is open.

        Returns:
            The lines of findings it makes.
        """
        findings = self.advance(pulse.now) if not last and self._due(pulse.now) else []
        for rule, rollup in self._watchers:
            for hit in rule.pulse(pulse):
                self._take(hit, rollup, findings)
        if findings:
            self.note(findings)
        if pulse.now % _TIDY_EVERY == 0:  # by event time, so that what is remembered does not depend on batches
            self._tidy(pulse.now - _LONGEST_REQUEST)
        return findings

    def _tidy(self, before: Micros) -> None:
        for rule, _ in self._rules:
            rule.forget(before)

    def advance(self, now: Micros) -> list[Finding]:
        """Close what is over at this time. The caller counts the lines (see `note`)."""
        findings = [line for _, rollup in self._rules for line in rollup.close_due(now)]
        findings.sort(key=lambda line: (line.time, line.line_uid))
        deadlines = [at for _, rollup in self._rules if (at := rollup.next_deadline()) is not None]
        self._next_deadline = min(deadlines, default=None)
        return findings

    def tick(self, now: Micros) -> list[Finding]:
        """Time has passed up to `now` without an event."""
        findings = self.advance(now) if self._due(now) else []
        self.note(findings)
        return findings

    def flush(self) -> list[Finding]:
        """Close everything: the input has ended."""
        findings: list[Finding] = []
        for rule, rollup in self._rules:
            for hit in rule.rest() if isinstance(rule, Withholder) else ():
                self._take(hit, rollup, findings)
        findings += [line for _, rollup in self._rules for line in rollup.close_all()]
        findings.sort(key=lambda line: (line.time, line.activity, line.line_uid))
        self._next_deadline = None
        self.note(findings)
        return findings

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        yield self._rates.state
        yield from self._traffic.states()
        yield from self._memories()
        for rule, _ in self._rules:
            if isinstance(rule, MemoryCrowded):
                yield from rule.states()

    def _memories(self) -> Iterable[Keyed[Any]]:
        """The memory of rules, but of the one that watches it."""
        for rule, rollup in self._rules:
            if not isinstance(rule, MemoryCrowded):
                yield from rule.states()
            yield rollup.episodes
        yield from self.beside

    def restored(self) -> None:
        """Find derived state again after `states` were restored."""
        self._traffic.restored()
        for _, rollup in self._rules:
            rollup.index()
            self._mind(rollup)

    def lacks_secret(self, event: AuditEvent) -> bool:
        """Whether nothing but a secret that the inventory does not know keeps a read from being judged.

        A decoy is told of at once, whatever else is known of it.
        """
        target = event.target.id
        if event.kind != Kind.RETRIEVAL or event.outcome != Outcome.SUCCESS or target is None:
            return False
        if self._declarations.secret(target) is not None or target in self._targets:
            return False
        found = self._match(event)
        return found.explained is None and found.reason == Reason.SECRET_UNKNOWN

    def _match(self, event: AuditEvent) -> Match:
        kind = event.kind
        found = hold(self._declarations, event, kind, address_expected_from_proxy=self._proxy_expected)
        if found.rate is not None and found.explained and kind is Kind.RETRIEVAL:
            return self._rates.hold(found, event)
        return found

    def _concern(self, event: AuditEvent) -> Concern:
        """Work out, once for each class of events, what there is to do with it."""
        of = class_of(event)
        rules = [
            (pair, its)
            for pair, its in zip(self._rules, self._traits, strict=True)
            if (its.flags is None or not its.flags.isdisjoint(of.flags))
            and pair[0].applies(of.kind, of.outcome, of.failure)
        ]
        matched = of.outcome is Outcome.SUCCESS and of.kind in _MATCHED
        counter = self._traffic.counter(of, event.event_time)
        recorders = [one for one in self._recorders if one.applies(of.kind, of.outcome, of.failure)]
        concern = Concern(rules, recorders, counter, matched=matched, judged=matched and of.kind is Kind.RETRIEVAL)
        if len(self._concerns) >= _MOST_CLASSES:
            self._concerns.clear()
        self._concerns[of] = concern
        return concern

    def _due(self, now: Micros) -> bool:
        return self._next_deadline is not None and self._next_deadline <= now

    def _mind(self, rollup: RollUp) -> None:
        deadline = rollup.next_deadline()
        if deadline is not None and (self._next_deadline is None or deadline < self._next_deadline):
            self._next_deadline = deadline

    def note(self, findings: Iterable[Finding]) -> None:
        """Count lines in the account."""
        for line in findings:
            count(self._account.lines, line.rule)
            if line.mode is Mode.SHADOW:
                count(self._account.shadow, line.rule)
