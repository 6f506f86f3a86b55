"""The account as /status and the summaries show it: what became of every record and every finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct, field

from kmwatch.core.account import Account, StreamAccount
from kmwatch.core.step import Engine
from kmwatch.ports import INVENTORY, SinkAccount


class Records(Struct):
    """consumed = ignored + rejected + duplicate + joined + waiting."""

    consumed: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    duplicate: int = 0
    joined: int = 0
    waiting: int = 0

    def balances(self) -> bool:
        """Whether every record consumed is accounted for."""
        done = sum(self.ignored.values()) + sum(self.rejected.values()) + self.duplicate + self.joined
        return self.consumed == done + self.waiting


class Events(Struct):
    """made = evaluated + waiting: reads of secrets that the inventory does not know yet."""

    made: int = 0
    evaluated: int = 0
    waiting: int = 0

    def balances(self) -> bool:
        """Whether every event made is accounted for."""
        return self.made == self.evaluated + self.waiting


class Hits(Struct):
    """What rules said, by rule: each hit made lines or was taken in by an open finding (suppressed)."""

    hits: dict[str, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    suppressed: dict[str, int] = field(default_factory=dict)
    shadow: dict[str, int] = field(default_factory=dict)
    silenced: dict[str, int] = field(default_factory=dict)


class Totals(Struct):
    """The account, of records by stream and in sum, of events, and of findings by rule and by sink."""

    records: Records
    streams: dict[str, Records]
    events: Events
    findings: Hits
    sinks: dict[str, SinkAccount] = field(default_factory=dict)
    # Evaluated: events of the host, operations of the backend, lines of the inventory's journal.
    behind: dict[str, int] = field(default_factory=dict)
    balanced: bool = True


def totals(engine: Engine, sinks: Mapping[str, SinkAccount] | None = None) -> Totals:
    """The account of an engine, with the waiting counted where it waits and not derived from the rest."""
    account: Account = engine.account
    waiting: dict[str, int] = {}
    for stream in waiting_streams(engine):
        waiting[stream] = waiting.get(stream, 0) + 1
    streams = {name: _records(stream, waiting.get(name, 0)) for name, stream in sorted(account.streams.items())}
    sums = Records()
    for name, records in streams.items():
        if name != INVENTORY:  # which no source delivers
            _add(sums, records)
    parked = 0 if engine.stocked is None else engine.stocked.parking.fresh()
    events = Events(account.events_made, account.events_evaluated, parked)
    kept = (account.hits, account.lines, account.suppressed, account.shadow, account.silenced)
    hits = Hits(*(dict(sorted(counts.items())) for counts in kept))
    sinks = dict(sorted((sinks or {}).items()))
    balanced = (
        all(stream.balances() for stream in streams.values())
        and events.balances()
        and all(sink.routed == sink.delivered + sink.pending + sink.dead + sink.forgotten for sink in sinks.values())
    )
    return Totals(sums, streams, events, hits, sinks, dict(sorted(account.behind.items())), balanced)


def waiting_streams(engine: Engine) -> Iterator[str]:
    """The stream of each record that waits: for its time, for its request, or for the rest of it."""
    for item in engine.order.waiting:
        yield item[3]
    for request in engine.join.open.values():
        yield from request.streams
    yield from engine.host.gather.streams()
    yield from engine.backend.streams()
    for line in engine.join.finder.waiting():
        yield line.stream


def _records(stream: StreamAccount, waiting: int) -> Records:
    return Records(
        stream.consumed,
        dict(sorted(stream.ignored.items())),
        dict(sorted(stream.rejected.items())),
        stream.duplicate,
        stream.joined,
        waiting,
    )


def _add(sums: Records, more: Records) -> None:
    sums.consumed += more.consumed
    sums.duplicate += more.duplicate
    sums.joined += more.joined
    sums.waiting += more.waiting
    for into, source in ((sums.ignored, more.ignored), (sums.rejected, more.rejected)):
        for reason, n in source.items():
            into[reason] = into.get(reason, 0) + n
