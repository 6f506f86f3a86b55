"""The configurations in the shipped manifests are ones that kmwatch takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kmwatch.config.load import load
from tests.support.audit import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def loaded(folder: Path, settings: str) -> str:
    """The kind of store that a configuration names, beside an empty caller map."""
    (folder / "kmwatch.yaml").write_text(settings)
    (folder / "callers.yaml").write_text("callers: {}\nsecrets: {}\nallow: []\n")
    (folder / "db-ca.pem").touch()
    store = load(folder / "kmwatch.yaml", {"POSTGRES_PASSWORD": "x"}).settings.store
    return "postgres" if store.postgres is not None else "sqlite"


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_the_configuration_of_a_kubernetes_manifest_loads(tmp_path: Path, path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    config = next(document for document in documents if document["kind"] == "ConfigMap")
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    kind = loaded(tmp_path, config["data"]["kmwatch.yaml"])
    replicas = {"sqlite": 1, "postgres": 2}
    assert deployment["spec"]["replicas"] == replicas[kind]


def test_the_configuration_of_the_compose_file_loads(tmp_path: Path) -> None:
    document = yaml.safe_load((DEPLOY / "compose" / "two.yaml").read_text())
    secret = tmp_path / "secret"
    secret.write_text("x")
    settings = document["configs"]["kmwatch"]["content"].replace("/run/secrets/postgres", str(secret))
    assert loaded(tmp_path, settings) == "postgres"
    assert {"postgres", "first", "second"} == set(document["services"])
