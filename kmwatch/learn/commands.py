"""The command `learn`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from kmwatch.clock import SystemClock
from kmwatch.config.load import load
from kmwatch.core.learn.evidence import SPARSE
from kmwatch.inquiry import asking

_USAGE = 2


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    learn = commands.add_parser(
        "learn",
        help="proposes caller-map entries from history, each with its support",
        description="Propose a caller map from history, on standard output: recordings, or without --from what the "
        "configured store has kept. Nothing is applied.",
    )
    learn.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    learn.add_argument(
        "--from", dest="paths", action="append", default=[], metavar="PATH",
        help="the history: a file, directory or pattern; may repeat (default: the reads that the store has kept)",
    )  # fmt: skip
    asking.period(learn, SystemClock().now)
    learn.add_argument("--diff", action="store_true", help="hold history against the declared map instead")
    learn.add_argument(
        "--sparse",
        type=int,
        default=SPARSE,
        metavar="N",
        help=f"flag what was seen less than N times (default {SPARSE})",
    )
    learn.set_defaults(command=_learn)


def _learn(given: argparse.Namespace) -> int:
    from kmwatch.learn.learning import compare, learn  # noqa: PLC0415  (what `check` needs should load fast)

    if given.paths and (given.since, given.until) != (None, None):
        sys.stderr.write(
            "kmwatch learn: --since and --until are of what the store has kept; leave out --from, or them\n"
        )
        return _USAGE
    loaded = load(given.config, os.environ)
    work = compare if given.diff else learn
    progress = sys.stderr if sys.stderr.isatty() else None
    period = given.since, given.until
    sys.stdout.write(asyncio.run(work(loaded, given.paths, sparse=given.sparse, progress=progress, period=period)))
    return 0
