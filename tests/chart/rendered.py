"""What helm makes of the chart."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.chart.tools import HELM
from tests.support.audit import ROOT

CHART = ROOT / "deploy" / "helm" / "kmwatch"
VALUES = {
    "default": None,
    **{path.stem.removesuffix("-values"): path for path in sorted((CHART / "ci").glob("*.yaml"))},
}
KUBERNETES = "1.32.0"
Object = dict[str, Any]


def helm(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run helm."""
    return subprocess.run(
        [str(HELM), *arguments], capture_output=True, text=True, check=False, env={"HOME": "/nowhere", **environ}
    )


def given(values: Path | None, *sets: str) -> list[str]:
    """Values as helm's arguments."""
    return [*(["-f", str(values)] if values else []), *(word for one in sets for word in ("--set", one))]


@dataclass(frozen=True)
class Rendered:
    """The objects of a release called `watch` in the namespace `soc`."""

    objects: Sequence[Object]

    def one(self, kind: str, suffix: str = "") -> Object:
        """The only object of a kind, or the one whose name ends so."""
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == f"watch-kmwatch{suffix}"]
        assert len(found) == 1, (kind, [(o["kind"], o["metadata"]["name"]) for o in self.objects])
        return found[0]

    @property
    def kinds(self) -> set[str]:
        return {found["kind"] for found in self.objects}

    @property
    def pod(self) -> Object:
        workload = self.one("Deployment" if "Deployment" in self.kinds else "StatefulSet")
        template: Object = workload["spec"]["template"]
        return template

    @property
    def container(self) -> Object:
        (found,) = self.pod["spec"]["containers"]
        assert isinstance(found, dict)
        return found


def render(values: Path | None, *sets: str, chart: Path = CHART) -> Rendered:
    """Render the chart, or a copy of it."""
    done = helm("template", "watch", str(chart), "-n", "soc", "--kube-version", KUBERNETES, *given(values, *sets))
    assert done.returncode == 0, done.stderr
    return Rendered([one for one in yaml.safe_load_all(done.stdout) if one])


def refused(*sets: str) -> str:
    """What helm says of values that cannot be."""
    done = helm("template", "watch", str(CHART), "--kube-version", KUBERNETES, *given(None, *sets))
    assert done.returncode != 0, done.stdout
    return done.stderr
