"""What a store holds, table by table, whatever keeps it: for copies and checks, which read all of it.

A table that is added to one store's schema is added to the other's and here; a test holds the three together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Protocol

from msgspec import Struct, msgpack

Tuple = tuple[object, ...]  # of int, float, str, bytes and None


class Table(Struct, frozen=True):
    """A table's columns in the order of a copy, and those that give its rows an order."""

    name: str
    columns: tuple[str, ...]
    order: tuple[str, ...]
    single: bool = False  # of one row, which a new store has: a copy replaces it


# Parents before children. The order of `state` is that in which its rows were written last: a restore depends on it.
TABLES = (
    Table("offsets", ("stream", "next", "owner"), ("stream",)),
    Table("state", ("kind", "key", "value"), ("written",)),
    Table("outbox", ("seq", "line_uid", "finding_uid", "rule", "activity", "mode", "stored", "body"), ("seq",)),
    Table("deliveries", ("seq", "sink", "state", "attempts", "error", "octets"), ("seq", "sink")),
    Table("sink_totals", ("sink", "routed", "delivered", "dead", "forgotten"), ("sink",)),
    Table("rejected", ("stream", "position", "reason", "detail", "value", "stored"), ("stream", "position")),
    Table(
        "reads",
        (
            "event_id",
            "event_time",
            "secret_id",
            "user_id",
            "user_name",
            "project_id",
            "address",
            "agent",
            "explained",
            "declaration",
            "request_id",
            "more",
            "place",
        ),
        ("event_time", "event_id"),
    ),
    Table("journal", ("stream", "position", "at", "base", "value"), ("stream", "position")),
    Table("ledger", ("id", "rows", "evicted"), ("id",), single=True),
)


class InUseError(Exception):
    """A running instance has the store."""


class Archive(Protocol):
    """A store as somebody sees it who is alone with it. Everything happens within `held`, in one transaction."""

    name: str

    def held(self, *, write: bool) -> AbstractContextManager[None]:
        """Keep every instance out, and what is written whole or undone.

        Raises:
            InUseError: an instance is active.
            StoreError: it cannot be read or written.
        """

    def rows(self, table: Table) -> Iterator[Tuple]:
        """All rows, in the table's order, a portion at a time."""

    def load(self, table: Table, rows: Iterable[Tuple]) -> None:
        """Add rows to a table that is empty, in the order given; replace the row of one that is single."""

    def number(self) -> int:
        """How often it was claimed."""

    def begin_at(self, number: int) -> None:
        """Let the next claim come after this many."""

    def damage(self) -> list[str]:
        """What the database itself finds wrong with its files."""


class Digest(Struct):
    """How many rows a table has, and a hash of them all in their order."""

    rows: int
    hash: str


def digest(rows: Iterable[Tuple]) -> Digest:
    """The digest of a table's rows."""
    state, count = blake2b(digest_size=16), 0
    encode = msgpack.Encoder().encode
    for row in rows:
        state.update(encode(row))
        count += 1
    return Digest(count, state.hexdigest())
