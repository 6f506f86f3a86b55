"""A real HTTP proxy for tests: tinyproxy, which asks for a user and a password and notes every request."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

USER, PASSWORD = "kmwatch", "pass.hunter2"
_PATIENCE = 30.0


class Tinyproxy:
    """One instance in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log, self._config = folder / "tinyproxy.log", folder / "tinyproxy.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._config.write_text(
            f"Port {self.port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 30\nMaxClients 50\nLogLevel Connect\n"
            f'LogFile "{self._log}"\nBasicAuth {USER} {PASSWORD}\n'
        )

    def __enter__(self) -> Self:
        program = shutil.which("tinyproxy", path="/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin")
        if program is None:
            raise ServerUnavailableError("these tests need tinyproxy: run ./dev setup")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program, "-d", "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise ServerUnavailableError(f"tinyproxy did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def url(self, password: str = PASSWORD) -> str:
        """As a configuration has it, credentials and all; a part of them is written as URLs may write it."""
        return f"http://{USER}:{quote(password).replace('.', '%2E')}@127.0.0.1:{self.port}"

    def seen(self, request: str) -> int:
        """How many requests of this beginning have passed, such as `CONNECT localhost:8088`."""
        return sum(f"): {request}" in line for line in self._log.read_text(errors="replace").splitlines())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
