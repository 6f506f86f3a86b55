"""The store in PostgreSQL: for several instances, of which one is active (lease.py).

Each method is one transaction, sent at once (libpq's pipeline), on one thread and one connection of its own; a batch
costs a round trip or two, whatever its size. Every transaction that changes something begins with the epoch it
belongs to. The exception is `delivered`: an acknowledgement is a fact, whoever had it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import psycopg
from msgspec import json

from kmwatch.core.model import Finding, Micros
from kmwatch.core.state import Row
from kmwatch.ports import (
    READS_KEPT,
    Claim,
    Commit,
    Fenced,
    Owed,
    Pending,
    Selection,
    SinkAccount,
    Standing,
    StateError,
    StoreError,
)
from kmwatch.store.postgres import journal, ledger, migrate, parameters, statements
from kmwatch.store.postgres.connection import FENCED, MOVED, Connection, Target, connect, text, until
from kmwatch.store.postgres.lease import Lease, Tenure

T = TypeVar("T")
_finding = json.Decoder(Finding).decode
_PATIENCE_SECONDS = 30.0  # for one answer of the server; a tenure that runs out meanwhile ends the wait sooner
_CONNECT_SECONDS = 5.0
_PORTION = 10_000
_DAMAGED = frozenset({"XX001", "XX002"})  # data or an index corrupted
_STATES = {0: "pending", 2: "dead"}
_TAKEN_OVER = "another instance has taken over this store"
LEASE_SECONDS = 6.0


class _Backlog(NamedTuple):
    lines: int = 0
    octets: int = 0


class PostgresStore:
    """See `ports.Store`. Methods run on the store's own thread, in the order they were called."""

    def __init__(
        self,
        target: Target,
        owner: str,
        clock: Callable[[], float],
        *,
        sinks: Collection[str] | None = None,
        lease: float = LEASE_SECONDS,
        reads_kept: int = READS_KEPT,
    ) -> None:
        """Connect, and bring the schema up to date if this role may.

        Args:
            target: the database.
            owner: names this instance in the database, for people.
            clock: wall-clock seconds, for retention and the age of what waits.
            sinks: the sinks whose lines `backlog` counts, by default all.
            lease: seconds after which an instance that is not heard of is replaced.
            reads_kept: rows of the ledger of retrievals; beyond it the oldest go, counted.

        Raises:
            StoreError: it cannot be reached, its schema cannot be made, or was made by a newer release.
        """
        self._target, self._owner, self._clock, self._sinks = target, owner, clock, sinks
        self._seconds, self._reads_kept = lease, reads_kept
        self._lease = Lease(target, owner, lease)
        self._backlog, self._commits = _Backlog(), 0
        self._doubtful: Commit | None = None  # sent, and the connection broke before the answer
        self._db: Connection | None = None
        self._closed = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._worker.submit(self._open).result()
        except (StoreError, psycopg.Error) as error:
            self._worker.shutdown()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot open the store {target.name}: {text(error)}") from error
        self._lease.start()

    def backlog(self) -> int:
        """How many lines wait for delivery."""
        return self._backlog.lines

    def backlog_octets(self) -> int:
        """How large they are together."""
        return self._backlog.octets

    async def serve(self, sinks: Collection[str]) -> None:
        """Count the lines of these sinks only."""

        def work() -> None:
            self._sinks = frozenset(sinks)
            self._backlog = self._count_backlog(self._connected())

        await self._run(work)

    def check(self) -> None:
        """Raise Fenced once the lease is lost, or has run out without a word from the database."""
        if self._lease.held() is None:
            raise Fenced("another instance has taken over this store, or may have: the lease was not renewed in time")

    def standing(self) -> Standing:
        """Who is active."""
        return self._lease.standing()

    async def claim(self) -> Claim:
        """Wait until this instance is the active one; any earlier claimant is fenced from here on."""
        while True:
            tenure = await self._lease.win()
            with suppress(Fenced):  # lost again while it read
                return await self._run(lambda: self._take(tenure))  # noqa: B023  (it is awaited here)

    async def resign(self) -> None:
        """Let another instance take over."""
        await self._run(self._lease.resign)

    async def commit(self, commit: Commit) -> None:
        """Write one batch."""
        await self._run(lambda: self._commit(commit))

    async def pending(self, sink: str, limit: int) -> list[Pending]:
        """The oldest lines that wait for a sink; none for an instance that is not the active one."""
        return [] if self._lease.held() is None else await self._run(lambda: self._pending(sink, limit))

    async def delivered(self, sink: str, seqs: Sequence[int]) -> None:
        """Mark lines as acknowledged."""
        await self._run(lambda: self._settle(statements.DELIVERED, sink, seqs, None, fenced=False))

    async def dead(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Set lines aside as undeliverable."""
        await self._run(lambda: self._settle(statements.DEAD, sink, seqs, error, fenced=True))

    async def failed(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Count an attempt."""
        given = {"sink": sink, "seqs": list(seqs), "error": parameters.plain(error)}
        await self._run(lambda: self._change([(statements.FAILED, given)]))

    async def accounts(self) -> dict[str, SinkAccount]:
        """What became of the lines of each sink."""
        return await self._run(self._accounts)

    async def owed(self, selection: Selection, limit: int) -> list[Owed]:
        """What waits or is dead."""
        given = {**parameters.selection(selection), "limit": limit}
        rows = await self._run(lambda: self._connected().execute(statements.OWED, given).fetchall())
        return [
            Owed(sink, _STATES[state], line, uid, rule, _finding(body).severity.name.lower(), stored, attempts, error)
            for sink, state, line, uid, rule, body, stored, attempts, error in rows
        ]

    async def retry(self, selection: Selection) -> int:
        """Have dead lines wait again."""
        return await self._run(lambda: self._operate(statements.RETRY, selection))

    async def forget(self, selection: Selection) -> int:
        """Let go of dead lines for good."""
        return await self._run(lambda: self._operate(statements.LET_GO, selection))

    async def prune(self, before: float) -> int:
        """Forget delivered lines and rejected records that are old enough; nothing, if not the active one."""
        given = {"before": before, "portion": _PORTION}
        return await self._prune((statements.PRUNE_LINES, given), (statements.PRUNE_REJECTED, given))

    async def prune_reads(self, before: Micros) -> int:
        """Forget retrievals from before this event time; nothing, if not the active one."""
        return await self._prune(ledger.prune(before, _PORTION))

    async def prune_journal(self, before: Micros) -> int:
        """Forget what is older than the last base from before this event time; nothing, if not the active one."""
        return await self._prune(journal.prune(before, _PORTION))

    async def close(self) -> None:
        """Finish what is queued, resign and close."""
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._disconnect)
        await loop.run_in_executor(self._worker, self._lease.close)
        self._worker.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, lambda: self._guarded(work))

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except psycopg.Error as error:
            if error.sqlstate in (FENCED, MOVED):
                raise Fenced(error.diag.message_primary or _TAKEN_OVER) from error
            if error.sqlstate in _DAMAGED:
                message = f"store {self._target.name} is damaged: {text(error)}; restore a backup"
                raise StateError(message) from error
            if self._db is not None and self._db.broken:
                self._disconnect()
            if isinstance(error, psycopg.errors.InsufficientPrivilege):
                hint = "the grants it needs are in docs/guides/postgres.md"
                raise StoreError(f"store {self._target.name}: {text(error)}; {hint}") from error
            message = f"store {self._target.name}: {text(error)}; check the database, nothing is lost"
            raise StoreError(message) from error

    def _open(self) -> None:
        db = connect(self._target, seconds=_CONNECT_SECONDS, lease=self._seconds)
        db.gives_up = until(_PATIENCE_SECONDS)
        try:
            migrate.ensure(db, self._target)
            self._backlog = self._count_backlog(db)
        except BaseException:
            db.close()
            raise
        self._db = db

    def _connected(self) -> Connection:
        if self._closed:
            raise StoreError("the store is closed")
        if self._db is None or self._db.closed:
            self._db = None
            self._open()
        assert self._db is not None  # noqa: S101  (_open has set it, or raised)
        self._db.gives_up = until(_PATIENCE_SECONDS)
        return self._db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(psycopg.Error):
                db.close()

    def _count_backlog(self, db: Connection) -> _Backlog:
        return self._served(db.execute(statements.BACKLOG).fetchall())

    def _served(self, rows: Sequence[tuple[Any, ...]]) -> _Backlog:
        """The sum of what waits (sink, lines, octets) for the sinks of this instance."""
        served = [row for row in rows if self._sinks is None or row[0] in self._sinks]
        return _Backlog(sum(row[1] for row in served), sum(row[2] for row in served))

    @contextmanager
    def _tenure(self) -> Iterator[tuple[Connection, Tenure]]:
        """The connection, for a transaction of the active instance; what outlasts its lease is given up."""
        self.check()
        tenure = self._lease.held()
        db = self._connected()
        if tenure is None:
            raise Fenced("the lease was not renewed in time")
        over = until(_PATIENCE_SECONDS)
        db.gives_up = lambda: over() or self._lease.held() != tenure
        try:
            yield db, tenure
        except psycopg.Error as error:
            if error.sqlstate == FENCED:
                self._lease.lose(tenure)
            elif self._lease.held() != tenure:
                raise Fenced(f"the lease ran out, and was not renewed in time: {text(error)}") from error
            raise

    def _demand(self, db: Connection, tenure: Tenure) -> int:
        """How many commits this tenure has made; raises Fenced if another has begun."""
        epoch, token, commits = db.execute(statements.WRITER).fetchall()[0]
        if (epoch, token) != (tenure.epoch, tenure.token):
            self._lease.lose(tenure)
            raise Fenced(_TAKEN_OVER)
        return int(commits)

    def _take(self, tenure: Tenure) -> Claim:
        with self._tenure() as (db, _), db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._demand(db, tenure)
            positions = dict(db.execute(statements.POSITIONS).fetchall())
            with db.cursor(binary=True) as cursor:
                rows = [
                    Row(kind, key.decode(), value) for kind, key, value in cursor.execute(statements.STATE).fetchall()
                ]
            self._backlog = self._count_backlog(db)
        self._commits, self._doubtful = 0, None
        return Claim(tenure.epoch, positions, rows)

    def _commit(self, commit: Commit) -> None:
        doubtful, self._doubtful = self._doubtful, None
        with self._tenure() as (db, tenure):
            if doubtful is commit and self._was_written(db, tenure):
                return
        rows, lines = parameters.rows(commit), parameters.lines(commit)
        given = {"rows": len(rows.kinds), "lines": len(lines.uids)}
        work = parameters.batch(commit, rows, lines, owner=self._owner, stored=self._clock())
        work += ledger.work(commit.reads, self._reads_kept)
        self._doubtful = commit
        try:
            results = self._change(work, **given)
        except (Fenced, psycopg.Error) as error:
            if isinstance(error, Fenced) or error.sqlstate is not None:
                self._doubtful = None  # the server has answered: it has not
            raise
        self._doubtful = None
        self._commits += 1
        for (statement, _), result in zip(work, results, strict=True):
            if statement is statements.PUT:
                added, left = self._served(result), self._backlog
                self._backlog = _Backlog(left.lines + added.lines, left.octets + added.octets)

    def _was_written(self, db: Connection, tenure: Tenure) -> bool:
        """Whether the commit of unknown outcome has arrived after all."""
        if self._demand(db, tenure) != self._commits + 1:
            return False
        self._commits += 1
        self._backlog = self._count_backlog(db)
        return True

    def _change(
        self, work: Sequence[tuple[str, Mapping[str, Any]]], *, rows: int = 0, lines: int = 0
    ) -> list[list[tuple[Any, ...]]]:
        """One transaction of the active instance: the fence, then the work; returns what each statement gave."""
        with self._tenure() as (db, tenure):
            fence = {"epoch": tenure.epoch, "token": tenure.token, "lease": f"{self._seconds} seconds"}
            try:
                with db.pipeline():
                    db.execute("BEGIN")
                    db.execute(statements.FENCE, {**fence, "rows": rows, "lines": lines})
                    cursors = [db.execute(statement, given) for statement, given in work]
                    db.execute("COMMIT")  # skipped by the server if anything before it failed
            except psycopg.Error:
                if not db.closed:
                    db.rollback()
                raise
            return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def _pending(self, sink: str, limit: int) -> list[Pending]:
        try:
            with self._tenure() as (db, tenure):
                given = {"sink": sink, "limit": limit, "epoch": tenure.epoch, "token": tenure.token}
                rows = db.execute(statements.PENDING, given).fetchall()
        except Fenced:
            return []
        return [Pending(seq, _finding(body), attempts) for seq, body, attempts in rows]

    def _settle(self, statement: str, sink: str, seqs: Sequence[int], error: str | None, *, fenced: bool) -> None:
        given = {"sink": sink, "seqs": list(seqs), "error": None if error is None else parameters.plain(error)}
        if fenced:
            ((lines, octets),) = self._change([(statement, given)])[0]
        else:
            ((lines, octets),) = self._connected().execute(statement, given).fetchall()
        settled, left = self._served([(sink, lines, octets)]), self._backlog
        self._backlog = _Backlog(max(0, left.lines - settled.lines), max(0, left.octets - settled.octets))

    def _operate(self, statement: str, selection: Selection) -> int:
        db = self._connected()
        ((changed,),) = db.execute(statement, parameters.selection(selection)).fetchall()
        self._backlog = self._count_backlog(db)
        return int(changed)

    def _accounts(self) -> dict[str, SinkAccount]:
        db = self._connected()
        out = {
            sink: SinkAccount(routed, delivered, 0, dead, forgotten=forgotten)
            for sink, routed, delivered, dead, forgotten in db.execute(statements.TOTALS)
        }
        for sink, pending, octets, oldest in db.execute(statements.WAITING):
            account = out.setdefault(sink, SinkAccount())
            account.pending, account.pending_bytes, account.oldest_pending = pending, octets, oldest
        self._backlog = self._served([(sink, a.pending, a.pending_bytes) for sink, a in out.items()])
        return out

    async def _prune(self, *work: tuple[str, Mapping[str, Any]]) -> int:
        try:
            return 0 if self._lease.held() is None else await self._run(lambda: sum(map(self._portions, work)))
        except Fenced:  # whoever is active now prunes
            return 0

    def _portions(self, work: tuple[str, Mapping[str, Any]]) -> int:
        total, pruned = 0, _PORTION
        while pruned == _PORTION:
            ((pruned,),) = self._change([work])[0]
            total += pruned
        return total
