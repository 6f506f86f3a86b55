"""What a store holds, read behind the daemon's back: after it ended, or beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec import msgpack

from kmwatch import assembly
from kmwatch.config.load import load
from kmwatch.core.closed import ClosedKeys
from kmwatch.core.state import Memory, Row


class Rejected(NamedTuple):
    """A record that could not be read, as it was kept."""

    stream: str
    position: int
    reason: str
    value: bytes


class Line(NamedTuple):
    """A line of the outbox."""

    line: str
    finding: str
    rule: str
    activity: int


class Analysis(NamedTuple):
    """The memory of the rules and of the join, and the account: all that a crash must not change.

    Left out is what the passing of time alone moves: watermark, frontier, and how the closed keys are packed.
    """

    rules: dict[str, dict[str, bytes]]
    open_requests: set[str]
    closed_keys: dict[bytes, int]
    account: bytes


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one look; waits for a writer."""
    with closing(sqlite3.connect(path, timeout=30)) as db:
        yield db


def rejected(path: Path) -> list[Rejected]:
    with reading(path) as db:
        return [Rejected(*row) for row in db.execute("SELECT stream, position, reason, value FROM rejected")]


def outbox(path: Path) -> list[Line]:
    """Every line ever made, in order."""
    with reading(path) as db:
        return [
            Line(*row) for row in db.execute("SELECT line_uid, finding_uid, rule, activity FROM outbox ORDER BY seq")
        ]


def offsets(path: Path) -> dict[str, int]:
    with reading(path) as db:
        return dict(db.execute("SELECT stream, next FROM offsets"))


def latest(path: Path) -> int:
    """The event time of the latest line of the outbox."""
    with reading(path) as db:
        return int(db.execute("SELECT max(json_extract(body, '$.time')) FROM outbox").fetchone()[0])


def set_offset(path: Path, stream: str, to: int) -> None:
    """Make the store older, or newer, than it is."""
    with reading(path) as db, db:
        assert db.execute("UPDATE offsets SET next = ? WHERE stream = ?", (to, stream)).rowcount == 1


def lose(path: Path) -> None:
    """Remove a store, as a lost volume would."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def watch_claims(path: Path) -> None:
    """From now on remember who claims this store; see `claimants`."""
    with reading(path) as db, db:
        db.execute("CREATE TABLE test_claims (owner TEXT)")
        db.execute(
            "CREATE TRIGGER test_claim AFTER UPDATE ON writer BEGIN INSERT INTO test_claims VALUES (NEW.owner); END"
        )


def claimants(path: Path) -> list[int]:
    """Process ids of those who have claimed the store since `watch_claims`, in order."""
    with reading(path) as db:
        return [
            int(owner.rpartition(":")[2]) for (owner,) in db.execute("SELECT owner FROM test_claims ORDER BY rowid")
        ]


def analysis(path: Path, config: Path, now: int) -> Analysis:
    """Decode the state with the production code; `now`: event time at which rules forget what is over."""
    loaded = load(config, {})
    engine = assembly.engine(loaded.settings, loaded.declarations)
    with reading(path) as db:
        rows = [Row(*row) for row in db.execute("SELECT kind, key, value FROM state ORDER BY rowid")]
    Memory(engine).restore(rows)
    for rule, _ in engine.detector._rules:
        rule.forget(now)
    rules = {
        keyed.name: {key: msgpack.encode(value) for key, value in keyed.items()} for keyed in engine.detector.states()
    }
    account = engine.account
    account.streams = dict(sorted(account.streams.items()))
    return Analysis(rules, set(engine.join.open), _closed(rows), msgpack.encode(account, order="deterministic"))


def _closed(rows: list[Row]) -> dict[bytes, int]:
    closed = ClosedKeys()
    for row in rows:
        if row.kind == "closed" and row.value is not None:
            closed.restore(row.value)
    return {**closed._old, **closed._young}
