"""The pure heart: a batch of decoded records in, judged events and findings out, all memory inside.

record -> join -> order -> match -> detect. Nothing here reads a clock or touches the world; given the same records,
declarations and memory it gives the same findings, however the records were batched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec import Struct, field

from kmwatch.core.account import Account, StreamAccount, Tally, count
from kmwatch.core.detect import Detector, Judged
from kmwatch.core.join import Closed, Join, Joined
from kmwatch.core.model import AuditEvent, Finding, Micros
from kmwatch.core.order import Order
from kmwatch.core.record import AuditRecord, Decoded, Ignored, Rejected
from kmwatch.core.watermark import Watermark

_WAITING, _COMPLETE = Joined.WAITING, Joined.COMPLETE


class Output(Struct):
    """What one step made."""

    judged: list[Judged] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)  # with the record's number in the slice
    tally: Tally = field(default_factory=Tally)


class Engine:
    """All parts of the core with their memory. One owner, one thread."""

    def __init__(self, join: Join, order: Order, watermark: Watermark, detector: Detector, account: Account) -> None:
        """Take the parts; `account` is the one the detector writes to."""
        self.join = join
        self.order = order
        self.watermark = watermark
        self.detector = detector
        self.account = account

    def step(
        self,
        records: Sequence[tuple[str, Decoded]],
        at_end: Collection[str] = (),
        elapsed: Micros = 0,
    ) -> Output:
        """Take a batch and let out what it completes.

        Args:
            records: (stream, what was decoded), in the order of each stream.
            at_end: streams with nothing more to read for now (see Watermark.advance).
            elapsed: clock time since the last record, if all streams are at their end.
        """
        out = Output()
        self._take(records, out)
        watermark = self.watermark.advance(at_end, elapsed)
        self._timed_out(self.join.expire(watermark), out)
        self._evaluate(self.order.release(self._frontier(watermark)), out)
        if self.order.frontier > 0:
            out.findings += self.detector.tick(self.order.frontier)
        return out

    def flush(self) -> Output:
        """The input has ended: close joins, let out all events, close all findings."""
        out = Output()
        self._timed_out(self.join.flush(), out)
        self._evaluate(self.order.flush(), out)
        out.findings += self.detector.flush()
        return out

    def _take(self, records: Sequence[tuple[str, Decoded]], out: Output) -> None:
        """Join a slice. Written for speed: all of this loop happens for every record."""
        add, observe, put, joins = self.join.add, self.watermark.observe, self.order.put, out.tally.joins
        account, name, waiting, complete, credits_ = StreamAccount(), "", 0, 0, dict[str, int]()
        for number, (stream, record) in enumerate(records):
            if stream != name:
                account, name = self.account.stream(stream), stream
            account.consumed += 1
            if not isinstance(record, AuditRecord):
                _set_aside(record, account)
                if isinstance(record, Rejected):
                    out.rejected.append((number, record))
                continue
            late = observe(stream, record.observed_time)
            became, closed = add(record, stream, late=late)
            if became is _WAITING:
                waiting += 1
            elif became is _COMPLETE and closed is not None:
                complete += 1
                for joined in closed.streams:
                    credits_[joined] = credits_.get(joined, 0) + 1
                put(closed.event)
            else:
                self._unusual(became, closed, account)
                joins[became] = joins.get(became, 0) + 1
            if late:
                out.tally.late += 1
        self.account.events_made += complete
        for joined, n in credits_.items():
            self.account.streams[joined].joined += n
        joins[_WAITING], joins[_COMPLETE] = waiting, complete

    def _unusual(self, became: Joined, closed: Closed | None, account: StreamAccount) -> None:
        if became is Joined.DUPLICATE:
            account.duplicate += 1
        elif closed is None:
            account.joined += 1
        else:
            self._credit(closed)
            self.order.put(closed.event)

    def _timed_out(self, closed: Iterable[Closed], out: Output) -> None:
        for item in closed:
            self._credit(item)
            self.order.put(item.event)
            out.tally.timed_out += 1
            if "response_missing" in item.event.flags:
                out.tally.unanswered += 1

    def _credit(self, closed: Closed) -> None:
        self.account.events_made += 1
        streams = self.account.streams
        for stream in closed.streams:
            streams[stream].joined += 1

    def _frontier(self, watermark: Micros | None) -> Micros | None:
        if watermark is None:
            return None
        oldest = self.join.oldest()
        return watermark if oldest is None else min(watermark, oldest - 1)

    def _evaluate(self, events: list[AuditEvent], out: Output) -> None:
        observe, judge = self.detector.observe, out.judged.append
        for event in events:
            judged, findings = observe(event)
            judge(judged)
            if findings:
                out.findings += findings
        self.account.events_evaluated += len(events)


def _set_aside(record: Ignored | Rejected, account: StreamAccount) -> None:
    if isinstance(record, Rejected):
        count(account.rejected, record.reason)
    else:
        count(account.ignored, record)
