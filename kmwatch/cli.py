"""The command line. Exit codes: 0 done, 1 the input or configuration is wrong, 2 usage, 3 a runtime failure."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from kmwatch import __version__, health
from kmwatch.clock import SystemClock
from kmwatch.config.load import Loaded, load
from kmwatch.config.problems import ConfigurationError, Problem
from kmwatch.inquiry import commands as inquiry
from kmwatch.learn import commands as mapping
from kmwatch.learn import stocktaking
from kmwatch.ports import (
    PositionError,
    Selection,
    SinkError,
    SourceError,
    StateError,
    StoreError,
    TransientError,
    UndeliveredError,
)
from kmwatch.storecli import add_store_commands
from kmwatch.wire.escape import visible

OK, WRONG, USAGE, FAILED = 0, 1, 2, 3
_EXPECTED = (SourceError, StoreError, StateError, UndeliveredError, SinkError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line, by default the process's.

    Returns:
        The exit code.
    """
    given = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = given.command
    try:
        return command(given)
    except KeyboardInterrupt:
        return FAILED
    except Exception as error:  # noqa: BLE001  (the boundary of the process)
        return _failed(error, given.name)


def _failed(error: Exception, command: str) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, ConfigurationError):
        _tell(error.problems)
        return WRONG
    if isinstance(error, BrokenPipeError):  # whoever read along has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if not isinstance(error, _EXPECTED):
        traceback.print_exception(error)
        error = RuntimeError("this is a fault of kmwatch; please report it with the lines above")
    sys.stderr.write(f"kmwatch: {visible(str(error))}\n")
    if isinstance(error, SinkError):
        return FAILED if isinstance(error, TransientError) else WRONG
    at_fault = isinstance(error, SourceError) and not isinstance(error, PositionError)
    return WRONG if at_fault and command != "run" else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kmwatch", description="Watches who reads the secrets of an OpenStack Key Manager."
    )
    parser.add_argument("--version", action="version", version=f"kmwatch {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, dest="name", metavar="COMMAND")

    run = commands.add_parser("run", help="the daemon", description="Run the daemon until SIGTERM or SIGINT.")
    _config(run)
    run.add_argument(
        "--accept-gap",
        action="store_true",
        help="go on where records are missing, instead of refusing to start",
    )
    run.set_defaults(command=_run)

    demo = commands.add_parser(
        "demo",
        help="the bundled recording of a real Key Manager through the real pipeline; needs no set-up",
        description="Run the bundled recording of a real Key Manager through the real pipeline.",
    )
    demo.add_argument("--dir", type=Path, metavar="DIR", help="where to leave the store and alerts (a new folder)")
    demo.add_argument("--serve", action="store_true", help="keep serving /metrics and /status until interrupted")
    demo.set_defaults(command=_demo)

    check = commands.add_parser("check", help="validate configuration and caller map; every error at once")
    _config(check)
    check.add_argument(
        "--from", dest="paths", action="append", default=[], metavar="PATH",
        help="history: tell too what of the caller map it never used; may repeat",
    )  # fmt: skip
    check.set_defaults(command=_check)

    replay = commands.add_parser(
        "replay",
        help="the production path over recorded input, to its end; nothing goes to the configured sinks",
    )
    _config(replay)
    replay.add_argument(
        "--from", dest="paths", action="append", default=[], metavar="PATH",
        help="read this file or directory instead of the configured sources; may repeat",
    )  # fmt: skip
    for name, text in (
        ("events", "one JSON line for each API request"),
        ("alerts", "one OCSF JSON line for each transition of a finding"),
        ("summary", "the account of records and findings, as JSON"),
    ):
        replay.add_argument(f"--{name}", type=Path, metavar="OUT", help=f"write {text} (- is standard output)")
    replay.add_argument(
        "--against", type=Path, metavar="FILE",
        help="replay under this configuration as well, and show the findings of both side by side",
    )  # fmt: skip
    replay.set_defaults(command=_replay)
    health.options(commands.add_parser("health", help=health.HELP))
    _outbox_parser(commands)
    add_store_commands(commands)
    mapping.add(commands)
    stocktaking.add(commands)
    inquiry.add(commands)
    return parser


def _outbox_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    outbox = commands.add_parser("outbox", help="what is pending or dead for each sink, and why; send it again")
    _config(outbox)
    outbox.add_argument(
        "action",
        nargs="?",
        choices=("list", "retry", "drop"),
        default="list",
        help="list (default); retry: send dead lines again; drop: let go of dead lines for good",
    )
    outbox.add_argument("--sink", metavar="NAME", help="this sink only")
    outbox.add_argument("--line", action="append", default=[], metavar="ID", help="this line only; may repeat")
    outbox.add_argument("--limit", type=int, default=1000, metavar="N", help="most rows of a list (1000)")
    outbox.add_argument("--output", choices=("table", "json", "csv"), default="table", help="form of the list")
    outbox.add_argument("--confirm", metavar="WORD", help="drop needs the word lose-them here")
    outbox.set_defaults(command=_outbox)

    sink = commands.add_parser("sink", help="test: one marked finding through a sink; tells what the receiver said")
    _config(sink)
    sink.add_argument("action", choices=("test",), help="what to do")
    sink.add_argument("sink", metavar="NAME", help="the sink's name")
    sink.set_defaults(command=_sink)


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration file")


def _run(given: argparse.Namespace) -> int:
    from kmwatch.app import App  # noqa: PLC0415  (what `check` needs should load fast)
    from kmwatch.telemetry.logs import configure  # noqa: PLC0415

    def reload() -> Loaded:
        return load(given.config, os.environ, today=_today())

    loaded = reload()
    _tell(loaded.problems)
    configure(loaded.settings.log.level, loaded.settings.log.format)

    async def go() -> None:
        await App(loaded, SystemClock(), accept_gap=given.accept_gap, reload=reload).run()

    asyncio.run(go())
    return OK


def _demo(given: argparse.Namespace) -> int:
    from kmwatch.demo import demo  # noqa: PLC0415

    asyncio.run(demo(given.dir, serve=given.serve))
    return OK


def _check(given: argparse.Namespace) -> int:
    from kmwatch.learn.checking import check  # noqa: PLC0415  (the other commands need none of it)

    today, progress = _today(), sys.stderr if sys.stderr.isatty() else None
    loaded = load(given.config, os.environ, today=today)
    problems = check(loaded, given.config, given.paths, today=today, progress=progress)
    _tell(problems)
    warnings = len(problems)
    more = f", {warnings} warning{'s' if warnings != 1 else ''}" if warnings else ""
    sys.stdout.write(f"{given.config}: valid{more}\n")
    return OK


def _replay(given: argparse.Namespace) -> int:
    from kmwatch.replay import replay  # noqa: PLC0415

    loaded = load(given.config, os.environ)
    _tell(loaded.problems)
    if given.against is not None:
        return _compare(given, loaded)
    progress = sys.stderr if sys.stderr.isatty() else None
    found = asyncio.run(
        replay(
            loaded,
            given.paths,
            events=given.events,
            alerts=given.alerts,
            summary=given.summary,
            progress=progress,
        )
    )
    for path in found.left_alone:
        sys.stderr.write(f"left alone: {visible(path)} (in no form that this release reads)\n")
    records, events = found.records, found.events
    lines = sum(found.findings.lines.values())
    rejected = sum(records.rejected.values())
    sys.stderr.write(
        f"{records.consumed} records: {records.joined} joined into {events.evaluated} requests, "
        f"{records.duplicate} duplicate, {sum(records.ignored.values())} ignored, {rejected} rejected; "
        f"{lines} alert lines\n"
    )
    return OK


def _compare(given: argparse.Namespace, loaded: Loaded) -> int:
    from kmwatch.compare import compare  # noqa: PLC0415

    if given.events or given.alerts or given.summary or "-" in given.paths:
        sys.stderr.write(
            "kmwatch replay: --against reads its input twice and writes a table; leave out the outputs and -\n"
        )
        return USAGE
    other = load(given.against, os.environ)
    _tell(other.problems)
    sys.stdout.write(f"{given.config} -> {given.against}\n")
    sys.stdout.write(asyncio.run(compare(loaded, other, given.paths)))
    return OK


def _outbox(given: argparse.Namespace) -> int:
    from kmwatch.outbox import CONFIRM, change, listing, render  # noqa: PLC0415

    loaded = load(given.config, os.environ)
    chosen = Selection(given.sink, frozenset(given.line) or None)
    if given.action == "list":
        rows = asyncio.run(listing(loaded, SystemClock(), chosen, given.limit))
        for line in render(rows, given.output):
            sys.stdout.write(f"{line}\n")
        if len(rows) == given.limit:
            sys.stderr.write(f"these are the first {given.limit}; --limit shows more\n")
        return OK
    if given.action == "drop" and given.confirm != CONFIRM:
        sys.stderr.write(
            f"kmwatch: drop lets go of alerts that nobody has received; if you mean it: --confirm {CONFIRM}\n"
        )
        return USAGE
    count = asyncio.run(change(loaded, SystemClock(), chosen, given.action))
    then = "wait again; a running kmwatch sends them within seconds" if given.action == "retry" else "let go of"
    sys.stdout.write(f"{count} dead line{'s' if count != 1 else ''} {then}\n")
    return OK


def _sink(given: argparse.Namespace) -> int:
    from kmwatch.outbox import try_sink  # noqa: PLC0415

    loaded = load(given.config, os.environ)
    said = asyncio.run(try_sink(loaded, SystemClock(), given.sink))
    sys.stdout.write(f"{given.sink}: {visible(said)}\n")
    return OK


def _today() -> date:
    return datetime.fromtimestamp(SystemClock().now(), UTC).date()


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems:
        sys.stderr.write(f"{visible(problem.render())}\n")  # names of secrets are chosen by whoever makes them
