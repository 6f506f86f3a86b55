"""kmwatch with a trap: at a named point, on the n-th pass, the process kills or stops itself.

`python -m tests.support.crashing_main run -c ...` is `kmwatch run -c ...` with the methods around which a crash
matters wrapped from outside; the production code knows nothing of it. The environment says what to do:

    KMWATCH_TRAP       "<point>|<passes>|KILL" or "...|STOP" (SIGSTOP to itself); nothing is armed without it
    KMWATCH_TRAP_LOG   a file that gets the point's name just before
    KMWATCH_BATCH      the most records of one read, so that there are many transactions
    KMWATCH_PACE       seconds to sleep before each read, so that there is time to kill it
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition

from kmwatch.cli import main
from kmwatch.core.model import Finding, Micros
from kmwatch.ports import Batch, Begun, Claim, Commit
from kmwatch.sinks.file import FileSink
from kmwatch.sources.kafka import KafkaSource
from kmwatch.store.sqlite import SqliteStore

IN_CALLBACK = "in the assignment callback"
IN_CLAIM = "inside the transaction of the claim"
BEFORE_SEEK = "after the claim, before the seek"
AFTER_SEEK = "after the seek"
BEFORE = "before the transaction"
INSIDE = "inside the transaction, before COMMIT"
AFTER = "after COMMIT, before the Kafka commit"
OPEN_JOINS = "with open joins, after COMMIT"
ACKNOWLEDGED = "after a sink's acknowledgement, before the outbox mark"
IN_MARK = "inside the outbox mark, before COMMIT"
POINTS = (
    OPEN_JOINS,
    ACKNOWLEDGED,
    INSIDE,
    AFTER,
    BEFORE,
    IN_MARK,
    IN_CLAIM,
    BEFORE_SEEK,
    AFTER_SEEK,
    IN_CALLBACK,
)
OFTEN = (OPEN_JOINS, INSIDE, AFTER, BEFORE)  # once a batch; the others once a life, or as alerts come


@dataclass
class Trap:
    """What is armed, and how many passes are left."""

    point: str = ""
    passes: int = 0
    action: signal.Signals = signal.SIGKILL
    log: str = os.devnull

    def passed(self, point: str) -> None:
        """Say that the process is at a point."""
        if point != self.point:
            return
        self.passes -= 1
        if self.passes == 0:
            with open(self.log, "a") as log:  # noqa: PTH123  (a kill loses nothing of the page cache)
                log.write(f"{point}\n")
            # To this very thread: a signal to the process would let it run on until another thread has taken it.
            signal.pthread_kill(threading.get_ident(), self.action)


def _trap() -> Trap:
    given = os.environ.get("KMWATCH_TRAP")
    if not given:
        return Trap()
    point, passes, action = given.split("|")
    return Trap(point, int(passes), signal.Signals[f"SIG{action}"], os.environ.get("KMWATCH_TRAP_LOG", os.devnull))


def _wrap_store(trap: Trap) -> None:
    claim, commit, settle = SqliteStore._do_claim, SqliteStore._do_commit, SqliteStore._settle

    def before_commit(store: SqliteStore, point: str) -> Callable[[str], None]:
        def traced(statement: str) -> None:
            if statement == "COMMIT":
                store._db.set_trace_callback(None)
                trap.passed(point)

        return traced

    def do_claim(self: SqliteStore) -> Claim:
        self._db.set_trace_callback(before_commit(self, IN_CLAIM))
        return claim(self)

    def do_commit(self: SqliteStore, changes: Commit) -> None:
        trap.passed(BEFORE)
        self._db.set_trace_callback(before_commit(self, INSIDE))
        commit(self, changes)
        if any(row.kind == "open" and row.value is not None for row in changes.rows):
            trap.passed(OPEN_JOINS)

    def do_settle(self: SqliteStore, sink: str, seqs: Sequence[int], state: int, error: str | None) -> None:
        self._db.set_trace_callback(before_commit(self, IN_MARK))
        settle(self, sink, seqs, state, error)

    _replace(SqliteStore, _do_claim=do_claim, _do_commit=do_commit, _settle=do_settle)


def _wrap_source(trap: Trap, pace: float) -> None:
    changed, seek = KafkaSource.changed, KafkaSource.seek
    read, committed = KafkaSource.read, KafkaSource.committed

    def on_change(self: KafkaSource, assigned: Iterable[TopicPartition]) -> None:
        parts = list(assigned)
        changed(self, parts)
        if parts:
            trap.passed(IN_CALLBACK)

    async def on_seek(self: KafkaSource, positions: Mapping[str, int]) -> Begun:
        trap.passed(BEFORE_SEEK)
        begun = await seek(self, positions)
        trap.passed(AFTER_SEEK)
        return begun

    async def on_read(self: KafkaSource, progress: Mapping[str, Micros | None]) -> Batch:
        await asyncio.sleep(pace)
        return await read(self, progress)

    async def on_committed(self: KafkaSource, positions: Mapping[str, int]) -> None:
        trap.passed(AFTER)
        await committed(self, positions)

    _replace(KafkaSource, changed=on_change, seek=on_seek, read=on_read, committed=on_committed)


def _wrap_sink(trap: Trap) -> None:
    send = FileSink.send

    async def on_send(self: FileSink, findings: Sequence[Finding]) -> None:
        await send(self, findings)
        trap.passed(ACKNOWLEDGED)

    _replace(FileSink, send=on_send)


def _limit_batches(most: int) -> None:
    make = KafkaSource.__init__

    def init(self: KafkaSource, **arguments: object) -> None:
        make(self, **{**arguments, "max_records": most})  # type: ignore[arg-type]

    _replace(KafkaSource, __init__=init)


def _replace(owner: type, **methods: object) -> None:
    for name, method in methods.items():
        assert hasattr(owner, name)
        setattr(owner, name, method)


if __name__ == "__main__":
    armed = _trap()
    _wrap_store(armed)
    _wrap_source(armed, float(os.environ.get("KMWATCH_PACE", "0")))
    _wrap_sink(armed)
    if batch := os.environ.get("KMWATCH_BATCH"):
        _limit_batches(int(batch))
    sys.exit(main())
