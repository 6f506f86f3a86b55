"""The commands that ask: `reads`, `explain`, `report`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TextIO

from kmwatch.clock import SystemClock
from kmwatch.config.load import Loaded, load
from kmwatch.inquiry import asking

_Command = Callable[[Loaded, argparse.Namespace, TextIO], Awaitable[None]]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    _reads(commands.add_parser(
        "reads",
        help="who read this secret, what did this caller read: the ledger of retrievals",
        description="List retrievals of secrets, in the order of time. All that is given must hold.",
    ))  # fmt: skip
    _explain(commands.add_parser(
        "explain",
        help="one request, alert or pasted record: the verdict, the evidence, and why the Key Manager permitted it",
        description="Explain a request: by its request id or event id, by an alert that cites it (finding uid or line "
        "uid), or by a record of it. Without --from the configured store is asked.",
    ))  # fmt: skip
    _report(commands.add_parser(
        "report",
        help="one self-contained HTML page for a review: findings, callers and secrets, unexplained reads",
        description="Write one HTML page that needs no server and no network: a timeline of findings, declared callers "
        "and secret groups with what was used, every unexplained read, and secrets to review.",
    ))  # fmt: skip


def _report(parser: argparse.ArgumentParser) -> None:
    asking.config(parser)
    asking.history(parser)
    parser.add_argument("--html", type=Path, required=True, metavar="OUT", help="the page (- is standard output)")
    asking.period(parser, SystemClock().now)
    parser.add_argument(
        "--idle", type=asking.duration, default="90d", metavar="TIME",
        help="a secret that was not read for this long is not read lately (default: 90d)",
    )  # fmt: skip

    async def report(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
        from kmwatch.inquiry.report import report as answer  # noqa: PLC0415

        await answer(loaded, given, out)

    parser.set_defaults(command=_asked(report))


def _explain(parser: argparse.ArgumentParser) -> None:
    asking.config(parser)
    asking.history(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="a request id, event id, finding uid or line uid")
    parser.add_argument(
        "--record", metavar="FILE", help="lines of a log, an event or an alert, as they are (- is standard input)"
    )
    asking.output(parser, "table", "json")

    async def explain(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
        from kmwatch.inquiry.explain import explain as answer  # noqa: PLC0415

        await answer(loaded, given, out)

    def run(given: argparse.Namespace) -> int:
        if not given.ids and given.record is None:
            parser.error("name an id, or a record with --record FILE (- is standard input)")
        return _asked(explain)(given)

    parser.set_defaults(command=run)


def _reads(parser: argparse.ArgumentParser) -> None:
    asking.config(parser)
    asking.history(parser)
    for name, what in (
        ("secret", "of this secret (id)"),
        ("user", "by this user (id, or a name that the identities know)"),
        ("project", "with a token of this project (id, or a name that the identities know)"),
        ("declaration", "that this allow entry explains, or whose constraint it broke"),
    ):
        parser.add_argument(f"--{name}", metavar="ID", help=f"retrievals {what}")
    parser.add_argument("--network", type=asking.network, metavar="CIDR", help="retrievals from this network")
    asking.period(parser, SystemClock().now)
    asking.output(parser)

    async def reads(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
        from kmwatch.inquiry.reads import reads as answer  # noqa: PLC0415  (what `check` needs should load fast)

        await answer(loaded, given, out)

    parser.set_defaults(command=_asked(reads))


def _asked(command: _Command) -> Callable[[argparse.Namespace], int]:
    def run(given: argparse.Namespace) -> int:
        loaded = load(given.config, os.environ)  # its warnings are `check`'s to tell
        asyncio.run(_run(command, loaded, given))
        return 0

    return run


async def _run(command: _Command, loaded: Loaded, given: argparse.Namespace) -> None:
    await command(loaded, given, sys.stdout)
