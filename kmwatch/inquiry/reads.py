"""`kmwatch reads`: who read this secret, what did this caller read. For blast radius and for rotation lists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from typing import TextIO

from kmwatch.config.load import Loaded
from kmwatch.core.declaration import Declarations
from kmwatch.core.ledger import Extent, Query, Read
from kmwatch.inquiry import asking
from kmwatch.inquiry.history import opened
from kmwatch.wire.event import iso
from kmwatch.wire.tabular import Output, Row, write

FIELDS = (
    "event_time", "secret_id", "user_id", "user_name", "project_id", "address", "agent", "explained", "declaration",
    "request_id", "event_id", "reason", "address_source", "secret_name",
)  # fmt: skip
_SHOWN = {
    "event_time": "TIME",
    "secret_id": "SECRET",
    "secret_name": "NAME",
    "user": "USER",
    "project_id": "PROJECT",
    "address": "ADDRESS",
    "verdict": "VERDICT",
    "declaration": "DECLARATION",
    "request_id": "REQUEST",
}


async def reads(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
    """Answer the question of a command line.

    Raises:
        SourceError, StoreError: what is asked cannot be read.
    """
    declarations = loaded.declarations
    query = Query(
        given.secret, _users(declarations, given.user), _project(declarations, given.project), given.network,
        given.declaration, given.since, given.until,
    )  # fmt: skip
    async with opened(loaded, given.paths, progress=asking.waiting()) as asked:
        count = await write(out, _rows(asked.reads(query), declarations, given.output), given.output, FIELDS, _SHOWN)
        extent = await asked.extent()
    if given.output == "table":
        sys.stderr.write(f"{count} retrieval{'' if count == 1 else 's'}; {reach(extent)}\n")


def reach(extent: Extent) -> str:
    """How far back an answer reaches: what is not in the ledger may still have happened before."""
    if extent.since is None:
        return "the ledger is empty"
    gone = f", {extent.evicted} older ones let go for ledger.rows" if extent.evicted else ""
    return f"the ledger holds {extent.rows} since {iso(extent.since)[:19]}Z{gone}"


def row(read: Read, declarations: Declarations) -> Row:
    """A row as users script against it; the inventory adds the name that the secret has now."""
    secret = None if read.secret_id is None else declarations.secret(read.secret_id)
    return {
        "event_time": iso(read.event_time),
        "secret_id": read.secret_id,
        "user_id": read.user_id,
        "user_name": read.user_name,
        "project_id": read.project_id,
        "address": read.address,
        "agent": read.agent,
        "explained": read.explained,
        "declaration": read.declaration,
        "request_id": read.request_id,
        "event_id": read.event_id,
        "reason": read.more.reason,
        "address_source": read.more.address_source,
        "secret_name": None if secret is None else secret.name,
    }


async def _rows(
    pages: AsyncIterator[list[Read]], declarations: Declarations, output: Output
) -> AsyncIterator[list[Row]]:
    async for page in pages:
        rows = [row(read, declarations) for read in page]
        yield rows if output != "table" else [_told(one, read) for one, read in zip(rows, page, strict=True)]


def _told(row: Row, read: Read) -> Row:
    """A row with what a person reads instead: seconds, a name where there is one, the verdict in a word."""
    verdict = read.more.reason if read.explained is not True else "explained"
    time = f"{iso(read.event_time)[:19]}Z"
    return {**row, "event_time": time, "user": read.user_name or read.user_id, "verdict": verdict}


def _users(declarations: Declarations, given: str | None) -> tuple[str, ...]:
    """The ids that are meant: of a name that the identities know, all users who bear it."""
    if given is None:
        return ()
    named = () if declarations.directory.knows_user(given) else declarations.directory.user_ids(given)
    return named or (given,)


def _project(declarations: Declarations, given: str | None) -> str | None:
    directory = declarations.directory
    if given is None or directory.knows_project(given):
        return given
    named = directory.project_ids(given)
    return named[0] if len(named) == 1 else given
