"""A real MariaDB for tests, in a folder of its own, reached over TCP with a password.

    with MariaDbServer() as server:
        engine = create_engine(server.url("mysql"))

MariaDB refuses to run as root: started by root, it runs as the package's own user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

_PATIENCE = 60.0
_USER = "mysql"
_GREETING = b"\x0a"  # protocol version 10
_SETTINGS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
)


class MariaDbServer:
    """One server. `port` is its TCP port on 127.0.0.1, `admin` its superuser."""

    def __init__(self) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="kmwatch-mariadb-"))
        self._run_as = _other_user()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._init()
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "admin", password: str | None = None) -> str:
        """Where a client finds a database, with the password."""
        return f"mysql+pymysql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def _init(self) -> None:
        first = self.folder / "first.sql"
        first.write_text(
            f"CREATE USER admin@127.0.0.1 IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL PRIVILEGES ON *.* TO admin@127.0.0.1 WITH GRANT OPTION;\n",
            encoding="utf-8",
        )
        if self._run_as:
            for path in (self.folder, first):
                shutil.chown(path, _USER, _USER)
        options = ["--no-defaults", f"--datadir={self.folder / 'data'}", "--auth-root-authentication-method=normal"]
        done = subprocess.run(
            [_program("mariadb-install-db"), *options, "--skip-test-db"],
            capture_output=True, text=True, check=False, cwd=self.folder, **self._run_as,
        )  # fmt: skip
        if done.returncode != 0:
            raise ServerUnavailableError(f"mariadb-install-db failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _start(self) -> None:
        self._process = self._popen([
            _program("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}",
            f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'first.sql'}", *_SETTINGS,
        ])  # fmt: skip
        deadline = time.monotonic() + _PATIENCE
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "server.log").read_text(errors="replace")[-3000:]
                raise ServerUnavailableError(f"MariaDB does not answer: {said}")
            time.sleep(0.05)

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self._run_as
            )

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
                return client.recv(5)[4:] == _GREETING
        except OSError:
            return False


def _other_user() -> dict[str, Any]:
    """Whom the server runs as, for `subprocess`: nobody else unless we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError as error:
        raise ServerUnavailableError("these tests need Debian's package mariadb-server, and its user mysql") from error
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _program(name: str) -> str:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise ServerUnavailableError("these tests need a real MariaDB: install the Debian package mariadb-server")
    return program
