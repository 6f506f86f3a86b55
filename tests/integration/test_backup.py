"""The how-to's backup and restore, tried: what was found in between is found again, with the same ids, and not lost."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from kmwatch.condition import Status
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer, program
from tests.support.audit import ROOT
from tests.support.daemon import Daemon, configuration, file_sink, kafka_source, run_kmwatch
from tests.support.postgres_store import Database
from tests.support.recorded import PARTITIONS, alerts_in, copies, produce

DOCUMENTED = "postgresql://kmw_owner@db1.example.net/kmwatch"


def steps(heading: str) -> list[list[str]]:
    """The commands of the first blocks under a heading of the how-to, in words."""
    text = (ROOT / "docs" / "guides" / "postgres.md").read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def run(command: list[str], server: PostgresServer, url: str, folder: Path) -> None:
    """Run a documented command of PostgreSQL's against this test's database."""
    words = [program(command[0]), *(word.replace(DOCUMENTED, url) for word in command[1:])]
    environment = {**os.environ, "PGPASSWORD": server.password}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(240)
def test_what_was_found_after_the_backup_is_found_again_with_the_same_ids(
    tmp_path: Path, kafka: KafkaServer, postgres: PostgresServer
) -> None:
    (before, since), database = copies(2), Database(postgres, postgres.database())
    records = [*before, *since]
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    config = configuration(tmp_path, kafka_source(kafka.bootstrap, topic), [file_sink(tmp_path)])
    backup, drop, restore, check, again = steps("Back up and restore")

    def read(count: int) -> None:
        def all_is_done(status: Status) -> bool:
            records, sinks = status.account.records, status.account.sinks
            is_judged = records.consumed == count and records.waiting == 0
            return is_judged and bool(sinks) and not any(s.pending for s in sinks.values())

        daemon.wait_until(all_is_done, f"{count} records are read and judged, and what they gave is delivered")

    def lines() -> set[str]:
        """Ids of all lines but the closing ones, which come with time."""
        return {line for (line,) in database.look("SELECT line_uid FROM outbox WHERE activity <> 3")}

    with Daemon(tmp_path, {**config, "store": database.store()}) as daemon:
        asyncio.run(produce(kafka, topic, before))
        daemon.start()
        read(len(before))
        run(backup, postgres, database.url, tmp_path)
        assert daemon.terminate() == 0
        asyncio.run(produce(kafka, topic, since))  # all there before it is read, both times: no record is late
        daemon.start()
        read(len(records))
        assert daemon.terminate() == 0
        found = lines()
        delivered = [alert.line for alert in alerts_in(tmp_path / "alerts.jsonl")]

        run(drop, postgres, database.url, tmp_path)
        run(restore, postgres, database.url, tmp_path)
        assert lines() < found
        assert check[:3] == ["kmwatch", "store", "check"]
        checked = run_kmwatch("store", "check", "-c", str(daemon.config))
        assert checked.returncode == 0, checked.stdout
        daemon.start()
        assert daemon.wait() == 3
        assert "it is an old one" in daemon.output()
        assert again[-1] == "--accept-gap"
        daemon.start("--accept-gap")
        read(len(records))
        assert daemon.terminate() == 0

    after = [alert.line for alert in alerts_in(tmp_path / "alerts.jsonl")]
    assert lines() == found
    assert delivered == after[: len(delivered)]
    assert len(after) > len(delivered), "those since the backup came again"
