"""The jars of Apache Kafka, and of other servers in Java: fetched once with Maven into .cache/, which git ignores."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
_POM = Path(__file__).with_name("pom.xml")
_MINIMUM_JAVA = 17
_TRIES = 3


class ServerUnavailableError(Exception):
    """A real server cannot run here; the message says what to do about it."""


def java() -> str:
    """The path of a Java that Kafka can run on.

    Raises:
        ServerUnavailableError: there is none, or it is too old.
    """
    found = shutil.which("java")
    if found is None:
        raise ServerUnavailableError(_missing("java"))
    text = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', text)
    if version is None or int(version[1]) < _MINIMUM_JAVA:
        message = f"Apache Kafka needs Java {_MINIMUM_JAVA} or later; {found} says: {text.strip()}"
        raise ServerUnavailableError(message)
    return found


def jars() -> Path:
    """The folder of Kafka's jars, fetched with Maven if it is not there yet. Safe to call at once from many.

    Raises:
        ServerUnavailableError: Maven is missing or cannot reach its repository.
    """
    return jars_of(_POM, f"kafka-{_version()}", "Apache Kafka")


def jars_of(pom: Path, name: str, what: str) -> Path:
    """The folder of the jars that a pom asks for, fetched if need be; `name` is its name within the cache.

    Raises:
        ServerUnavailableError: Maven is missing or cannot reach its repository.
    """
    cache = _CHECKOUT / ".cache"
    cache.mkdir(exist_ok=True)
    target = cache / name
    with (cache / f"{name.partition('-')[0]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _fetch(pom, what, cache, target)
    return target


def _version() -> str:
    found = re.search(r"<artifactId>kafka_[\d.]+</artifactId>\s*<version>([^<]+)", _POM.read_text())
    assert found is not None, f"{_POM} names no version of Kafka"
    return found[1]


def _fetch(pom: Path, what: str, cache: Path, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailableError(_missing("mvn"))
    output = ""
    for _ in range(_TRIES):
        # A folder under its final name is complete: it gets the name last.
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as folder:
            command = [maven, "-q", "-B", "-C", "-f", str(pom), "dependency:copy-dependencies"]
            options = ["-DincludeScope=runtime", f"-DoutputDirectory={folder}/lib"]
            done = subprocess.run(
                [*command, *options],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode == 0:
                (Path(folder) / "lib").rename(target)
                return
            output = done.stdout + done.stderr
    message = f"Maven could not fetch the jars of {what} in {_TRIES} tries:\n{output}"
    raise ServerUnavailableError(message)


def _missing(program: str) -> str:
    return (
        f"the tests need a real Apache Kafka, and `{program}` is not installed. Run `./dev setup`, or:"
        " apt-get install --no-install-recommends default-jre-headless maven"
    )
