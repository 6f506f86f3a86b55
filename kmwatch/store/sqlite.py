"""The store on one machine: SQLite in WAL mode, synchronous=FULL, one worker thread, one transaction a batch.

Two fences guard it. `writer.claim` grows with each takeover, so that whoever slept through one cannot write; and
each stream's offset moves by compare-and-set, so that no record counts twice even if a claim were shared.
The files are made with mode 0600: rejected records and secrets' names are in them.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec import json

from kmwatch.core.model import Finding, Micros
from kmwatch.core.state import Row
from kmwatch.ports import (
    READS_KEPT,
    Claim,
    Commit,
    Fenced,
    Move,
    Owed,
    Pending,
    Selection,
    SinkAccount,
    Standing,
    StateError,
    StoreError,
)
from kmwatch.store import journal, ledger, operator
from kmwatch.store.schema import MIGRATIONS

T = TypeVar("T")
_finding = json.Decoder(Finding).decode
_BUSY_SECONDS = 30


class _Backlog(NamedTuple):
    lines: int = 0
    octets: int = 0


class SqliteStore:
    """See `ports.Store`. Methods run on the store's own thread, in the order they were called."""

    def __init__(
        self,
        path: Path,
        owner: str,
        clock: Callable[[], float],
        *,
        sinks: Collection[str] | None = None,
        reads_kept: int = READS_KEPT,
    ) -> None:
        """Open, or make, the database.

        Args:
            path: the database file; its folder is made if need be.
            owner: names this instance in the database, for people.
            clock: wall-clock seconds, for retention and the age of what waits.
            sinks: the sinks whose lines `backlog` counts, by default all. Lines of a sink that is configured no
                more stay where they are, but nobody is waiting for them to go.
            reads_kept: rows of the ledger of retrievals; beyond it the oldest go, counted.

        Raises:
            StoreError: it cannot be opened, is no kmwatch database, or was made by a newer release.
        """
        self._path = path
        self._owner = owner
        self._sinks = sinks
        self._clock = clock
        self._reads_kept = reads_kept
        self._claim: int | None = None
        self._standing = Standing()
        self._backlog = _Backlog()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            self._db = self._worker.submit(self._open).result()
        except (sqlite3.Error, OSError) as error:
            self._worker.shutdown()
            raise StoreError(f"cannot open the store {path}: {error}") from error
        except StoreError:
            self._worker.shutdown()
            raise

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
            self._backlog = self._count_backlog(self._db)

        await self._run(work)

    async def claim(self) -> Claim:
        """Take over; any earlier claimant is fenced from here on."""
        return await self._run(self._do_claim)

    def check(self) -> None:
        """Nobody takes over here without the group: its word, or the next commit, tells."""

    def standing(self) -> Standing:
        """As of the last claim: this store does not elect, Kafka's group does."""
        return self._standing

    async def resign(self) -> None:
        """Whoever claims has it: there is nothing to wait for."""
        self._standing = Standing(epoch=self._standing.epoch)

    async def commit(self, commit: Commit) -> None:
        """Write one batch."""
        await self._run(lambda: self._do_commit(commit))

    async def pending(self, sink: str, limit: int) -> list[Pending]:
        """The oldest lines that wait for a sink; none for an instance that is fenced."""
        return await self._run(lambda: self._do_pending(sink, limit))

    async def delivered(self, sink: str, seqs: Sequence[int]) -> None:
        """Mark lines as acknowledged."""
        await self._run(lambda: self._settle(sink, seqs, 1, None))

    async def dead(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Set lines aside as undeliverable."""
        await self._run(lambda: self._settle(sink, seqs, 2, error))

    async def failed(self, sink: str, seqs: Sequence[int], error: str) -> None:
        """Count an attempt."""
        sql = "UPDATE deliveries SET attempts = attempts + 1, error = ? WHERE sink = ? AND seq = ? AND state = 0"

        def work() -> None:
            with _Transaction(self._db):
                self._db.executemany(sql, [(error, sink, seq) for seq in seqs])

        await self._run(work)

    async def accounts(self) -> dict[str, SinkAccount]:
        """What became of the lines of each sink."""
        return await self._run(self._do_accounts)

    async def owed(self, selection: Selection, limit: int) -> list[Owed]:
        """What waits or is dead."""
        return await self._run(lambda: operator.owed(self._db, selection, limit))

    async def retry(self, selection: Selection) -> int:
        """Have dead lines wait again."""
        return await self._operate(operator.retry, selection)

    async def forget(self, selection: Selection) -> int:
        """Let go of dead lines for good."""
        return await self._operate(operator.forget, selection)

    async def _operate(self, change: Callable[[sqlite3.Connection, Selection], int], selection: Selection) -> int:
        def work() -> int:
            with _Transaction(self._db):
                changed = change(self._db, selection)
            self._backlog = self._count_backlog(self._db)
            return changed

        return await self._run(work)

    async def prune(self, before: float) -> int:
        """Forget delivered lines and rejected records that are old enough."""
        return await self._run(lambda: self._do_prune(before))

    async def prune_reads(self, before: Micros) -> int:
        """Forget retrievals from before this event time."""

        def work() -> int:
            with _Transaction(self._db):
                return ledger.prune(self._db, before)

        return await self._run(work)

    async def prune_journal(self, before: Micros) -> int:
        """Forget what is older than the last base from before this event time."""

        def work() -> int:
            with _Transaction(self._db):
                return journal.prune(self._db, before)

        return await self._run(work)

    async def close(self) -> None:
        """Finish what is queued and close."""
        await self._run(self._db.close)
        self._worker.shutdown()

    def end(self) -> None:
        """Close without a loop: for whoever only wanted the schema to be there."""
        self._worker.submit(self._db.close).result()
        self._worker.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        except sqlite3.Error as error:
            raise _failure(self._path, error) from error

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, timeout=_BUSY_SECONDS, check_same_thread=False)
        try:
            self._check(db)
            self._path.chmod(0o600)  # SQLite gives its -wal and -shm files the mode of the database
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            self._migrate(db)
            self._backlog = self._count_backlog(db)
        except BaseException:
            db.close()
            raise
        return db

    def _count_backlog(self, db: sqlite3.Connection) -> _Backlog:
        sql = "SELECT sink, count(*), total(octets) FROM deliveries WHERE state = 0 GROUP BY sink"
        waiting = [row for row in db.execute(sql) if self._sinks is None or row[0] in self._sinks]
        return _Backlog(sum(row[1] for row in waiting), int(sum(row[2] for row in waiting)))

    def _check(self, db: sqlite3.Connection) -> None:
        """Whether this database is ours to write, before anything of it is changed."""
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if (tables or version) and not {"writer", "deliveries"} <= tables:
            raise StoreError(f"{self._path} is a database of something else; name another file in store.sqlite.path")
        if version > len(MIGRATIONS):
            message = f"the store {self._path} was made by a newer release (schema {version}); run that release"
            raise StoreError(f"{message}, or start with a store of its own")

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")

    def _do_claim(self) -> Claim:
        with _Transaction(self._db):
            self._db.execute("UPDATE writer SET claim = claim + 1, owner = ?", (self._owner,))
            self._claim = int(self._db.execute("SELECT claim FROM writer").fetchone()[0])
            positions = dict(self._db.execute("SELECT stream, next FROM offsets").fetchall())
            rows = self._db.execute("SELECT kind, key, value FROM state ORDER BY rowid").fetchall()
            self._backlog = self._count_backlog(self._db)  # an earlier claimant has added and settled lines
        self._standing = Standing(active=True, epoch=self._claim, since=self._clock(), owner=self._owner)
        return Claim(self._claim, positions, [Row(*row) for row in rows])

    def _do_commit(self, commit: Commit) -> None:
        db = self._db
        stored = self._clock()
        lines = octets = 0
        with _Transaction(db):
            if db.execute("SELECT claim FROM writer").fetchone()[0] != self._claim:
                self._standing = Standing(epoch=self._standing.epoch)
                raise Fenced("another instance has taken over this store")
            for move in commit.moves:
                self._move(move)
            puts = [(row.kind, row.key, row.value) for row in commit.rows if row.value is not None]
            gone = [(row.kind, row.key) for row in commit.rows if row.value is None]
            db.executemany("DELETE FROM state WHERE kind = ? AND key = ?", gone)
            db.executemany("INSERT OR REPLACE INTO state (kind, key, value) VALUES (?, ?, ?)", puts)
            db.executemany(
                "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?)",
                [(r.stream, r.offset, r.reason, r.detail, r.value, stored) for r in commit.rejects],
            )
            ledger.write(db, commit.reads, self._reads_kept)
            if commit.entries:
                journal.write(db, commit.entries)
            for routed in commit.routed:
                size = self._put(routed.finding, routed.sinks, stored)
                served = [s for s in routed.sinks if size and (self._sinks is None or s in self._sinks)]
                lines, octets = lines + len(served), octets + size * len(served)
        self._backlog = _Backlog(self._backlog.lines + lines, self._backlog.octets + octets)

    def _move(self, move: Move) -> None:
        if move.expected is None:
            sql = "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            done = self._db.execute(sql, (move.stream, move.next, self._owner)).rowcount
        else:
            sql = "UPDATE offsets SET next = ?, owner = ? WHERE stream = ? AND next = ?"
            done = self._db.execute(sql, (move.next, self._owner, move.stream, move.expected)).rowcount
        if done != 1:
            raise Fenced(f"another instance has moved {move.stream} on from {move.expected}")

    def _put(self, finding: Finding, sinks: Sequence[str], stored: float) -> int:
        """Store a line that is new; returns its size in octets, 0 if it is not."""
        sql = (
            "INSERT INTO outbox (line_uid, finding_uid, rule, activity, mode, stored, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (line_uid) DO NOTHING"
        )
        encoded = json.encode(finding)
        body = encoded.decode()
        values = (
            finding.line_uid,
            finding.uid,
            finding.rule,
            int(finding.activity),
            finding.mode.value,
            stored,
            body,
        )
        cursor = self._db.execute(sql, values)
        if cursor.rowcount != 1:
            return 0
        seq = cursor.lastrowid
        sql = "INSERT INTO deliveries (sink, seq, octets) VALUES (?, ?, ?)"
        self._db.executemany(sql, [(sink, seq, len(encoded)) for sink in sinks])
        self._count("routed", [(sink, 1) for sink in sinks])
        return len(encoded)

    def _count(self, column: str, more: list[tuple[str, int]]) -> None:
        sql = (
            f"INSERT INTO sink_totals (sink, {column}) VALUES (?, ?)"  # noqa: S608  (a name of ours)
            f" ON CONFLICT (sink) DO UPDATE SET {column} = {column} + excluded.{column}"
        )
        self._db.executemany(sql, more)

    def _do_pending(self, sink: str, limit: int) -> list[Pending]:
        if self._db.execute("SELECT claim FROM writer").fetchone()[0] != self._claim:
            return []
        sql = (
            "SELECT seq, body, attempts FROM deliveries JOIN outbox USING (seq)"
            " WHERE sink = ? AND state = 0 ORDER BY seq LIMIT ?"
        )
        return [Pending(seq, _finding(body), attempts) for seq, body, attempts in self._db.execute(sql, (sink, limit))]

    def _settle(self, sink: str, seqs: Sequence[int], state: int, error: str | None) -> None:
        sql = (
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, error = coalesce(?, error)"
            " WHERE sink = ? AND seq = ? AND state = 0 RETURNING octets"
        )
        with _Transaction(self._db):
            found = [row for seq in seqs for row in self._db.execute(sql, (state, error, sink, seq)).fetchall()]
            self._count("delivered" if state == 1 else "dead", [(sink, len(found))])
        if self._sinks is None or sink in self._sinks:
            left, octets = self._backlog, sum(row[0] for row in found)
            self._backlog = _Backlog(max(0, left.lines - len(found)), max(0, left.octets - octets))

    def _do_accounts(self) -> dict[str, SinkAccount]:
        out: dict[str, SinkAccount] = {}
        sql = "SELECT sink, routed, delivered, dead, forgotten FROM sink_totals"
        for sink, routed, delivered, dead, forgotten in self._db.execute(sql):
            out[sink] = SinkAccount(routed, delivered, 0, dead, forgotten=forgotten)
        sql = (
            "SELECT sink, waiting, octets, stored FROM outbox JOIN (SELECT sink, count(*) AS waiting,"
            " total(octets) AS octets, min(seq) AS seq FROM deliveries WHERE state = 0 GROUP BY sink) USING (seq)"
        )
        for sink, pending, octets, oldest in self._db.execute(sql):
            account = out.setdefault(sink, SinkAccount())
            account.pending, account.pending_bytes, account.oldest_pending = pending, int(octets), oldest
        served = [account for sink, account in out.items() if self._sinks is None or sink in self._sinks]
        self._backlog = _Backlog(sum(a.pending for a in served), sum(a.pending_bytes for a in served))
        return out

    def _do_prune(self, before: float) -> int:
        done = "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = outbox.seq AND d.state <> 1)"
        with _Transaction(self._db):
            lines = self._db.execute(f"DELETE FROM outbox WHERE stored < ? AND {done}", (before,)).rowcount  # noqa: S608
            records = self._db.execute("DELETE FROM rejected WHERE stored < ?", (before,)).rowcount
        return lines + records


_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def _failure(path: Path, error: sqlite3.Error) -> StoreError | StateError:
    """Trouble that passes, or a database that is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it tells where
    if code in _DAMAGED:
        return StateError(
            f"store {path} is damaged: {error}; restore a backup, or move it away and start with --accept-gap"
        )
    return StoreError(f"store {path}: {error}; free space or check the disk, nothing is lost")


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on any exception."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")
