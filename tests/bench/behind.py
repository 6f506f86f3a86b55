"""What the account of reads holds in memory while one log is far ahead of the other.

`python -m tests.bench.behind [--minutes 20] [--rate 400]`: reads of the API and of the store at a rate, the store's log
ahead of the API's, then behind it, each by that many minutes; the most that is held, and the process's memory.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing import get_context

from kmwatch.core.model import MINUTE, SECOND, Micros
from kmwatch.core.record import Witnessed
from kmwatch.core.step import Engine
from tests.support.audit import balances
from tests.support.backed import KEYS, ROLE, STORED, engine, read, store

LIMIT = 50_000  # limits.open_joins
_BATCH = 500


def _api(count: int, apart: Micros) -> Iterator[Witnessed]:
    for number in range(count):
        yield from read(number, number * apart, f"s{number % 2 + 1}")


def _store(count: int, apart: Micros) -> Iterator[Witnessed]:
    for number in range(count):
        yield store(number, number * apart + SECOND // 20, path=KEYS[f"s{number % 2 + 1}"], half="response")


def _held(of: Engine) -> int:
    keyed = sum(len(state) for state in of.states() if state.name.startswith("backend/"))
    return keyed + len(of.backend.ledger._queue) + len(of.order.waiting) + len(of.join.open)


def _measure(ahead: str, count: int, apart: Micros) -> str:
    of = engine(clients=[ROLE], inventory=STORED, limit=LIMIT)
    logs = {"s": _store(count, apart), "a": _api(count, apart)}
    before, most, began, told, records = _rss(), 0, time.perf_counter(), 0, 0
    for stream in (ahead, *(other for other in logs if other != ahead)):
        while part := list(islice(logs[stream], _BATCH)):
            records += len(part)
            of.take(stream, part)
            of.advance(at_end=[stream])  # the other has said nothing yet, or nothing more
            told += _worked(of)
            most = max(most, _held(of))
    told += len(of.flush().findings)
    seconds, name = time.perf_counter() - began, "ahead" if ahead == "s" else "behind"
    return (
        f"| {name} | {records} | {most} | {(_rss() - before) / 1024:.0f} | {records / seconds:.0f} | {told} |"
        f" {'yes' if balances(of) else 'NO'} |"
    )


def _worked(of: Engine) -> int:
    told, over = 0, False
    while not over:
        out, over = of.work(_BATCH)
        told += len(out.findings)
    return told


def _rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(given: Sequence[str]) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.behind", description=__doc__)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--rate", type=int, default=400, help="reads a second")
    options = parser.parse_args(given)
    count, apart = options.minutes * 60 * options.rate, SECOND // options.rate
    sys.stdout.write(
        f"{options.rate} reads a second, a log {count * apart // MINUTE} min ahead of or behind the other\n"
        "| the store's log is | records | most held | MB more | records/s | lines told | balances |\n"
    )
    for ahead in ("s", "a"):
        with get_context("spawn").Pool(1) as pool:
            sys.stdout.write(pool.apply(_measure, (ahead, count, apart)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
