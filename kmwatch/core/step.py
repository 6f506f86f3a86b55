"""The pure heart: decoded records in, judged events and findings out, all memory inside.

record -> order -> join -> match -> detect. Nothing here reads a clock or touches the world. Records are put in order
first, so that all the rest runs over one sequence: given the same records, declarations and memory it gives the same
findings, however the records were batched and in whatever order they arrived within the allowed lateness.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from kmwatch.core.account import Account, Taken, Tally, count
from kmwatch.core.backend.keys import Inventory
from kmwatch.core.backend.ledger import Ledger, Said, Verdict
from kmwatch.core.backend.watch import BackendWatch
from kmwatch.core.detect import Detector, Judged
from kmwatch.core.event import taken
from kmwatch.core.feed import Feed
from kmwatch.core.host.watch import HostWatch
from kmwatch.core.join import Join, Joined, Ready
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, SECOND, Finding, Micros, Secret, Witness
from kmwatch.core.order import Order, Waiting
from kmwatch.core.pulse import Expectation
from kmwatch.core.record import (
    BEHIND,
    AuditRecord,
    BackendRecord,
    Decoded,
    HostRecord,
    Ignored,
    Rejected,
    StockRecord,
    Witnessed,
)
from kmwatch.core.rules.backed import BackendCase
from kmwatch.core.stocked import Patience, Stocked
from kmwatch.core.watermark import Watermark

_MAY_BE_FULL = ("/told", "/lines", "/missing", "/offset", "/forgot", "/set-up", "/gaps")
_WAITING, _DUPLICATE, _UNWANTED = Joined.WAITING, Joined.DUPLICATE, Joined.UNWANTED


class BackendClock(Struct, frozen=True):
    """How the clock and the delivery of the backend's log stand to the API's own."""

    clock_error: Micros = SECOND // 10
    delay: Micros = 0  # by how much its records may come later than the API's
    shows_reads: bool = True  # whether it has a record of each payload read, as far as is known beforehand


class Output(Struct):
    """What one step made."""

    judged: list[Judged] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class Engine:
    """All parts of the core with their memory. One owner, one thread.

    `take` the records of a batch, then `advance` once, then `work` until it says that nothing is left.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (the stages, in their order)
        self,
        join: Join,
        order: Order,
        watermark: Watermark,
        detector: Detector,
        account: Account,
        witnesses: Mapping[Witness, Expectation] | None = None,
        backend: BackendClock = BackendClock(),  # noqa: B008  (frozen)
        patience: Patience | None = None,
    ) -> None:
        """Take the parts.

        `account` is the one the detector writes to, `witnesses` those that are not absent, `backend` how the clock of
        the backend's log stands to the API's, `patience` how long reads wait for an inventory; None: there is none.
        """
        self.join = join
        self.order = order
        self.watermark = watermark
        self.detector = detector
        self.account = account
        self.feed = Feed()
        self._witnesses = dict(witnesses or {})
        self._watched = not {Witness.HOST, Witness.BACKEND}.isdisjoint(self._witnesses)
        declared = detector.declarations
        self.host = HostWatch(declared.behind, join.limit)
        inventory = Inventory(declared.holdings)
        ledger = Ledger(backend.clock_error, join.settle + backend.delay + SECOND, join.limit, inventory)
        ledger.blind = not backend.shows_reads
        self.backend = BackendWatch(declared.behind, inventory, ledger, join.limit)
        detector.elsewhere = self._account_memory
        self.stocked = None if patience is None else Stocked(detector, patience, inventory.changed)
        self._due: list[Waiting] = []
        self._at = 0  # how much of what is due is done
        self._now: Micros = order.frontier
        self._late = 0
        self._out = Output()
        self._told: list[Finding] = []
        self._joined: dict[tuple[str, ...], int] = {}  # records told since `_settle`, by their streams
        self._events = 0  # told since then, for the first time

    def take(
        self, stream: str, decoded: Sequence[Decoded], stamps: Sequence[Micros | None] = ()
    ) -> list[tuple[int, Rejected]]:
        """Put decoded records of one stream in order, in the order they had there.

        Args:
            stream: where they stood.
            decoded: what they say.
            stamps: when each was written, as far as its transport tells; empty if it never does.

        Returns:
            The rejected ones with their numbers in `decoded`.
        """
        account, watermark = self.account.stream(stream), self.watermark
        account.consumed += len(decoded)
        rejected: list[tuple[int, Rejected]] = []
        records: Sequence[Witnessed] = decoded  # type: ignore[assignment]  # unless the next lines find others
        seen = watermark.seen.get(stream)
        if {*map(type, decoded)} != {AuditRecord}:
            records, reached = [], seen
            for number, record in enumerate(decoded):
                if isinstance(record, Rejected):
                    count(account.rejected, record.reason)
                    rejected.append((number, record))
                    self.feed.reject(stream, self._moment(reached, stamps[number] if stamps else None))
                elif isinstance(record, Ignored):
                    count(account.ignored, record)
                elif type(record) is StockRecord and record.base:
                    self._base(record, stream)
                else:
                    records.append(record)
                    reached = record.observed_time if reached is None else max(reached, record.observed_time)
        if records:
            first = records[0].observed_time if seen is None else seen
            watermark.seen[stream], late = self.order.put(stream, records, first, watermark.lateness)
            self._late += late
        return rejected

    def stock(self, stream: str, lines: Sequence[StockRecord]) -> None:
        """Take lines of the inventory's journal, which tell nothing of how far time has come."""
        if lines:
            self.account.stream(stream).consumed += len(lines)
        for line in lines:
            if line.base:
                self._base(line, stream)
            else:
                self.order.put(stream, (line,), line.observed_time - 1, self.watermark.lateness)

    @property
    def parked(self) -> int:
        """How many requests wait for the inventory."""
        return 0 if self.stocked is None else len(self.stocked.parking)

    def secrets_told(self) -> dict[str, Secret]:
        """The secrets that are known, and those that will be at the time of a line that waits."""
        return {} if self.stocked is None else self.stocked.told(self.order.waiting)

    def moment(self) -> Micros | None:
        """Event time now: where something that has just become known stands among records; None before any of them."""
        reached = self.watermark.value
        return None if reached is None else max(self.order.frontier + 1, reached + self.watermark.lateness)

    def tell(self, findings: Sequence[Finding]) -> None:
        """Take findings that the shell has made about itself: they leave with those of the next `work`."""
        self._told += findings
        self.detector.note(findings)

    def advance(self, at_end: Collection[str] = (), elapsed: Micros = 0) -> None:
        """Find out how far time has come, and so what is to be worked on.

        Args:
            at_end: streams with nothing more to read for now (see Watermark.advance).
            elapsed: clock time since the last record, if all streams are at their end.
        """
        self._due, self._at = self.order.release(self.watermark.advance(at_end, elapsed)), 0

    def work(self, most: int, into: Output | None = None) -> tuple[Output, bool]:
        """Work on what is due.

        Args:
            most: at most so many records.
            into: what earlier work on the same batch made, to be added to.

        Returns:
            What came of it, and whether that was all.
        """
        out = self._out = Output() if into is None else into
        out.findings += self._told
        self._told = []
        part = self._due[self._at : self._at + most]
        self._at += len(part)
        self._run(part)
        over = self._at >= len(self._due)
        if over:
            self._due, self._at = [], 0
            self._pass_time(self.order.frontier)
            out.tally.late += self._late
            self._late = 0
        self._settle_told()
        out.tally.timed_out += self.join.timed_out
        out.tally.unanswered += self.join.unanswered
        self.join.timed_out = self.join.unanswered = 0
        return out, over

    def flush(self, into: Output | None = None) -> Output:
        """The input has ended: work on all that waits, close joins and findings. `into`: as for `work`."""
        self._due, self._at = self.order.flush(), 0
        out, _ = self.work(len(self._due), into)
        now = max(self._now, self.order.frontier)
        self.join.flush(now, self._ready)
        self._behind_due(max(now + 1, self.backend.end()))
        if self.stocked is not None:
            self._judge(self.stocked.parking.flush(now))
        if now > 0:
            self._pulse(now + MINUTE, last=True)
        out.findings += self.detector.flush()
        self._settle_told()
        return out

    def _run(self, due: Sequence[Waiting]) -> None:
        """Join a slice. Written for speed: all of this loop happens for every record."""
        join, ready, watched = self.join, self._ready, self._watched
        add, due_until = join.add, join.due
        now, feed, heard = self._now, self.feed, self.feed.heard
        minute, taken = feed.next_minute, dict[Taken, int]()
        for at, tie, slot, stream, _, record in due:
            if at > now:
                if at >= minute:
                    self._settle(taken)
                    self._pulse(at)
                    minute, taken = feed.next_minute, {}
                now = at
                if at >= join.next:
                    due_until(at, ready)
                if watched and (at >= self.host.gather.next or at >= self.backend.next):
                    self._behind_due(at)
            heard[slot] = now
            if record.flags:
                feed.skew(stream, record.flags)
            if slot < BEHIND:
                what = add(tie if record.key else "", record, stream, now, ready)  # type: ignore[arg-type]
            else:
                what = self._behind(record, stream, now)
            became = stream, slot, what
            taken[became] = taken.get(became, 0) + 1
        self._now = now
        self._settle(taken)

    def _settle(self, taken: dict[Taken, int]) -> None:
        """Book what became of records, before the next pulse."""
        records, into, streams = self.feed.records, self._out.tally.taken, self.account.streams
        for key, n in taken.items():
            stream, _, became = key
            into[key] = into.get(key, 0) + n
            if became is _DUPLICATE:
                streams[stream].duplicate += n
                continue
            count(records, stream, n)
            if became is _UNWANTED:
                count(streams[stream].ignored, Ignored.UNWANTED, n)

    def _settle_told(self) -> None:
        """Book what was told of requests: sums, so that it costs each next to nothing."""
        account = self.account
        for of, n in self._joined.items():
            for stream in of:
                account.streams[stream].joined += n
        account.events_made += self._events
        account.events_evaluated += self._events
        self._joined, self._events = {}, 0

    def _pass_time(self, now: Micros) -> None:
        if now > self._now:
            if now >= self.feed.next_minute and self.feed.pulsed is not None:
                self._pulse(now)
            self._now = now
            self.join.due(now, self._ready)
            self._behind_due(now)
        self.join.crowd(self._now, self._ready)
        if self._now > 0:
            self._out.findings += self.detector.tick(self._now)

    def _pulse(self, now: Micros, *, last: bool = False) -> None:
        """Show the rules that watch the feed every whole minute up to `now`, after the events before it."""
        for minute in self.feed.due(now):
            self.join.due(minute - 1, self._ready)
            self._behind_due(minute - 1)
            if self.stocked is not None:
                self._judge(self.stocked.parking.leave_by(minute))
            self._out.findings += self.detector.pulse(self.feed.pulse(minute, self._witnesses), last=last)

    def _behind(self, record: Witnessed, stream: str, now: Micros) -> Joined:
        """Take a record of a log behind the API: it tells of no request, and joins none."""
        if isinstance(record, HostRecord) and Witness.HOST in self._witnesses:
            fresh = self.host.add(record, stream, now)
            if self.host.gather.is_crowded:
                self._behind_due(now)
            return _WAITING if fresh else _DUPLICATE
        if isinstance(record, BackendRecord) and Witness.BACKEND in self._witnesses:
            fresh, case, streams = self.backend.add(record, stream, now)
            self._operation(case, streams)
            if self.backend.is_crowded:
                self._behind_due(now)
            return _WAITING if fresh else _DUPLICATE
        if isinstance(record, StockRecord):
            self.feed.heard.pop(record.slot, None)  # no witness of requests
            if self.stocked is not None:
                self._book((stream,))
                count(self.account.behind, "inventory")
                self._judge(self.stocked.take(record, now))
                return _WAITING
        return _UNWANTED

    def _base(self, record: StockRecord, stream: str) -> None:
        """Take a part of what was known before everything else: it has no place in time."""
        if self.stocked is None:
            count(self.account.streams[stream].ignored, Ignored.UNWANTED)
        else:
            self._book((stream,))
            count(self.account.behind, "inventory")
            self.stocked.begin(record)

    def _behind_due(self, now: Micros) -> None:
        """Show what time has passed, of the logs behind the API, to the rules; the join is at this time already."""
        for case, streams in self.host.due(now):
            self._book(streams)
            count(self.account.behind, Witness.HOST)
            self._out.findings += self.detector.host(case)
        for done, verdict, streams in self.backend.due(now):
            self._operation(done, streams)
            if verdict is not None:
                self._verdict(verdict)

    def _operation(self, case: BackendCase | None, streams: Sequence[str]) -> None:
        self._book(streams)
        if case is not None:
            count(self.account.behind, Witness.BACKEND)
            self._out.findings += self.detector.backend(case)

    def _verdict(self, verdict: Verdict) -> None:
        """Say what the account of the backend says; a payload that a request took is told as a read of it."""
        case = None if verdict.record is None else self.backend.case_of(verdict.record)
        self._out.findings += self.detector.account(verdict, case)
        if verdict.said is Said.SETTLED:
            (event,) = verdict.requests
            told = Ready(taken(event), (), before=event, again=True)
            stocked = self.stocked
            self._judge([told] if stocked is None or not stocked.concerns(told) else stocked.parking.admit(told))

    def _book(self, streams: Sequence[str]) -> None:
        for stream in streams:
            self.account.streams[stream].joined += 1

    def _moment(self, reached: Micros | None, stamp: Micros | None) -> Micros:
        """About when a record that cannot be read was written: its transport's word, unless that is absurd."""
        known = max(self._now, 0) if reached is None else reached
        return known if stamp is None or abs(stamp - known) > HOUR else stamp

    def _ready(self, told: Ready) -> None:
        """Judge what the join tells, and settle the account of its records."""
        joined, streams = self._joined, told.streams
        joined[streams] = joined.get(streams, 0) + 1
        if told.early:
            self._out.findings += self.detector.early(told.event)
            return
        if self.stocked is not None and self.stocked.concerns(told):
            self.account.events_made += not told.again
            self._judge(self.stocked.parking.admit(told))
        else:
            self._observe(told)
            if not told.again:
                self._events += 1
        if self._watched and Witness.BACKEND in self._witnesses:
            self.backend.hear(told.event)

    def _judge(self, ready: Iterable[Ready]) -> None:
        """Judge requests that wait for nothing any more."""
        for told in ready:
            self._observe(told)
            self.account.events_evaluated += not told.again

    def _observe(self, told: Ready) -> None:
        """Show a request to the detector."""
        judged, findings = self.detector.observe(told.event, told.before, again=told.again)
        self._out.judged.append(judged)
        if findings:
            self._out.findings += findings

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory that is kept by key, for commit and restore."""
        yield from self.host.states()
        yield from self.backend.states()
        if self.stocked is not None:
            yield from self.stocked.states()
        yield from self.detector.states()

    def _account_memory(self) -> Iterable[Keyed[Any]]:
        """Memory of the logs behind the API that must not be full; what is known to come again is no such."""
        states = (*self.host.states(), *self.backend.states())
        return (state for state in states if not state.name.endswith(_MAY_BE_FULL))

    def restored(self) -> None:
        """Its parts have been brought to the state of the last commit."""
        self._now = self.order.frontier
        self.host.restored()
        self.backend.restored()
        if self.stocked is not None:
            self.stocked.restored()
        self.detector.restored()
