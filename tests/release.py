"""`./dev release`: sdist and wheel of the commit that is checked out, in dist/, tried as a user would have them.

Each is built twice, in other folders, under other umasks and at another time, and must be the same to the byte. The
wheel is built of the sdist, so the sdist is whole. Then the wheel is installed into a fresh virtual environment beside
the locked packages, and `kmwatch demo` runs from an empty folder. docs/guides/release.md has the rest of the recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from kmwatch import __version__

_CHECKOUT = Path(__file__).resolve().parents[1]
_DIST = _CHECKOUT / "dist"
_UMASKS = (0o022, 0o077)


def main() -> int:
    """Build, compare, install and try. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev release", description=__doc__.partition("\n")[0])
    parser.add_argument("--rehearse", action="store_true", help="whatever is not committed or not in the changelog")
    given = parser.parse_args()
    missing = _not_ready()
    for what in missing:
        sys.stderr.write(f"release: {what}\n")
    if missing and not given.rehearse:
        sys.stderr.write("release: mend that, or --rehearse\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="kmwatch-release-") as folder:
        place = Path(folder)
        built = [_build(place / f"{number}", umask) for number, umask in enumerate(_UMASKS)]
        sums = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} for files in built]
        if sums[0] != sums[1]:
            sys.stderr.write(f"release: two builds differ: {sums[0]} and {sums[1]}\n")
            return 1
        _try(place / "installed", next(path for path in built[0] if path.suffix == ".whl"))
        shutil.rmtree(_DIST, ignore_errors=True)
        _DIST.mkdir()
        for path in built[0]:
            shutil.copy(path, _DIST)
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums[0].items()))
    (_DIST / "SHA256SUMS").write_text(lines, encoding="utf-8")
    sys.stdout.write(f"kmwatch {__version__}, built twice to the same bytes, installed and tried, in dist/:\n{lines}")
    return 0


def _not_ready() -> list[str]:
    """What keeps the commit from being a release."""
    found = []
    if _run("git", "status", "--porcelain"):
        found.append("there are changes that are not committed; they are no part of what is built")
    changelog = (_CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section ## [{__version__}] - YYYY-MM-DD")
    return found


def _build(place: Path, umask: int) -> list[Path]:
    """Sdist, and from it the wheel, of a copy of the commit; times in them are the commit's."""
    source, out = place / "a-folder-of-its-own", place / "dist"
    source.mkdir(parents=True)
    archive = place / "commit.tar"
    before = os.umask(umask)
    try:
        _run("git", "archive", "--output", str(archive), "HEAD")
        _run("tar", "-x", "-f", str(archive), "-C", str(source))
        _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source), epoch=True)
    finally:
        os.umask(before)
    return sorted(out.iterdir())


def _try(place: Path, wheel: Path) -> None:
    """A fresh virtual environment with the locked packages and the wheel; the demo, from an empty folder."""
    _run(sys.executable, "-m", "venv", str(place))
    pip = (
        str(place / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
        "--quiet",
    )
    _run(*pip, "--require-hashes", "-r", str(_CHECKOUT / "requirements.lock"))
    _run(*pip, "--no-deps", "--no-index", str(wheel))
    empty = place / "empty"
    empty.mkdir()
    script = str(place / "bin" / "kmwatch")
    said = _run(script, "--version", folder=empty)
    demo = _run(script, "demo", "--dir", str(empty / "demo"), folder=empty)
    if said != f"kmwatch {__version__}" or "the account balances" not in demo:
        raise SystemExit(f"release: the installed wheel says {said}, and its demo:\n{demo}")


def _run(*command: str, folder: Path = _CHECKOUT, epoch: bool = False) -> str:
    """Run a command to its end; returns what it printed. Its environment has nothing of this checkout."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if epoch:
        environment["SOURCE_DATE_EPOCH"] = _run("git", "log", "-1", "--format=%ct")
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"release: {' '.join(command[:4])} ... failed (above)\n{done.stdout}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
