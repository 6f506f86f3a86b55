"""Kill -9, again and again, while findings are on their way; every receiver then has exactly what the outbox held.

`python -m tests.fault.deliver --kills 50` prints what came of it and ends with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from kmwatch.condition import Status
from kmwatch.ports import Commit, Routed
from kmwatch.store.sqlite import SqliteStore
from tests.servers.fakes import SECRET, TOKEN, FakeElastic, FakeHec, FakeReceiver, FakeWebhook
from tests.support.daemon import Config, Daemon, configuration, file_sink
from tests.support.findings import finding
from tests.support.recorded import alerts_in
from tests.support.store import outbox
from tests.support.threaded import Threaded

SINKS = ("archive", "splunk", "splunk-ack", "search", "hook")
ONCE = "search"  # de-duplicates by itself
_BATCH = 100  # delivery's
_A_LIFE = 150  # findings for each kill
_COMMIT = 500
_LATEST = 0.4  # seconds after the first sign of work


@dataclass
class Report:
    """What came of it. `problems` is empty if every receiver has what the outbox held."""

    seed: int
    kills: int = 0
    findings: int = 0
    seconds: float = 0.0
    again: dict[str, int] = field(default_factory=dict)  # lines a sink has more than once
    progress: list[int] = field(default_factory=list)  # lines delivered at each kill, all sinks
    problems: list[str] = field(default_factory=list)

    def table(self) -> str:
        """For people."""
        repeated = ", ".join(f"{sink} {count}" for sink, count in self.again.items())
        text = (
            f"{self.kills} kills (seed {self.seed}) while {self.findings} findings went to {len(SINKS)} sinks, "
            f"{self.seconds:.0f} s; sent again: {repeated}; delivered at each kill: {self.progress}"
        )
        return "\n".join([text, *(f"WRONG: {problem}" for problem in self.problems)])


@contextmanager
def _receivers() -> Iterator[dict[str, FakeReceiver]]:
    made: dict[str, FakeReceiver] = {
        "splunk": FakeHec(),
        "splunk-ack": FakeHec(ack=True),
        "search": FakeElastic(),
        "hook": FakeWebhook(),
    }
    with ExitStack() as stack:
        for receiver in made.values():
            receiver.delay = 0.05
            stack.enter_context(Threaded(receiver)).start()
        made["hook"].delay = 0.01  # one request a line
        yield made


def _sinks(folder: Path, receivers: dict[str, FakeReceiver]) -> list[Config]:
    hec = {"token": TOKEN, "index": "security"}
    return [
        file_sink(folder),
        {"name": "splunk", "splunk_hec": {"url": receivers["splunk"].url, **hec}},
        {"name": "splunk-ack", "splunk_hec": {"url": receivers["splunk-ack"].url, **hec, "ack": True}},
        {
            "name": "search",
            "opensearch": {
                "url": receivers["search"].url,
                "data_stream": "kmwatch-findings",
                "username": "kmwatch",
                "password": "hunter2",
            },
            "format": "ecs",
        },
        {"name": "hook", "webhook": {"url": f"{receivers['hook'].url}/hook", "secret": SECRET}},
    ]


async def _fill(path: Path, count: int) -> None:
    """What earlier batches left in the outbox."""
    store = SqliteStore(path, "earlier", lambda: 1000.0)
    await store.claim()
    base = finding()
    for start in range(0, count, _COMMIT):
        numbers = range(start, min(start + _COMMIT, count))
        routed = [Routed(replace(base, uid=f"finding-{n}", line_uid=f"line-{n}"), SINKS) for n in numbers]
        await store.commit(Commit([], [], routed, []))
    await store.close()


def deliver(folder: Path, *, kills: int, seed: int) -> Report:
    """Run the whole experiment in an empty folder."""
    began, report = time.monotonic(), Report(seed, findings=kills * _A_LIFE)
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    store = folder / "kmwatch.db"
    asyncio.run(_fill(store, report.findings))
    (folder / "records.jsonl").touch()
    source: Config = {"file": {"paths": [str(folder / "records.jsonl")], "follow": True}}
    with _receivers() as receivers, Daemon(folder, configuration(folder, source, _sinks(folder, receivers))) as daemon:
        while report.kills < kills:
            before = _arrived(receivers)
            daemon.start()
            _await(receivers, before, daemon)
            time.sleep(chance.random() * _LATEST)
            daemon.kill()
            report.kills += 1
            report.progress.append(_arrived(receivers))
        daemon.start()
        for receiver in receivers.values():
            receiver.delay = 0.0
        _to_the_end(daemon)
        balanced = daemon.status().account.balanced
        if daemon.terminate() != 0 or not balanced:
            report.problems.append(f"the daemon did not end well, or its account does not balance ({balanced})")
    wanted = [line.line for line in outbox(store)]
    for sink in SINKS:
        got = [a.line for a in alerts_in(folder / "alerts.jsonl")] if sink == "archive" else receivers[sink].received
        _judge(report, sink, wanted, got)
    report.seconds = time.monotonic() - began
    return report


def _to_the_end(daemon: Daemon) -> None:
    """Wait until nothing is pending, however slow this machine is, as long as something moves."""
    left = _pending(daemon.wait_until(lambda _: True, "it serves"))
    while left:
        left = _pending(daemon.wait_until(partial(_moved, left), "more is delivered"))


def _moved(before: int, status: Status) -> bool:
    return _pending(status) < before


def _pending(status: Status) -> int:
    return sum(sink.pending for sink in status.account.sinks.values())


def _judge(report: Report, sink: str, wanted: list[str], got: list[str]) -> None:
    lost, foreign, again = set(wanted) - set(got), set(got) - set(wanted), len(got) - len(set(got))
    report.again[sink] = again
    if lost or foreign:
        report.problems.append(f"{sink}: {len(lost)} lost, {len(foreign)} that were never in the outbox")
    most = 0 if sink == ONCE else report.kills * _BATCH
    if again > most:
        report.problems.append(f"{sink}: {again} lines again; {report.kills} kills explain {most} at most")


def _arrived(receivers: dict[str, FakeReceiver]) -> int:
    return sum(len(receiver.received) for receiver in receivers.values())


def _await(receivers: dict[str, FakeReceiver], before: int, daemon: Daemon) -> None:
    """Wait until more has arrived than before."""
    deadline = time.monotonic() + 60
    while _arrived(receivers) <= before:
        assert daemon.running, daemon.output()[-3000:]
        assert time.monotonic() < deadline, daemon.output()[-3000:]
        time.sleep(0.005)


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kmwatch-deliver-") as folder:
        report = deliver(Path(folder), kills=given.kills, seed=given.seed)
    sys.stdout.write(f"{report.table()}\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
