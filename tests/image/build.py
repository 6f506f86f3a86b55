"""The image built as its Dockerfile says, by buildah: no engine, no registry, root only.

Its base is a Debian 12 of debootstrap's, made once. What this machine needs to reach package indexes, its certificate
authorities and pip's configuration, is mounted while it builds and is no part of the image.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kmwatch import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
_CACHE = CHECKOUT / ".cache" / "image"
BASE, IMAGE = "localhost/kmwatch-base", f"localhost/kmwatch:{__version__}"
# As small as Debian gets with what the Dockerfile asks of its base. Of documentation only the copyrights stay.
_PACKAGES = "ca-certificates,python3,python3-venv"
_LEFT_OUT = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/man", "usr/share/locale", "usr/share/info")
_OURS = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
_FROM_HERE = (
    Path("/etc/ssl/certs"),
    Path("/usr/local/share/ca-certificates"),
    Path("/etc/pip.conf"),
    Path.home() / ".config" / "pip" / "pip.conf",
)


def buildah(*arguments: str) -> str:
    """Run buildah on a store of our own; returns what it printed."""
    command = ["buildah", "--root", str(_CACHE / "store"), "--runroot", str(_CACHE / "run"), *arguments]
    done = subprocess.run(command, env={**os.environ, **_OURS}, cwd=CHECKOUT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise SystemExit(f"image: buildah {arguments[0]} failed (above)")
    return done.stdout.decode().strip()


def build() -> None:
    """Build base and image."""
    _CACHE.mkdir(parents=True, exist_ok=True)
    if BASE not in buildah("images", "--format", "{{.Name}}").splitlines():
        _say("making the base: a Debian 12 with Python")
        container = buildah("from", "scratch")
        with tempfile.TemporaryDirectory(prefix="kmwatch-debian-", dir="/var/tmp") as folder:
            buildah("add", "--quiet", container, str(_debian(Path(folder) / "root")), "/")
        buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
        buildah("commit", "--quiet", "--rm", container, BASE)
    _say("building the image")
    mounted = [word for path in _FROM_HERE if path.exists() for word in ("--volume", f"{path}:{_inside(path)}:ro")]
    given = {"BASE": BASE, "VERSION": __version__, "REVISION": _revision()}
    words = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    buildah("build", "--quiet", "--layers", "--format", "docker", "--tag", IMAGE, *mounted, *words, ".")


def inspected() -> dict[str, Any]:
    """The image's configuration as an engine reads it."""
    found: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    return found


def size(name: str) -> int:
    """Octets of an image's files."""
    with root_of(name) as root:
        return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def root_of(name: str) -> Iterator[Path]:
    """The root folder of a container of an image, until the end of the `with`."""
    container = buildah("from", "--pull-never", name)
    try:
        yield Path(buildah("mount", container))
    finally:
        buildah("umount", container)
        buildah("rm", container)


def _inside(path: Path) -> Path:
    """Where a file of this machine goes: what is in our home, to that of root."""
    return Path("/root") / path.relative_to(Path.home()) if path.is_relative_to(Path.home()) else path


def _debian(folder: Path) -> Path:
    """A Debian in a folder: not below the checkout, since debootstrap mounts /proc into it for a while."""
    command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(folder)]
    with (_CACHE / "debootstrap.log").open("wb") as log:
        if subprocess.run(command, stdout=log, stderr=log, check=False).returncode != 0:
            raise SystemExit(f"image: debootstrap failed; see {log.name}")
    for name in _LEFT_OUT:
        for path in (folder / name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in (folder / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()
    return folder


def _revision() -> str:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _say(text: str) -> None:
    sys.stderr.write(f"image: {text}\n")
