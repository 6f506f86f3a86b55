"""Two instances on one PostgreSQL, and everything that can happen to them, again and again, at random.

`python -m tests.fault.two --rounds 100` starts the servers, prints a table with the times of take-over, and ends with
1 if anything is wrong: findings, ids of alerts and state must be those of one instance that nobody disturbed, and no
position may have been moved by two epochs.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from kmwatch.condition import Status
from tests.fault.crash import Place, compare, to_the_end
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.support.daemon import Daemon, configuration, file_sink, kafka_source
from tests.support.postgres_store import Database
from tests.support.proxy import Proxy
from tests.support.recorded import PARTITIONS, alerts_in, copies, halves_apart, produce

WHO = ("first", "second")
_BATCH, _PACE = 40, 0.4  # records in a read, seconds between reads: there is work to do in every round
_SECONDS_A_ROUND = 7.0  # with a lease of 2 s
_PATIENCE = 90.0
_LOOK = 0.02


@dataclass
class Instance:
    """A daemon, and its own way to the database."""

    name: str
    daemon: Daemon
    proxy: Proxy
    alerts: Path

    def start(self) -> None:
        """Start it, to read slowly."""
        self.daemon.start(environment={"KMWATCH_BATCH": str(_BATCH), "KMWATCH_PACE": str(_PACE)})

    def status(self) -> Status | None:
        """What it shows, if it shows anything."""
        return self.daemon.status() if self.daemon.running and self.daemon.get("/healthz") else None

    @property
    def active(self) -> bool:
        status = self.status()
        return status is not None and status.active

    @property
    def warm(self) -> bool:
        """Whether it stands by, and could take over."""
        answer = self.daemon.get("/readyz?standby=ready")
        return answer is not None and answer.status == 200 and not self.active


@dataclass
class Round:
    """What was done, and how long nobody was active; None where the same instance went on."""

    number: int
    fault: str
    takeover: float | None
    epoch: int


@dataclass
class Report:
    """What came of it all. `problems` is empty if nothing is lost, doubled or different."""

    seed: int
    lease: str
    rounds: list[Round] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    records: int = 0
    lines: int = 0
    sent_again: int = 0
    seconds: float = 0.0

    def takeovers(self) -> list[float]:
        """Seconds without an active instance, where another took over."""
        return sorted(one.takeover for one in self.rounds if one.takeover is not None)

    def table(self) -> str:
        """For people."""
        rows = [
            f"{r.number:>4}  {r.fault:<44}  {'-' if r.takeover is None else f'{r.takeover:.2f} s':>8}  epoch {r.epoch}"
            for r in self.rounds
        ]
        tally = [f"{count:>4} x {fault}" for fault, count in Counter(r.fault for r in self.rounds).most_common()]
        times, text = self.takeovers(), "no take-over"
        if len(times) > 1:
            cuts = quantiles(times, n=100, method="inclusive")
            text = f"{len(times)} take-overs: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, longest {times[-1]:.2f} s"
        summary = (
            f"{len(self.rounds)} rounds (seed {self.seed}), lease {self.lease}, {self.records} records, {self.lines}"
            f" alert lines, {self.sent_again} sent again, {self.seconds:.0f} s"
        )
        return "\n".join([*rows, "", *tally, "", summary, text, *(f"WRONG: {problem}" for problem in self.problems)])


class Pair:
    """The two instances, of which one is active."""

    def __init__(self, instances: list[Instance], server: PostgresServer, database: Database) -> None:
        self.instances, self.server, self.database = instances, server, database

    def settle(self) -> tuple[Instance, Instance]:
        """Start who does not run; wait for one that is active and one that stands by, warm; returns both."""
        for one in self.instances:
            if not one.daemon.running:
                one.start()

        def settled() -> bool:
            for one in self.instances:
                if not one.daemon.running:
                    raise AssertionError(f"{one.name} ended by itself: {one.daemon.output()[-3000:]}")
            return [one.active for one in self.instances].count(True) == 1 and any(o.warm for o in self.instances)

        self.wait(settled, "one is active and the other stands by")
        active = next(one for one in self.instances if one.active)
        return active, next(one for one in self.instances if one is not active)

    def wait(self, holds: Callable[[], bool], what: str) -> float:
        """Wait until something holds; returns how long that took."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > _PATIENCE:
                tails = "\n".join(f"{one.name}: {one.daemon.output()[-2500:]}" for one in self.instances)
                shown = [one.status() for one in self.instances]
                raise AssertionError(f"not so after {_PATIENCE:.0f} s: {what}\n{shown}\n{tails}")
            time.sleep(_LOOK)
        return time.monotonic() - began

    def takes_over(self, standby: Instance) -> float:
        """Wait until the standby is the active one."""
        return self.wait(lambda: standby.active, f"{standby.name} takes over")

    def steps_down(self, active: Instance) -> None:
        """Wait until what was the active one knows that it is so no more."""
        self.wait(lambda: active.status() is not None and not active.active, f"{active.name} steps down")


def _kill_active(pair: Pair, active: Instance, standby: Instance) -> float:
    active.daemon.kill()
    return pair.takes_over(standby)


def _kill_standby(_: Pair, __: Instance, standby: Instance) -> None:
    standby.daemon.kill()


def _kill_backend(pair: Pair, _: Instance, __: Instance) -> None:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kmwatch' ORDER BY random() LIMIT 1"
    os.kill(pair.server.sql(query)[0][0], signal.SIGKILL)  # the postmaster ends all the others, and recovers
    pair.server.wait_until_it_answers()


def _kill_postmaster(pair: Pair, _: Instance, __: Instance) -> None:
    pair.server.kill()
    pair.server.start()


def _stop_active(pair: Pair, active: Instance, standby: Instance) -> float:
    active.daemon.pause()
    took = pair.takes_over(standby)
    active.daemon.resume()
    pair.steps_down(active)
    return took


def _cut(pair: Pair, active: Instance, standby: Instance) -> float:
    active.proxy.cut()
    took = pair.takes_over(standby)
    pair.steps_down(active)
    active.proxy.heal()
    return took


def _deaf_to(pair: Pair, active: Instance, standby: Instance) -> float:
    return _deaf(pair, active, standby, "to")


def _deaf_from(pair: Pair, active: Instance, standby: Instance) -> float:
    return _deaf(pair, active, standby, "from")


def _deaf(pair: Pair, active: Instance, standby: Instance, *ways: str) -> float:
    active.proxy.deafen(*ways)
    took = pair.takes_over(standby)
    pair.steps_down(active)
    active.proxy.heal()
    return took


Fault = Callable[[Pair, Instance, Instance], "float | None"]
FAULTS: dict[str, Fault] = {
    "kill -9 of the active": _kill_active,
    "kill -9 of the standby": _kill_standby,
    "kill -9 of a backend of PostgreSQL": _kill_backend,
    "kill -9 of the postmaster": _kill_postmaster,
    "SIGSTOP of the active past its lease": _stop_active,
    "the active is cut off from the database": _cut,
    "nothing of the active reaches the database": _deaf_to,
    "nothing of the database reaches the active": _deaf_from,
}


def disturb(kafka: KafkaServer, server: PostgresServer, folder: Path, *, rounds: int, seed: int, lease: str) -> Report:
    """Run the whole experiment.

    Args:
        kafka: a broker.
        server: a PostgreSQL that may be harmed.
        folder: an empty folder.
        rounds: how many faults.
        seed: of their order and moments.
        lease: the lease of both instances.
    """
    began, report = time.monotonic(), Report(seed, lease)
    chance = random.Random(seed)  # noqa: S311
    length = rounds * (_SECONDS_A_ROUND + int(lease.removesuffix("s")))
    records = halves_apart(r for copy in copies(max(2, math.ceil(length * _BATCH / _PACE / 2856))) for r in copy)
    report.records = len(records)
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    asyncio.run(produce(kafka, topic, records))
    calm, wild = folder / "calm", folder / "wild"
    for place in (calm, wild):
        place.mkdir()
    source = kafka_source(kafka.bootstrap, topic, group=f"{topic}-calm")
    undisturbed = Place(calm, configuration(calm, source, [file_sink(calm)]))
    to_the_end(undisturbed, len(records))

    database = Database(server, server.database())
    with _pair(kafka, topic, wild, database, lease) as pair:
        pair.instances[0].start()
        pair.wait(lambda: pair.instances[0].active, "the first is active")
        database.watch_moves()
        for number, fault in enumerate(_plan(rounds, chance), 1):
            active, standby = pair.settle()
            quiet = alerts_in(standby.alerts)
            time.sleep(chance.random())
            _check(report, alerts_in(standby.alerts) == quiet, f"round {number}: a standby delivered")
            takeover = FAULTS[fault](pair, active, standby)
            epoch = int(database.look("SELECT epoch FROM writer")[0][0])
            report.rounds.append(Round(number, fault, takeover, epoch))
        pair.settle()
        for one in pair.instances:
            _check(report, one.daemon.terminate() == 0, f"{one.name} did not end well: {one.daemon.output()[-2000:]}")
    disturbed = Place(wild, _config(kafka, topic, wild, database.store(lease=lease)))
    to_the_end(disturbed, len(records))
    _check_moves(report, database)
    database.as_sqlite(disturbed.store)
    delivered = [a.line for who in (*WHO, "") for a in alerts_in(wild / who / "alerts.jsonl")]
    compared = compare(undisturbed, disturbed, delivered)
    report.lines, report.sent_again = compared.lines, compared.sent_again
    report.problems += compared.problems
    report.seconds = time.monotonic() - began
    return report


@contextmanager
def _pair(kafka: KafkaServer, topic: str, folder: Path, database: Database, lease: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        instances = []
        for who in WHO:
            place = folder / who
            place.mkdir()
            proxy = stack.enter_context(Proxy(database.server.port))
            config = _config(kafka, topic, place, database.store(port=proxy.port, lease=lease))
            daemon = stack.enter_context(Daemon(place, config, name=who, module="tests.support.crashing_main"))
            instances.append(Instance(who, daemon, proxy, place / "alerts.jsonl"))
        yield Pair(instances, database.server, database)


def _config(kafka: KafkaServer, topic: str, folder: Path, store: dict[str, object]) -> dict[str, object]:
    source = kafka_source(kafka.bootstrap, topic, group=f"{topic}-wild")
    return {**configuration(folder, source, [file_sink(folder)]), "store": store}


def _plan(rounds: int, chance: random.Random) -> list[str]:
    """Each fault in turn, in an order that is drawn anew each time around."""
    plan: list[str] = []
    while len(plan) < rounds:
        plan += chance.sample(list(FAULTS), len(FAULTS))
    return plan[:rounds]


def _check_moves(report: Report, database: Database) -> None:
    """Every position was moved once, by one epoch, and epochs never went back."""
    at: dict[str, int] = {}
    latest = 0
    for move in database.moves():
        known = at.get(move.stream, move.before)
        _check(report, known == move.before, f"{move} does not go on from {known}")
        _check(report, move.epoch >= latest, f"{move} was committed after epoch {latest} had committed")
        at[move.stream], latest = move.after, max(latest, move.epoch)
    _check(report, bool(at), "nothing was moved")


def _check(report: Report, holds: bool, problem: str) -> None:  # noqa: FBT001
    if not holds:
        report.problems.append(problem)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.two", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--lease", default="6s")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="two-") as folder, PostgresServer() as server:
        (Path(folder) / "kafka").mkdir()
        with KafkaServer(Path(folder) / "kafka") as kafka:
            report = disturb(kafka, server, Path(folder), rounds=given.rounds, seed=given.seed, lease=given.lease)
    sys.stdout.write(report.table() + "\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
