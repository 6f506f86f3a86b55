"""The compose files as the loader of docker compose reads them, and what they set up with real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmwatch.condition import Status
from tests.chart.tools import COMPOSE as LOADER
from tests.servers.kafka import KafkaServer
from tests.support.audit import ROOT
from tests.support.daemon import Daemon, run_kmwatch

COMPOSE = ROOT / "deploy" / "compose"
RECORDING = ROOT / "config" / "recording"


def loaded(*names: str) -> dict[str, Any]:
    """The project: checked against the specification's schema, extended, merged, with its paths resolved."""
    command = [str(LOADER), "--format", "json", "--no-interpolation", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=COMPOSE)
    assert done.returncode == 0, done.stderr
    project: dict[str, Any] = json.loads(done.stdout)
    return project


@pytest.mark.parametrize("names", [["compose.yaml"], ["compose.yaml", "two.yaml"], ["common.yaml"]], ids="+".join)
def test_docker_compose_takes_them(names: list[str]) -> None:
    assert loaded(*names)["services"]


def test_two_yaml_adds_a_database_and_a_standby() -> None:
    one, two = loaded("compose.yaml")["services"], loaded("compose.yaml", "two.yaml")["services"]
    assert two.keys() - one.keys() == {"postgres", "standby"}
    for name in ("kmwatch", "standby"):
        mounted = {volume["target"]: Path(volume["source"]).name for volume in two[name]["volumes"]}
        assert mounted["/etc/kmwatch/kmwatch.yaml"] == "kmwatch-two.yaml"
        assert (two[name]["read_only"], two[name]["cap_drop"]) == (True, ["ALL"])
        assert {"postgres", "recording"} == set(two[name]["depends_on"])


@pytest.mark.timeout(300)
def test_the_recording_reaches_kmwatch_by_way_of_kafka(tmp_path: Path) -> None:
    """What the service `recording` does, twice, on a real Kafka; then kmwatch with the mounted configuration."""
    with KafkaServer(tmp_path / "kafka") as kafka:
        fed = [_feed(kafka.bootstrap), _feed(kafka.bootstrap)]
        number = int(fed[0].split()[-3])
        config = yaml.safe_load((COMPOSE / "kmwatch.yaml").read_text(encoding="utf-8"))
        config["sources"][0]["kafka"]["bootstrap"] = [kafka.bootstrap]
        config["store"] = {"sqlite": {"path": str(tmp_path / "kmwatch.db")}}
        config["sinks"][1]["file"]["path"] = str(tmp_path / "alerts.jsonl")
        (tmp_path / "recording").symlink_to(RECORDING)
        with Daemon(tmp_path, config) as daemon:
            daemon.start()
            status = daemon.wait_until(
                lambda status: _read(status) == number and not status.account.records.waiting,
                "all is read and joined",
            )
            assert daemon.terminate() == 0
    assert "nothing to do" in fed[1]
    assert number > 10_000
    assert status.account.balanced
    assert not status.account.records.rejected
    assert _rules(tmp_path / "alerts.jsonl") == _rules(_replayed(tmp_path))


def _read(status: Status) -> int:
    """Records of the topics; the inventory's are counted too, and not meant."""
    streams = status.account.streams.items()
    return sum(part.consumed for name, part in streams if name.startswith(("notifications.", "keymanager.")))


def _feed(bootstrap: str) -> str:
    command = [sys.executable, str(COMPOSE / "feed.py"), bootstrap, str(RECORDING)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _replayed(folder: Path) -> Path:
    out = folder / "replayed.jsonl"
    done = run_kmwatch("replay", "-c", str(RECORDING / "complete.yaml"), "--alerts", str(out))
    assert done.returncode == 0, done.stderr
    return out


def _rules(path: Path) -> set[str]:
    return {json.loads(line)["finding_info"]["analytic"]["uid"] for line in path.read_text("utf-8").splitlines()}
