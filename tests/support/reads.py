"""Rows of the ledger: ordinary ones by number, and strategies for any."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from hypothesis import strategies as st

from kmwatch.core.ledger import More, Query, Read, row_of
from kmwatch.core.model import SECOND, Match, Nearest, Reason
from kmwatch.ports import Commit
from tests.support.audit import START, event

T = TypeVar("T")

SECRETS, USERS, PROJECTS, ENTRIES = ("s-1", "s-2", "s-3"), ("u-1", "u-2"), ("p-1", "p-2"), ("own", "lb")
ADDRESSES = ("10.0.0.1", "10.0.0.200", "10.0.1.1", "::ffff:10.0.0.9", "2001:db8::1", "2001:db8:1::1", "unknown", None)
NETWORKS = ("10.0.0.0/25", "10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "2001:db8::/48", "::/0")


def read(number: int = 1, **changes: object) -> Read:
    """Retrieval `number`: one second after the other."""
    fields: dict[str, object] = {
        "event_id": f"api:req-{number}",
        "event_time": START + number * SECOND,
        "secret_id": "s-1",
        "user_id": "u-1",
        "user_name": "alice",
        "project_id": "p-1",
        "address": "10.0.0.1",
        "agent": "curl/8",
        "explained": True,
        "declaration": "own",
        "request_id": f"req-{number}",
        "more": More(Reason.DECLARED, "alice", Nearest("own", "networks", "10.0.0.0/24", "10.9.0.1")),
        **changes,
    }
    return Read(**fields)  # type: ignore[arg-type]


def row(number: int, match: Match, secret: str) -> Read:
    """The row of an event."""
    return row_of(event(number, secret=secret), match)


def commit(*reads: Read, gone: tuple[str, ...] = ()) -> Commit:
    """A batch that made these rows, and took those back."""
    return Commit([], [], [], [], {**{one.event_id: one for one in reads}, **dict.fromkeys(gone)})


async def gathered(pages: AsyncIterator[list[T]]) -> list[T]:
    """Everything of all pages."""
    return [one async for page in pages for one in page]


def _maybe(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(values)


reads = st.builds(
    read,
    st.integers(1, 12),
    event_time=st.integers(0, 5).map(lambda n: START + n * SECOND),
    secret_id=_maybe(SECRETS),
    user_id=_maybe(USERS),
    project_id=_maybe(PROJECTS),
    address=st.sampled_from(ADDRESSES),
    explained=st.sampled_from((True, False, None)),
    declaration=_maybe(ENTRIES),
)
queries = st.builds(
    Query,
    secret=_maybe(SECRETS),
    users=st.lists(st.sampled_from(USERS), max_size=2, unique=True).map(tuple),
    project=_maybe(PROJECTS),
    network=_maybe(NETWORKS),
    declaration=_maybe(ENTRIES),
    since=st.none() | st.integers(0, 5).map(lambda n: START + n * SECOND),
    until=st.none() | st.integers(0, 5).map(lambda n: START + n * SECOND),
    request=st.none() | st.integers(1, 12).map(lambda n: f"{'api:' if n % 2 else ''}req-{n}"),
)
