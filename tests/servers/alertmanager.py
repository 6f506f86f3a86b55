"""A real Prometheus Alertmanager for tests, alone and with a receiver that goes nowhere."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import msgspec

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

_PATIENCE = 30.0
_NAMES = ("prometheus-alertmanager", "alertmanager")  # Debian's, and the project's own


class Alertmanager:
    """One instance in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")

    def __enter__(self) -> Self:
        program = next((found for name in _NAMES if (found := shutil.which(name))), None)
        if program is None:
            raise ServerUnavailableError("these tests need a real Alertmanager: run ./dev setup")
        options = [
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise ServerUnavailableError(
                    f"Alertmanager did not start: {(self._folder / 'log').read_text()[-2000:]}"
                )
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def alerts(self) -> list[Any]:
        """What fires now."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=10) as answer:  # noqa: S310 - ours
            found: list[Any] = msgspec.json.decode(answer.read())
        return found

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310 - ours
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False
