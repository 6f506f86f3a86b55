"""The tutorial, command for command, in a fresh copy of this checkout: each prints what the page shows.

The one thing that is not done again is the download of packages: the copy's virtual environment is new, and finds the
packages of the one that runs the tests. tests/fresh-debian.sh installs in earnest.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operate.transcript import Command, Written, steps, told
from tests.servers.ports import free_port
from tests.support.daemon import CHECKOUT

TUTORIAL = CHECKOUT / "docs" / "tutorial" / "first-alert.md"
PATIENCE = 240.0
# `fingerprint` of ./dev: what says that a virtual environment is set up.
STAMP = """set -- requirements.lock requirements-build.lock
{ printf '%s\\n' "$PWD" "$@" && cat "$@" pyproject.toml dev; } | cksum > .venv/.stamp-runtime"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What a clone would hold, with a virtual environment of its own."""
    place = tmp_path / "kmwatch"
    place.mkdir()
    listed = "git ls-files -z --cached --others --exclude-standard"
    _sh(f"{listed} | tar --null --ignore-failed-read -T - -c 2>/dev/null | tar -x -C {place}", CHECKOUT)
    _sh(f"{sys.executable} -m venv --without-pip .venv", place)
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    own = next((place / ".venv" / "lib").glob("python*/site-packages"))
    (own / "packages.pth").write_text(f"{place}\n{packages}\n", encoding="utf-8")
    script = place / ".venv" / "bin" / "kmwatch"
    script.write_text(f"#!{place}/.venv/bin/python\nimport sys\nfrom kmwatch.__main__ import main\nsys.exit(main())\n")
    script.chmod(0o755)
    for level in ("runtime", "dev"):
        stamp = (
            STAMP
            if level == "runtime"
            else STAMP.replace("runtime", level).replace(
                "requirements.lock requirements-build.lock", "requirements-dev.lock"
            )
        )
        _sh(stamp, place)
    (place / ".venv" / ".root").write_text(f"{place}\n", encoding="utf-8")
    (place / ".cache").symlink_to(CHECKOUT / ".cache")  # the jars of Kafka
    return place


def _sh(command: str, place: Path) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, timeout=PATIENCE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout


class Terminal:
    """A command that goes on until it is interrupted."""

    def __init__(self, command: str, place: Path) -> None:
        self._log = place / f"{re.sub('[^a-z]', '', command)}.out"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], cwd=place, stdout=log, stderr=log, start_new_session=True
            )

    def shows(self, expected: tuple[str, ...]) -> str:
        """Wait until it shows this; what it shows."""
        end = time.monotonic() + PATIENCE
        while not told(expected, printed := self._log.read_text(encoding="utf-8")):
            assert time.monotonic() < end, f"shows\n{printed}\ninstead of\n" + "\n".join(expected)
            assert self._process.poll() is None, printed
            time.sleep(0.1)
        return printed

    def interrupt(self) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(60)
        finally:
            self._process.kill()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Those that are open, the newest last; closed at the end."""
    opened: list[Terminal] = []
    yield opened
    for terminal in reversed(opened):
        terminal.interrupt()


@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_prints_what_it_shows(copy: Path, terminals: list[Terminal]) -> None:
    port, broker = str(free_port()), "127.0.0.1:9092"
    for step in steps(TUTORIAL):
        if isinstance(step, Written):
            text = step.text.replace("127.0.0.1:9092", broker)
            if "sources:" in text:
                text += f'http: {{listen: "127.0.0.1:{port}"}}\n'  # 9464 may be somebody else's on this machine
            (copy / step.path).write_text(text, encoding="utf-8")
            continue
        if step.line.startswith(("git clone", "cd ")):
            continue
        command = _elsewhere(step, port)
        if command.line.startswith("./dev kafka") or "kafka.yaml" in command.line:
            terminals.append(Terminal(command.line, copy))
            if "kafka.yaml" in command.line:
                terminals[-1].shows(command.output)
            else:
                broker = _broker(terminals[-1], command)
            continue
        printed = _sh(command.line, copy)
        if "curl" in command.line:
            printed = _until(command, printed, copy)
        assert told(command.output, printed), f"$ {command.line}\n{printed}"


def _elsewhere(step: Command, port: str) -> Command:
    return Command(step.line.replace("9464", port), tuple(line.replace("9464", port) for line in step.output))


def _broker(terminal: Terminal, command: Command) -> str:
    """The address that it names in place of the page's."""
    (line,) = command.output
    end, printed = time.monotonic() + PATIENCE, ""
    while time.monotonic() < end:
        printed = terminal.shows(("...",))
        if found := re.search(r"answers on (127\.0\.0\.1:\d+)", printed):
            assert told(("...", line.replace("127.0.0.1:9092", found[1])), printed), printed
            return found[1]
        time.sleep(0.1)
    raise AssertionError(printed)


def _until(command: Command, printed: str, place: Path) -> str:
    """The status moves while it is asked for: what it shows at last."""
    end = time.monotonic() + 60
    while not told(command.output, printed) and time.monotonic() < end:
        time.sleep(0.2)
        printed = _sh(command.line, place)
    return printed
