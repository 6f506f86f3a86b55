"""The compose files: what they mount is there, and what they give to kmwatch and Prometheus is accepted.

Their form is checked by the loader that docker compose is made of, in tests/chart (./dev deploy-check).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from kmwatch.config.listening import listening
from kmwatch.config.load import load
from tests.servers.kafka_jars import _version
from tests.servers.prometheus import promtool
from tests.support.audit import ROOT
from tests.support.files import TODAY

COMPOSE = ROOT / "deploy" / "compose"
FILES = sorted(COMPOSE.glob("*.yaml"))
COMPOSED = ("compose.yaml", "two.yaml", "common.yaml")
SECRET = "a-password-of-this-test"


class Mount(NamedTuple):
    """A file or folder of this repository in a container."""

    file: str
    service: str
    source: str
    target: str


def services(name: str) -> dict[str, dict[str, object]]:
    document = yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))
    found: dict[str, dict[str, object]] = document["services"]
    return found


def mounts() -> Iterator[Mount]:
    for name in COMPOSED:
        for service, said in services(name).items():
            for volume in said.get("volumes", []):  # type: ignore[attr-defined]
                source, target = volume.split(":")[:2]
                if source.startswith("."):
                    yield Mount(name, service, source, target)


@pytest.mark.parametrize("mount", list(mounts()), ids=lambda mount: f"{mount.file}-{mount.service}-{mount.target}")
def test_what_is_mounted_is_there_and_read_only(mount: Mount) -> None:
    assert (COMPOSE / mount.source).exists()
    assert any(f"{mount.source}:{mount.target}:ro" in line for line in (COMPOSE / mount.file).read_text().splitlines())


@pytest.mark.parametrize("name", ["kmwatch.yaml", "kmwatch-two.yaml"])
def test_the_configuration_is_accepted_where_it_is_mounted(name: str, tmp_path: Path) -> None:
    """The one thing to say of it is that its port has no token: it is published on the host's loopback alone."""
    for mount in mounts():
        if mount.target == "/etc/kmwatch/recording":
            shutil.copytree(COMPOSE / mount.source, tmp_path / "recording", dirs_exist_ok=True)
    shutil.copy(COMPOSE / name, tmp_path / "kmwatch.yaml")
    loaded = load(tmp_path / "kmwatch.yaml", {"POSTGRES_PASSWORD": SECRET}, today=TODAY)
    assert [problem.where for problem in loaded.problems] == ["http.listen"]
    assert not listening(loaded.settings.http.listen).loopback
    assert (loaded.settings.store.postgres is not None) == ("two" in name)


def test_both_configurations_differ_in_their_store_alone() -> None:
    one, two = (yaml.safe_load((COMPOSE / name).read_text()) for name in ("kmwatch.yaml", "kmwatch-two.yaml"))
    assert {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)} == {"store"}


@pytest.mark.parametrize("name", COMPOSED)
def test_every_port_is_published_on_the_loopback_and_no_image_floats(name: str) -> None:
    for service, said in services(name).items():
        ports = said.get("ports", [])
        assert isinstance(ports, list)
        assert [port for port in ports if not str(port).startswith("127.0.0.1:")] == [], service
        image = str(said.get("image", "extended:1"))
        assert image.rpartition(":")[2] not in ("", "latest"), service


def test_kmwatch_runs_with_a_read_only_root_and_no_rights() -> None:
    common = services("common.yaml")["kmwatch"]
    assert (common["read_only"], common["cap_drop"]) == (True, ["ALL"])
    assert common["security_opt"] == ["no-new-privileges:true"]
    for name, service in (("compose.yaml", "kmwatch"), ("compose.yaml", "recording"), ("two.yaml", "standby")):
        assert services(name)[service]["extends"] == {"file": "common.yaml", "service": "kmwatch"}


def test_kafka_is_the_release_that_the_tests_run() -> None:
    assert services("compose.yaml")["kafka"]["image"] == f"apache/kafka:{_version()}"


def test_prometheus_accepts_its_configuration_with_the_rules(tmp_path: Path) -> None:
    targets = {Path(m.target).name: COMPOSE / m.source for m in mounts() if m.service == "prometheus"}
    assert targets.keys() == {"prometheus.yml", "kmwatch.rules.yaml"}
    for target, source in targets.items():
        shutil.copy(source, tmp_path / target)
    done = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout


def test_grafana_is_given_the_dashboards_where_its_provider_looks() -> None:
    provider = yaml.safe_load((COMPOSE / "grafana" / "dashboards.yaml").read_text())["providers"][0]
    folder = Path(provider["options"]["path"])
    given = {Path(m.target).name for m in mounts() if m.service == "grafana" and Path(m.target).parent == folder}
    assert given == {path.name for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    source = yaml.safe_load((COMPOSE / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
