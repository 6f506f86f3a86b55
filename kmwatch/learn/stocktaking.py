"""`kmwatch inventory`: the secrets there are, what expires and what is orphaned."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from kmwatch.clock import SystemClock
from kmwatch.config.load import load
from kmwatch.config.problems import ConfigurationError, Problem
from kmwatch.config.values import parse_duration
from kmwatch.core.declaration import Declarations
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.stock import Item, State, take_stock
from kmwatch.inquiry import asking
from kmwatch.learn.journal import export
from kmwatch.wire.tabular import OUTPUTS, Row, write

_PAGE = 1000
FIELDS = (
    "secret_id", "name", "state", "why", "expires", "created", "type", "project_id", "project_name", "creator_id",
    "creator_name", "project_access", "readers", "containers", "plugin",
)  # fmt: skip
_SHOWN = {
    "state": "STATE", "why": "WHY", "secret_id": "SECRET", "name": "NAME", "type": "TYPE", "project_name": "PROJECT",
    "creator_name": "CREATOR",
}  # fmt: skip


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "inventory",
        help="reads the secret inventory; reports what expires and what is orphaned",
        description="Read the configured inventory and tell what expires, what is orphaned, what nothing declares.",
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    parser.add_argument(
        "--output", choices=OUTPUTS, default="table", help="table (default), json (one object a line) or csv"
    )
    parser.add_argument(
        "--within", type=_duration, default="30d", metavar="TIME", help="what expires within this time is told (30d)"
    )
    parser.add_argument(
        "--all", action="store_true", help="every secret; by default those without expiration, or in order, are counted"
    )
    parser.add_argument(
        "--journal", type=Path, metavar="OUT",
        help="write what the inventory told the daemon instead, for `replay --from` (- is standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--since",
        type=asking.moment(SystemClock().now),
        metavar="T",
        help="of --journal: from this event time on (default: all that is kept)",
    )
    parser.set_defaults(command=_inventory)


def _duration(text: str) -> Micros:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from None


def _inventory(given: argparse.Namespace) -> int:
    loaded = load(given.config, os.environ)
    if loaded.settings.inventory is None:
        message = "there is no inventory to read; name one under inventory"
        raise ConfigurationError([Problem(str(given.config), 1, "inventory", message)])
    if given.journal is not None:
        sys.stderr.write(f"{asyncio.run(export(loaded, given.journal, given.since))} lines\n")
        return 0
    now = int(SystemClock().now() * SECOND)
    items = take_stock(loaded.declarations.secrets(), loaded.declarations, now, given.within)
    quiet = () if given.all or given.output != "table" else (State.NO_EXPIRATION, State.IN_ORDER)
    shown = [item for item in items if item.state not in quiet]
    asyncio.run(write(sys.stdout, _pages(shown, loaded.declarations), given.output, FIELDS, _SHOWN))
    counts = Counter(item.state for item in items)
    told = ", ".join(f"{counts[state]} {state.value.replace('_', ' ')}" for state in State if counts[state])
    sys.stderr.write(f"{len(items)} secrets: {told or 'none'}\n")
    return 0


async def _pages(items: Sequence[Item], declarations: Declarations) -> AsyncIterator[list[Row]]:
    for start in range(0, len(items), _PAGE):
        yield [_row(item, declarations) for item in items[start : start + _PAGE]]


def _row(item: Item, declarations: Declarations) -> Row:
    one, directory = item.secret, declarations.directory
    creator, project = directory.user(one.creator_id), directory.project(one.project_id)
    return {
        "secret_id": one.id,
        "name": one.name,
        "state": item.state.value,
        "why": item.why,
        "expires": _moment(one.expires),
        "created": _moment(one.created),
        "type": one.type,
        "project_id": one.project_id,
        "project_name": None if project is None else project.name,
        "creator_id": one.creator_id,
        "creator_name": None if creator is None else creator.name,
        "project_access": one.project_access,
        "readers": one.readers,
        "containers": one.containers,
        "plugin": one.plugin,
    }


def _moment(time: Micros | None) -> str | None:
    if time is None:
        return None
    try:
        return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None
