"""Helm, the loader of compose files, and the operator's schemas: from the Go module proxy into .cache.

`python -m tests.chart.tools` makes what is not there yet. tools/go.sum pins every module of the programs; the schemas
are files of a module that nothing here compiles, so its digest stands below.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

_CHECKOUT = Path(__file__).resolve().parents[2]
_MODULE = Path(__file__).with_name("tools")
_CACHE = _CHECKOUT / ".cache" / "go"
BIN = _CACHE / "bin"
HELM, COMPOSE, CRDS = BIN / "helm", BIN / "compose", _CACHE / "crds"
_PROGRAMS = {HELM: "helm.sh/helm/v3/cmd/helm", COMPOSE: "github.com/compose-spec/compose-go/v2/cmd"}
_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.92.1"
_OPERATOR_SUM = "h1:rHWuFo6SVya4FBSCNg2DCzyc4xAv54zk3eDTzp5mQZc="
# As helm's own releases are told: the Kubernetes it takes a cluster to be where it has none to ask.
_KUBERNETES = "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=32"
_CRDS = ("servicemonitors", "prometheusrules")


def main() -> None:
    """Make what is missing; once made, it costs nothing."""
    stamp = _CACHE / "stamp"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in (_MODULE / "go.sum", Path(__file__)))).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    BIN.mkdir(parents=True, exist_ok=True)
    sys.stderr.write("dev: building helm and the loader of compose files (some minutes, once)\n")
    for path, package in _PROGRAMS.items():
        _go("build", "-trimpath", f"-ldflags=-s -w {_KUBERNETES}", "-o", str(path), package)
    _schemas()
    rmtree(_CACHE / "build", ignore_errors=True)
    rmtree(_CACHE / "path", ignore_errors=True)
    stamp.write_text(wanted, encoding="utf-8")


def _schemas() -> None:
    told = json.loads(_go("mod", "download", "-json", _OPERATOR, GONOSUMDB="*", GOFLAGS="-modcacherw"))
    if told["Sum"] != _OPERATOR_SUM:
        raise SystemExit(f"dev: {_OPERATOR} is not what it was: {told['Sum']}")
    CRDS.mkdir(exist_ok=True)
    for name in _CRDS:
        file = f"monitoring.coreos.com_{name}.yaml"
        source = Path(told["Dir"]) / "example" / "prometheus-operator-crd" / file
        (CRDS / file).write_bytes(source.read_bytes())


def _go(*arguments: str, **more: str) -> str:
    """Run Go, which knows of no other toolchain, cache or workspace than ours; returns what it printed."""
    ours = {
        "GOPATH": str(_CACHE / "path"),
        "GOCACHE": str(_CACHE / "build"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw -mod=readonly",
        "CGO_ENABLED": "0",
    }
    command = [str(Path(sys.executable).with_name("go")), *arguments]
    done = subprocess.run(
        command, cwd=_MODULE, env={**os.environ, **ours, **more}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"dev: go {arguments[0]} failed (above). Is the Go module proxy reachable? Then run it again.")
    return done.stdout


if __name__ == "__main__":
    main()
