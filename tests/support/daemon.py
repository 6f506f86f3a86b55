"""kmwatch as a real process: `python -m kmwatch run` with a configuration of its own, observed from outside.

    with Daemon(folder, configuration(folder, source, [file_sink(folder)])) as daemon:
        daemon.start()
        daemon.wait_until_ready()
        daemon.wait_until(lambda status: status.account.records.consumed == 3, "all is consumed")
        assert daemon.terminate() == 0

Whatever happens, leaving the `with` ends the process, a stopped one too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from msgspec import DecodeError, Struct, json

from kmwatch.condition import Status
from tests.servers.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDING = CHECKOUT / "config" / "recording"
PATIENCE = 60.0
_LOOK = 0.05

Config = dict[str, object]


class LogLine(Struct):
    """What tests read of a line of the daemon's log."""

    event: str
    level: str = ""
    why: str = ""
    error: str = ""


class Answer(Struct):
    """An answer over HTTP."""

    status: int
    body: bytes


def kafka_source(bootstrap: str, topic: str, **more: object) -> Config:
    """A Kafka source; `more` overrides its keys."""
    return {
        "kafka": {
            "bootstrap": [bootstrap],
            "topics": [topic],
            "group": f"{topic}-readers",
            "session_timeout": "6s",
            **more,
        }
    }


def file_sink(folder: Path) -> Config:
    """A file of alerts, `alerts.jsonl` in the folder."""
    return {"name": "archive", "file": {"path": str(folder / "alerts.jsonl")}}


def configuration(folder: Path, source: Config, sinks: Sequence[Config], **more: object) -> Config:
    """The recording's callers, identities and inventory over a source, with the store in the folder."""
    return {
        "sources": [source],
        "witnesses": {"cadf": "required"},
        "callers": str(RECORDING / "callers.yaml"),
        "identities": {"file": str(RECORDING / "identities.json")},
        "inventory": {"file": str(RECORDING / "inventory.jsonl")},
        "store": {"sqlite": {"path": str(folder / "kmwatch.db")}},
        "sinks": list(sinks),
        "timing": {"lateness": "2s", "settle": "4s"},
        **more,
    }


def run_kmwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a kmwatch command to its end."""
    command = [sys.executable, "-m", "kmwatch", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CHECKOUT, timeout=PATIENCE, env=_environment({})
    )


class Daemon:
    """One daemon at a time, startable again with the same configuration.

    Args:
        folder: holds `<name>.yaml` and `<name>.log`.
        config: the configuration; its `http` is chosen here.
        name: tells daemons in one folder apart.
        module: what `python -m` runs in place of kmwatch itself.
    """

    def __init__(self, folder: Path, config: Config, *, name: str = "kmwatch", module: str = "kmwatch") -> None:
        self.port = free_port()
        self.config = folder / f"{name}.yaml"
        self.log_file = folder / f"{name}.log"
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self.config.write_bytes(json.encode({**config, "http": {"listen": f"127.0.0.1:{self.port}"}}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it; returns at once."""
        assert not self.running, "the daemon runs already"
        command = [sys.executable, "-m", self._module, "run", "-c", str(self.config), *arguments]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                env=_environment(environment or {}),
            )

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.send(signal.SIGTERM)
        return self.wait()

    def pause(self) -> None:
        """SIGSTOP: it holds everything and does nothing."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None, "the daemon was not started"
        self._process.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        assert self._process is not None, "the daemon was not started"
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self._story("the daemon does not end")) from error

    def wait_until_stopped(self) -> None:
        """Wait until a SIGSTOP, of whoever, has taken hold of it."""

        def stopped() -> bool:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

        self._wait(stopped, "it is stopped")

    def get(self, path: str) -> Answer | None:
        """Ask over HTTP; None where nobody answers."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return Answer(answer.status, answer.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read())
        except (URLError, HTTPException, OSError):
            return None

    def status(self) -> Status:
        """What /status shows now."""
        answer = self.get("/status")
        assert answer is not None, self._story("/status does not answer")
        return json.decode(answer.body, type=Status)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its name with labels, as exposed."""
        answer = self.get("/metrics")
        assert answer is not None, self._story("/metrics does not answer")
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def is_ready(self) -> bool:
        answer = self.get("/readyz")
        return answer is not None and answer.status == 200

    def wait_until_ready(self) -> None:
        self._wait(self.is_ready, "/readyz says so")

    def wait_until_serving(self) -> None:
        """Wait until it answers at all: a standby is alive and not ready."""
        self._wait(lambda: self.get("/healthz") is not None, "/healthz answers")

    def wait_until(self, holds: Callable[[Status], bool], what: str, patience: float = PATIENCE) -> Status:
        """Wait until something holds of /status, and return that status."""
        found: list[Status] = []

        def look() -> bool:
            answer = self.get("/status")
            if answer is None:
                return False
            found[:] = [json.decode(answer.body, type=Status)]
            return holds(found[0])

        self._wait(look, what, patience)
        return found[0]

    def wait_for_log(self, event: str) -> LogLine:
        """Wait for a line of the log."""
        self._wait(lambda: any(line.event == event for line in self.log()), f"the log says {event}")
        return next(line for line in self.log() if line.event == event)

    def output(self) -> str:
        """Everything it has written."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log(self) -> list[LogLine]:
        """The JSON lines of its log; what is none is left out."""
        lines = []
        for line in self.output().splitlines():
            try:
                lines.append(json.decode(line.encode(), type=LogLine))
            except DecodeError:
                continue
        return lines

    def _wait(self, holds: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not holds():
            if not self.running:
                raise AssertionError(self._story(f"the daemon ended before {what}"))
            if time.monotonic() > deadline:
                status = self.get("/status")
                shown = status.body.decode() if status else "/status does not answer"
                raise AssertionError(self._story(f"not so after {patience:.0f} s: {what}; {shown}"))
            time.sleep(_LOOK)

    def _story(self, what: str) -> str:
        tail = "\n".join(self.output().splitlines()[-25:])
        return f"{what}; its log ends:\n{tail}"


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(CHECKOUT), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}
