"""What questions have in common on the command line: where to look, for what time, and how the answer is written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TextIO

from kmwatch.config.values import parse_duration
from kmwatch.core.model import Micros
from kmwatch.wire.tabular import OUTPUTS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def config(parser: argparse.ArgumentParser) -> None:
    """`-c`."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration file")


def history(parser: argparse.ArgumentParser) -> None:
    """`--from`."""
    parser.add_argument(
        "--from", dest="paths", action="append", default=[], metavar="PATH",
        help="ask these recordings, not the configured store; a file or directory, may repeat",
    )  # fmt: skip


def period(parser: argparse.ArgumentParser, now: Callable[[], float]) -> None:
    """`--since` and `--until`, event time."""
    text = "2026-11-24, 2026-11-24T10:00:00Z, or 7d for that long ago"
    when = moment(now)
    parser.add_argument("--since", type=when, metavar="T", help=f"from this event time on: {text}")
    parser.add_argument("--until", type=when, metavar="T", help="before this event time")


def output(parser: argparse.ArgumentParser, *words: str) -> None:
    """`--output`."""
    parser.add_argument("--output", choices=words or OUTPUTS, default="table", help="the form (default: table)")


def moment(now: Callable[[], float]) -> Callable[[str], Micros]:
    """What reads a time: a date or RFC 3339 time, UTC where it names no zone, or a duration before now."""

    def read(text: str) -> Micros:
        try:
            return int(now() * 1e6) - parse_duration(text)
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no time; write 2026-11-24, 2026-11-24T10:00:00Z, or 7d for that long ago"
            ) from None
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        since = found - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds

    return read


def duration(text: str) -> Micros:
    """90s, 5m, 1h, 7d."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def network(text: str) -> str:
    """A CIDR, or an address as a network of one."""
    try:
        return str(ip_network(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no network; write 10.20.0.0/24 or 2001:db8::/64") from None


def waiting() -> TextIO | None:
    """Where to show progress, if a person waits."""
    return sys.stderr if sys.stderr.isatty() else None
