"""What is deployed beside the code: the Dockerfile, the systemd unit, and the one version of all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import yaml

from kmwatch import __version__
from kmwatch.config.listening import LISTEN
from tests.support.audit import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = ROOT / "deploy" / "systemd" / "kmwatch.service"
CHART = ROOT / "deploy" / "helm" / "kmwatch"
EXPOSURE = 13  # tenths; what remains is that it has the network, UNIX sockets, and the host's own root folder


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


# ------------------------------------------------------------------------------------------------ the version


@pytest.mark.parametrize(
    ("place", "pattern"),
    [
        ("Dockerfile", r"^ARG VERSION=(\S+)$"),
        ("deploy/helm/kmwatch/Chart.yaml", r'^appVersion: "(\S+)"$'),
        ("deploy/compose/common.yaml", r"^    image: kmwatch:(\S+)$"),
    ],
)
def test_every_place_that_must_repeat_the_version_repeats_this_one(place: str, pattern: str) -> None:
    assert re.findall(pattern, (ROOT / place).read_text(encoding="utf-8"), re.MULTILINE) == [__version__]


def test_the_package_takes_its_version_from_the_code() -> None:
    assert version("kmwatch") == __version__
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_wheel_that_is_built_of_the_sdist_is_whole(tmp_path: Path) -> None:
    """Every file of the package, and the recording for the demo, which the checkout has as a link."""
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), ".")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    built = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("kmwatch/")}
    ours = {path for path in (ROOT / "kmwatch").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    recording = {f"kmwatch/demo/recording/{path.name}" for path in (ROOT / "config" / "recording").iterdir()}
    assert built == {path.relative_to(ROOT).as_posix() for path in ours} | recording


def test_the_changelog_has_a_place_for_it() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == __version__


# --------------------------------------------------------------------------------------------- the Dockerfile


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    done = run(str(Path(sys.executable).with_name("hadolint")), "--failure-threshold", "style", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_in_particular_and_asks_itself_how_it_is() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "USER 10001:10001" in last
    assert 'CMD ["kmwatch", "health", "-c", "/etc/kmwatch/kmwatch.yaml"]' in last
    assert f"EXPOSE {LISTEN.rpartition(':')[2]}" in last


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {f"!{name}" for name in names} <= set(ignored)
    assert [name for name in names if not (ROOT / name).exists()] == []


# ----------------------------------------------------------------------------------------------- the unit file


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """With kmwatch where it is here."""
    script = shutil.which("kmwatch", path=str(Path(sys.executable).parent))
    assert script is not None
    unit = tmp_path / "kmwatch.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/kmwatch/bin/kmwatch", script), encoding="utf-8")
    done = run("systemd-analyze", "verify", "--man=no", str(unit))
    assert (done.returncode, [line for line in done.stderr.splitlines() if "kmwatch" in line]) == (0, [])


def test_the_unit_exposes_next_to_nothing() -> None:
    done = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(UNIT))
    assert done.returncode == 0, done.stdout


# --------------------------------------------------------------------------------------------------- the chart


def test_what_the_chart_carries_are_links_to_the_one_source() -> None:
    """No copy that could go stale. What the chart makes of them is tested with helm, in tests/chart."""
    found = {path.name: path.resolve() for path in (CHART / "files").iterdir() if path.is_symlink()}
    assert found == {
        "kmwatch.rules.yaml": ROOT / "deploy" / "prometheus" / "kmwatch.rules.yaml",
        "kmwatch-soc.json": ROOT / "deploy" / "grafana" / "kmwatch-soc.json",
        "kmwatch-operator.json": ROOT / "deploy" / "grafana" / "kmwatch-operator.json",
    }


@pytest.mark.parametrize("path", sorted(CHART.glob("**/*values.yaml")), ids=lambda path: str(path.stem))
def test_the_values_that_come_with_the_chart_fit_its_schema(path: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    shipped = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(_over(shipped, given), schema)


def _over(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """Values on top of others, as helm lays them."""
    found = {**below, **above}
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            found[key] = _over(under, value)
    return found


def test_every_value_of_the_chart_is_in_its_schema_and_told_of_in_its_readme() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = yaml.safe_load((CHART / "values.schema.json").read_text(encoding="utf-8"))
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    assert values.keys() == schema["properties"].keys() - {"global"}
    assert [key for key in values if f"`{key}" not in readme] == []


# -------------------------------------------------------------------------------------------------- the habits


def test_every_hook_is_a_part_of_the_check_and_every_part_is_a_hook() -> None:
    (ours,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert {hook["language"] for hook in ours["hooks"]} == {"system"}
    parts = re.findall(r"^        ([a-z]+)\) step=", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(hook["entry"] for hook in ours["hooks"]) == sorted(f"./dev check {part}" for part in parts)
    assert len(parts) == 4


def test_the_recipe_names_every_place_of_the_version() -> None:
    recipe = (ROOT / "docs" / "guides" / "release.md").read_text(encoding="utf-8")
    for place in ("kmwatch/__init__.py", "Dockerfile", "deploy/helm/kmwatch/Chart.yaml", "deploy/compose/common.yaml"):
        assert f"`{place}`" in recipe
    named = set(re.findall(r"\./dev ([a-z-]+)", recipe))
    known = set(re.findall(r"^([a-z-]+)\)", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE))
    assert named - known == set()
