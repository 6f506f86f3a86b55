"""The account: what the backend did against what the API asked for, each API request used up once.

The backend's word is judged when every API request that may account for it must be known: after the join has told
all it will tell (settle), and the backend's log has had its declared delay. Pools keep apart what is used up
separately:

- reads: one payload each. By secret where the store shows a key that the inventory knows, by time alone else.
- writes, deletes: of a store that shows them.
- unwraps: at most one project key for each request that needs the backend; logins: at most two.

Sources: barbican.plugin.crypto.p11_crypto (one session a call, keys cached, payloads never),
barbican.plugin.crypto.pkcs11 (initialisation logs in twice), castellan.key_manager.vault_key_manager (one request a
payload).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import Struct, field

from kmwatch.core.backend.keys import Inventory
from kmwatch.core.backend.match import Cover, Left, Point, Pool, Rank
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import SECOND, AuditEvent, Failure, Kind, Micros, Outcome, Word
from kmwatch.core.record import BackendRecord, Deed, Result

_KEEP: Final[Micros] = 10 * SECOND  # what competes is looked for this far back
_LOGIN_LATER: Final[Micros] = 5 * SECOND
_ORDER_LATER: Final[Micros] = 60 * SECOND  # a worker may come to an order only then
_GAP_MATTERS: Final[Micros] = 600 * SECOND  # where records were lost lately, more may have been
_MOST_MISSING: Final = 64
_NEVER: Micros = 2**62
_BAD_REQUEST: Final = 400
_ORDERED, _LOGINS = 3, 2  # most keys that one order stores; logins of one initialisation
POOL_OF: Final = {
    Deed.READ: "reads",
    Deed.WRITE: "writes",
    Deed.DELETE: "deletes",
    Deed.UNWRAP: "unwraps",
    Deed.LOGIN: "logins",
}
_OPEN, _FAILED = "response_missing", Failure.SERVER_ERROR
_GAPS: Final = frozenset({"audit_missing", "response_missing", "request_missing"})


class Known(Struct):
    """An API request as the account remembers it."""

    event: AuditEvent
    gap: bool = False  # the audit trail lacks some of it


class Waiting(Struct):
    """A record that cannot be judged yet."""

    record: BackendRecord
    at: Micros  # its place in time
    streams: list[str] = field(default_factory=list)


class Said(Word):
    """What the account says."""

    LEFT = "left"  # the backend did more than the API asked for
    SETTLED = "settled"  # a request took a payload, though no witness shows it
    MISSING = "missing"  # the API answered with payloads, one after the other, that the backend has not served
    REFUSED = "refused"  # the backend refused somebody


class Verdict(Struct, frozen=True):
    """One thing that the account says."""

    said: Said
    pool: str
    at: Micros
    record: BackendRecord | None = None  # of LEFT
    competing: tuple[BackendRecord, ...] = ()  # itself included
    requests: tuple[AuditEvent, ...] = ()  # what they share; of SETTLED and MISSING the one
    doubt: AuditEvent | None = None  # a request that would account for it, if we knew how it ended
    server: bool = False  # its client has served the API's own reads before
    gaps: int = 0  # requests of late whose audit records are incomplete
    crowded: bool = False  # the account had to forget requests of late


class Ledger:
    """Bounded: the least recent go first, with a count. A record that has to make room is judged at once, not lost."""

    def __init__(self, tolerance: Micros, patience: Micros, limit: int, inventory: Inventory) -> None:
        """Take the clocks' error, how long to wait for API requests, bounds, and what the inventory knows."""
        self.pools = {name: Pool(name, tolerance, limit) for name in POOL_OF.values()}
        self._patience, self._tolerance = patience + tolerance, tolerance
        self._inventory = inventory
        self._requests: Keyed[Known] = Keyed("backend/requests", Known, limit)
        self._records: Keyed[BackendRecord] = Keyed("backend/records", BackendRecord, limit)
        self._waiting: Keyed[Waiting] = Keyed("backend/waiting", Waiting, limit, lambda _, one: self._early.append(one))
        self._lines: Keyed[int] = Keyed("backend/lines", int, limit)  # connections, clients -> reads accounted for
        self._missing: Keyed[AuditEvent] = Keyed("backend/missing", AuditEvent, _MOST_MISSING)
        self._gaps: Keyed[Micros] = Keyed("backend/gaps", int, limit)  # requests with gaps -> when
        self._forgot: Keyed[Micros] = Keyed("backend/forgot", int, 1)  # when requests had to go
        self._early: list[Waiting] = []  # records that had to make room
        self._limit = limit
        self.blind = False  # the log has no record of payloads read, so that none is missing
        self._shown: Keyed[int] = Keyed("backend/shown", int, 1)  # set once the log turned out to be such
        self._kept = self._patience + _KEEP
        self._queue: list[tuple[Micros, Micros, str]] = []
        self._tidy_at: Micros = _NEVER

    # ---------------------------------------------------------------------------------- what the API asked for

    def hear(self, event: AuditEvent) -> None:
        """Take an API request as it is told at last, or told again with more evidence."""
        if any(flag in _GAPS for flag in event.flags):
            self._gaps.put(event.event_id, event.event_time)
        rank, pools = self._covers(event)
        if rank is None:
            return
        began = event.began or event.event_time
        ended = event.ended or began + self._patience
        secret = event.target.id if event.target.type == "secret" else None
        keyed = secret is not None and self._inventory.is_keyed(secret)
        self._requests.put(event.event_id, Known(event))
        for name, capacity in pools:
            until = ended + _ORDER_LATER if event.kind is Kind.ORDER_CREATE and event.ended else ended
            of = rank if name in ("reads", "writes", "deletes") else min(rank, Rank.MAYBE)
            about = secret if name in ("reads", "deletes") else None
            keys = keyed and about is not None
            self.pools[name].open(Cover(event.event_id, began, until, Rank(of), capacity, about, keys))
            self._tidy_at = min(self._tidy_at, (until // SECOND + 1) * SECOND + self._kept)
            if self.pools[name].is_crowded:
                self.pools[name].is_crowded = False
                self._forgot.put("", max(event.observed_time, self._forgot.get("") or 0))

    def _covers(self, event: AuditEvent) -> tuple[Rank | None, list[tuple[str, int]]]:
        """How surely a request reached the backend, and what it accounts for there."""
        kind, outcome, failure = event.kind, event.outcome, event.failure
        session = [("unwraps", 1), ("logins", _LOGINS)]
        lost = outcome is Outcome.UNKNOWN or failure is _FAILED
        if kind in (Kind.RETRIEVAL, Kind.METADATA_READ) or "unrouted_success" in event.flags:
            rank = self._read_rank(event, lost=lost)
            return rank, [("reads", 1), *session]
        if kind in (Kind.CREATE, Kind.PAYLOAD_WRITE, Kind.ORDER_CREATE) and (lost or outcome is Outcome.SUCCESS):
            most = _ORDERED if kind is Kind.ORDER_CREATE else 1
            return Rank.MAYBE if lost else Rank.SURE, [("writes", most), *session]
        if kind is Kind.DELETE and (lost or outcome is Outcome.SUCCESS):
            return Rank.MAYBE if lost else Rank.SURE, [("deletes", 1)]
        return None, []

    def _read_rank(self, event: AuditEvent, *, lost: bool) -> Rank | None:
        """A read of a secret that another plugin keeps, or one that was refused, is no excuse for anybody."""
        if event.target.id and self._inventory.is_elsewhere(event.target.id):
            return None
        unknown = "accept_unknown" in event.flags or "unrouted_success" in event.flags
        if event.kind is Kind.RETRIEVAL and event.outcome is Outcome.SUCCESS:
            return Rank.SURE
        if lost:
            concerned = event.kind is Kind.RETRIEVAL or unknown or event.status is None
            failed = event.failure is _FAILED
            return (Rank.FAILED if failed else Rank.DOUBT) if concerned else None
        if event.outcome is Outcome.SUCCESS:
            return Rank.MAYBE if unknown else None
        return Rank.MAYBE if event.status == _BAD_REQUEST else None  # decrypted, and then no form to answer in

    # ---------------------------------------------------------------------------------- what the backend did

    def add(self, record: BackendRecord, streams: list[str], now: Micros) -> None:
        """Take an operation; it waits until all API requests that may account for it are told."""
        if record.blind and self._shown.get("") is None:
            self._shown.put("", 1)
        self._waiting.put(record.event_id, Waiting(record, now, streams))
        heapq.heappush(self._queue, self._turn(record, now))
        if len(self._queue) > 2 * self._limit:
            self._line_up()

    @property
    def is_crowded(self) -> bool:
        """Whether records have had to make room, and are to be judged now."""
        return bool(self._early)

    @property
    def next(self) -> Micros:
        """Nothing is due before this."""
        return min(self._queue[0][0] if self._queue else _NEVER, self._tidy_at)

    def due(self, now: Micros) -> Iterator[tuple[list[str], Verdict | None]]:
        """Judge what time has come for, in the order of time, however far that has jumped.

        Yields:
            The streams of the records that are settled by that, and what is to be said.
        """
        while self._early:
            early = self._early.pop(0)
            yield early.streams, self._judge(early.record)
        while self.next <= now:
            if self._queue and self._queue[0][0] <= self._tidy_at:
                waiting = self._waiting.pop(heapq.heappop(self._queue)[2])
                if waiting is not None:
                    yield waiting.streams, self._judge(waiting.record)
            else:
                for verdict in self._tidy():
                    yield [], verdict

    def end(self) -> Micros:
        """When all that is at hand now is due: the input has ended."""
        latest = [turn[0] for turn in self._queue]
        latest += [cover.ended + self._kept for pool in self.pools.values() for _, cover in pool.covers.items()]
        return max(latest, default=0) + SECOND

    def _line_up(self) -> None:
        self._queue = [self._turn(waiting.record, waiting.at) for _, waiting in self._waiting.items()]
        heapq.heapify(self._queue)

    def _turn(self, record: BackendRecord, at: Micros) -> tuple[Micros, Micros, str]:
        later = _LOGIN_LATER if record.deed is Deed.LOGIN else 0  # by then its connection has shown what it is for
        return max(at, record.observed_time) + self._patience + later, record.observed_time, record.event_id

    def _tidy(self) -> Iterator[Verdict]:
        """Say what is certain of requests that no record can concern any more; in steps of a whole second."""
        before = self._tidy_at - self._kept
        for name, pool in self.pools.items():
            if name == "reads":
                yield from self._retire_reads(pool, before)
            else:
                pool.retire(before)
        self._requests.forget_while(lambda known: (known.event.ended or known.event.event_time) < before - _ORDER_LATER)
        self._records.forget_while(lambda record: record.observed_time < before)
        self._gaps.forget_while(lambda at: at < before - _GAP_MATTERS)
        self._plan()

    def _plan(self) -> None:
        """When requests that are at hand become old."""
        ends = [cover.ended for pool in self.pools.values() for _, cover in pool.covers.items()]
        self._tidy_at = (min(ends) // SECOND + 1) * SECOND + self._kept if ends else _NEVER

    def _judge(self, record: BackendRecord) -> Verdict | None:
        name = POOL_OF.get(record.deed)
        if record.result is Result.REFUSED:
            return self._refused(record)
        if name is None or record.result is not Result.OK:
            return None
        pool, secret = self.pools[name], self._inventory.secret_at(record)
        line = _line(record)
        unknown = name in ("reads", "logins") and line is not None and self._lines.get(line) is None
        if unknown and name == "logins":
            return self._left(name, record, Left(record.event_id, (), ()))
        point = Point(record.event_id, record.observed_time, secret, sure_only=unknown)
        self._records.put(record.event_id, record)
        left = pool.place(point)
        if left is None:
            self._learn(record, pool, point)
            return None
        return self._left(name, record, left)

    def _learn(self, record: BackendRecord, pool: Pool, point: Point) -> None:
        """A connection, and a client, for which the Key Manager's own requests account are the Key Manager's."""
        cover = pool.covers.get(point.cover or "")
        if cover is None or cover.rank is not Rank.SURE:
            return
        for key in filter(None, (_line(record), _who(record))) if record.deed is not Deed.LOGIN else ():
            self._lines.put(key, (self._lines.get(key) or 0) + 1)

    def _refused(self, record: BackendRecord) -> Verdict:
        """A refusal within an API request that failed for it is that request's own."""
        point = Point(record.event_id, record.observed_time, self._inventory.secret_at(record))
        pool = self.pools["reads"]
        failed = [cover for cover in pool.holding(point) if cover.rank is Rank.FAILED and not cover.points]
        if failed:
            pool.use(point, min(failed, key=lambda cover: (cover.ended, cover.id)))
        requests = tuple(known.event for c in failed if (known := self._requests.get(c.id)) is not None)
        server = self._lines.get(_who(record)) is not None
        return Verdict(Said.REFUSED, "", record.observed_time, record, (record,), requests, server=server)

    def _left(self, name: str, record: BackendRecord, left: Left) -> Verdict:
        competing = tuple(found for key in left.points if (found := self._records.get(key)) is not None)
        requests = tuple(known.event for key in left.covers if (known := self._requests.get(key)) is not None)
        doubt = self._requests.get(left.doubt) if left.doubt is not None else None
        return Verdict(
            Said.LEFT,
            name,
            record.observed_time,
            record,
            competing or (record,),
            requests,
            None if doubt is None else doubt.event,
            self._lines.get(_who(record)) is not None,
            sum(1 for _, at in self._gaps.items() if at <= record.observed_time + self._tolerance),
            (self._forgot.get("") or 0) + _GAP_MATTERS > record.observed_time,
        )

    def _retire_reads(self, pool: Pool, before: Micros) -> list[Verdict]:
        ambiguous = {
            key
            for key, cover in pool.covers.items()
            if cover.ended < before and cover.rank is Rank.MAYBE and cover.points and pool.is_ambiguous(cover)
        }
        said = []
        for cover in pool.retire(before):
            known = self._requests.get(cover.id)
            if known is None:
                continue
            event = known.event
            if (
                cover.points
                and cover.rank is Rank.MAYBE
                and event.outcome is Outcome.SUCCESS
                and cover.id not in ambiguous
            ):
                said.append(Verdict(Said.SETTLED, "reads", cover.ended, requests=(event,)))
            elif cover.points and len(self._missing):
                for key, _ in list(self._missing.items()):
                    self._missing.pop(key)
            elif self.blind or self._shown.get("") is not None:
                continue
            elif not cover.points and cover.rank is Rank.SURE and event.kind is Kind.RETRIEVAL:
                self._missing.put(event.event_id, event)
                lacking = tuple(event for _, event in self._missing.items())
                said.append(Verdict(Said.MISSING, "reads", cover.ended, requests=lacking))
        return said

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        for pool in self.pools.values():
            yield from pool.states()
        yield from (self._requests, self._records, self._waiting, self._lines, self._missing, self._gaps)
        yield from (self._forgot, self._shown)

    def streams(self) -> list[str]:
        """The stream of each record that waits."""
        return [stream for _, waiting in self._waiting.items() for stream in waiting.streams]

    def restored(self) -> None:
        """Find derived state again."""
        self._line_up()
        for pool in self.pools.values():
            pool.index()
        self._plan()


def _line(record: BackendRecord) -> str | None:
    """A client's connection to a store; an HSM's sessions are too many and too short to be known again."""
    return None if record.mount is None or record.connection is None else record.connection


def _who(record: BackendRecord) -> str:
    """A client as the log shows it."""
    return f"client {record.name} {record.role} {record.host} {record.address}"
