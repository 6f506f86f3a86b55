"""Kill -9, again and again, at random and at named points; afterwards all is as if nothing had happened.

`python -m tests.fault.crash --kills 200` starts a broker, prints a table and ends with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmwatch.condition import Status
from tests.servers.kafka import KafkaServer
from tests.support.crashing_main import ACKNOWLEDGED, OFTEN, OPEN_JOINS, POINTS
from tests.support.daemon import PATIENCE, Config, Daemon, configuration, file_sink, kafka_source
from tests.support.recorded import PARTITIONS, alerts_in, copies, halves_apart, produce
from tests.support.store import analysis, latest, offsets, outbox

BROKER = {"group.min.session.timeout.ms": "500"}  # a killed member is gone after a moment, not after 6 s
SESSION = "2s"
NEVER_MISSED = (OPEN_JOINS, ACKNOWLEDGED)
RANDOM = "at random"
_KILLS_A_COPY = 12  # how many kills one copy of the recording lasts for
_BATCH, _PACE = "60", "0.05"
_AT_WORK = 0.8  # share of the random kills that come while it reads; the others come somewhere in its start
_SLOWEST = 250.0  # records a second that a busy machine gets through
_LIFE = 30.0  # seconds after which a life that did not come to its point is ended anyway


@dataclass(frozen=True)
class Kill:
    """One life and its end."""

    number: int
    passes: int  # of the point it was meant for
    point: str  # where it ended: the named point, or RANDOM
    stored: int  # records that the store has after it
    lines: int  # alert lines in the outbox after it


@dataclass
class Report:
    """What came of it all. `problems` is empty if nothing is lost, doubled or different."""

    seed: int
    kills: list[Kill] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    records: int = 0
    lines: int = 0
    sent_again: int = 0
    seconds: float = 0.0

    def points(self) -> Counter[str]:
        """How often each point was hit."""
        return Counter(kill.point for kill in self.kills)

    def table(self) -> str:
        """For people."""
        head = f"{'kill':>4}  {'ended':<56}  {'pass':>4}  {'stored':>7}  {'lines':>6}"
        rows = [f"{k.number:>4}  {k.point:<56}  {k.passes:>4}  {k.stored:>7}  {k.lines:>6}" for k in self.kills]
        named = len(set(self.points()) - {RANDOM})
        tally = [f"{count:>4} x {point}" for point, count in self.points().most_common()]
        text = (
            f"{len(self.kills)} kills (seed {self.seed}) at {named} distinct named points and at random, "
            f"{self.records} records, {self.lines} alert lines, {self.sent_again} sent again, {self.seconds:.0f} s"
        )
        return "\n".join([head, *rows, "", *tally, "", text, *(f"WRONG: {problem}" for problem in self.problems)])


@dataclass(frozen=True)
class Place:
    """A folder with a store, a configuration and a file of alerts."""

    folder: Path
    config: Config

    @property
    def store(self) -> Path:
        return self.folder / "kmwatch.db"

    @property
    def trap_log(self) -> Path:
        return self.folder / "traps.log"


def crash(kafka: KafkaServer, folder: Path, *, kills: int, seed: int) -> Report:
    """Run the whole experiment against a broker made with BROKER.

    Args:
        kafka: the broker.
        folder: an empty folder.
        kills: how many.
        seed: of the choice of points and moments.
    """
    began, report = time.monotonic(), Report(seed)
    chance = random.Random(seed)  # noqa: S311
    records = halves_apart(record for copy in copies(max(2, math.ceil(kills / _KILLS_A_COPY))) for record in copy)
    report.records = len(records)
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    asyncio.run(produce(kafka, topic, records))
    calm, wild = _place(kafka, topic, folder / "calm"), _place(kafka, topic, folder / "wild")

    to_the_end(calm, len(records))
    with Daemon(wild.folder, wild.config, module="tests.support.crashing_main") as daemon:
        for number, (point, passes) in enumerate(_plan(kills, chance), 1):
            ended = live(daemon, wild, point, passes, chance)
            stored, lines = sum(offsets(wild.store).values()), len(outbox(wild.store))
            report.kills.append(Kill(number, passes, ended, stored, lines))
    to_the_end(wild, len(records))
    compared = compare(calm, wild, [alert.line for alert in alerts_in(wild.folder / "alerts.jsonl")])
    report.lines, report.sent_again = compared.lines, compared.sent_again
    report.problems += compared.problems
    report.problems += [f"never hit: {point}" for point in NEVER_MISSED if point not in report.points()]
    report.seconds = time.monotonic() - began
    return report


def _place(kafka: KafkaServer, topic: str, folder: Path) -> Place:
    folder.mkdir()
    source = kafka_source(kafka.bootstrap, topic, group=f"{topic}-{folder.name}", session_timeout=SESSION)
    return Place(folder, configuration(folder, source, [file_sink(folder)]))


def _plan(kills: int, chance: random.Random) -> Iterator[tuple[str, int]]:
    """Named points in turn, every other kill at random; the first ones are those that must not be missed."""
    for number in range(kills):
        point = POINTS[number // 2 % len(POINTS)] if number % 2 == 0 else RANDOM
        yield point, chance.randint(1, 6) if point in OFTEN else 1


def live(daemon: Daemon, place: Place, point: str, passes: int, chance: random.Random) -> str:
    """Start, and wait for the end or bring it about; returns where it ended."""
    hits = _hits(place)
    trap = {} if point == RANDOM else {"KMWATCH_TRAP": f"{point}|{passes}|KILL"}
    pace = {"KMWATCH_BATCH": _BATCH, "KMWATCH_PACE": _PACE, "KMWATCH_TRAP_LOG": str(place.trap_log)}
    daemon.start(environment={**trap, **pace})
    if point == RANDOM:
        if chance.random() < _AT_WORK:
            daemon.wait_until_ready()
        else:
            daemon.wait_until_serving()
        time.sleep(chance.random() * 0.6)
    else:
        deadline = time.monotonic() + _LIFE
        while daemon.running and time.monotonic() < deadline:
            time.sleep(0.02)
    alive = daemon.running
    daemon.kill()
    fresh = _hits(place)[len(hits) :]
    assert alive or fresh, f"it ended by itself: {daemon.output()[-3000:]}"
    return fresh[0] if fresh else RANDOM


def _hits(place: Place) -> list[str]:
    return place.trap_log.read_text().splitlines() if place.trap_log.exists() else []


def to_the_end(place: Place, produced: int) -> Status:
    """Let an unharmed daemon finish: everything consumed, judged and delivered; returns what it says then."""
    with Daemon(place.folder, place.config, name="calm") as daemon:
        daemon.start()
        status = daemon.wait_until(
            lambda status: (
                status.account.records.consumed == produced
                and status.account.events.waiting == 0
                and status.account.records.waiting == 0
                and all(sink.pending == 0 for sink in status.account.sinks.values())
                and bool(status.account.sinks)
            ),
            "all is consumed, judged and delivered",
            PATIENCE + produced / _SLOWEST,
        )
        assert status.account.balanced, status.account
        assert daemon.terminate() == 0, daemon.output()
        return status


@dataclass
class Compared:
    """Lines of the outbox, how many of them sinks were sent again, and what differs."""

    lines: int
    sent_again: int = 0
    problems: list[str] = field(default_factory=list)


def compare(calm: Place, wild: Place, lines: Sequence[str]) -> Compared:
    """Hold the store and the lines delivered after all that happened against those of the undisturbed run."""
    expected, found = outbox(calm.store), outbox(wild.store)
    report = Compared(len(found))
    ids = Counter(line.line for line in found)
    wanted = {line.line for line in expected}
    delivered = Counter(lines)
    report.sent_again = delivered.total() - len(delivered)
    _check(report, sorted(expected) == sorted(found), f"findings differ: {set(expected) ^ set(found)}")
    _check(report, len(ids) == ids.total(), f"twice in the outbox: {[line for line, n in ids.items() if n > 1]}")
    _check(report, set(delivered) == wanted, f"lines at the sink differ: {set(delivered) ^ wanted}")
    _check(report, offsets(calm.store) == offsets(wild.store), "offsets differ")
    now = max(latest(place.store) for place in (calm, wild))
    before, after = (analysis(place.store, place.folder / "calm.yaml", now) for place in (calm, wild))
    for name, one, other in zip(before._fields, before, after, strict=True):
        _check(report, one == other, f"state differs: {name}: {_difference(one, other)}")
    return report


def _difference(one: object, other: object) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        return str({key for key in one.keys() | other.keys() if one.get(key) != other.get(key)})[:2000]
    return f"{one!r} is not {other!r}"[:2000]


def _check(report: Compared, holds: bool, problem: str) -> None:  # noqa: FBT001
    if not holds:
        report.problems.append(problem)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        (Path(folder) / "kafka").mkdir()
        with KafkaServer(Path(folder) / "kafka", properties=BROKER) as kafka:
            report = crash(kafka, Path(folder), kills=given.kills, seed=given.seed)
    sys.stdout.write(report.table() + "\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
