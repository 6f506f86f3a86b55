"""A real PostgreSQL for tests: starts, stops, dies and comes back on demand.

    with PostgresServer() as server:
        url = server.database()
        server.sql("SELECT 1")

PostgreSQL refuses to run as root: started by root, it runs as the package's own user, in a folder of its own.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
import trustme
from psycopg import sql

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

_PATIENCE = 30.0
_USER = "postgres"
CERT_USERS = "cert_users"
# A kill of the process loses nothing that was written, flushed or not; only a crash of the machine would.
_SETTINGS = {
    "fsync": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "log_line_prefix": "'%m [%p] %a '",
    "unix_socket_directories": "''",
    "listen_addresses": "'127.0.0.1'",
    "password_encryption": "scram-sha-256",
}


class PostgresServer:
    """One cluster, its port and its data, which outlive a stop, a kill and a restart.

    Args:
        settings: more of postgresql.conf, or other values for those this harness sets.
        cores: run on these only.
        tls: offer TLS with `ca` as the authority, and ask members of the role CERT_USERS for a certificate of it.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, tls: bool = False, cores: set[int] | None = None
    ) -> None:
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.ca = trustme.CA() if tls else None
        self.folder = Path(tempfile.mkdtemp(prefix="kmwatch-postgres-"))
        self._run_as = _other_user()
        self._cores = cores
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {**_SETTINGS, "port": str(self.port), **(settings or {})}

    def __enter__(self) -> Self:
        try:
            self._init()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def admin(self) -> str:
        """The superuser's URL, with the password."""
        return f"postgresql://{_USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and return when it answers."""
        assert not self.running, "the server runs already"
        command = [program("postgres"), "-D", str(self._data)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                **self._run_as,
            )
        if self._cores:
            os.sched_setaffinity(self._process.pid, self._cores)  # what it forks from here on inherits that
        self.wait_until_it_answers()

    def stop(self) -> None:
        """End it in good order: connections are cut, nothing is lost (a fast shutdown)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_PATIENCE)
            self._process = None

    def kill(self) -> None:
        """Kill the postmaster; its backends notice and end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the postmaster and every backend: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def wait_until_it_answers(self) -> None:
        """Wait, through a start or a recovery."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError as error:
                if not self.running or time.monotonic() > deadline:
                    raise ServerUnavailableError(f"no answer: {error}; {self.log()[-3000:]}") from error
                time.sleep(0.05)
            else:
                return

    def sql(
        self, statement: str, parameters: Sequence[object] = (), *, url: str | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, or at another URL; returns its rows."""
        with psycopg.connect(url or self.admin, autocommit=True, connect_timeout=5) as db:
            cursor = db.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def database(self, name: str | None = None) -> str:
        """Make a database; returns its URL, as the superuser and without the password."""
        name = name or f"db_{secrets.token_hex(6)}"
        with psycopg.connect(self.admin, autocommit=True) as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "server.log").read_text(errors="replace")

    def certificate(self, name: str, folder: Path) -> tuple[Path, Path, Path]:
        """A client's certificate with this common name: files of authority, certificate and key."""
        assert self.ca is not None, "made without TLS"
        made = self.ca.issue_cert(f"{name}@example.org", common_name=name)
        ca, cert, key = folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key"
        self.ca.cert_pem.write_to_path(ca)
        made.cert_chain_pems[0].write_to_path(cert)
        key.touch(mode=0o600)
        made.private_key_pem.write_to_path(key)
        return ca, cert, key

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _init(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        self._own(self.folder, secret)
        command = [program("initdb"), "-D", str(self._data), "-U", _USER, "--auth=scram-sha-256", "--no-sync"]
        command += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=self.folder, env=_environment(), **self._run_as
        )
        if done.returncode != 0:
            raise ServerUnavailableError(f"initdb failed:\n{done.stdout}{done.stderr}")
        settings = {**self._settings, **(self._tls() if self.ca is not None else {})}
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = {value}\n" for key, value in settings.items())
        rules = [f"hostssl all +{CERT_USERS} 127.0.0.1/32 cert"] if self.ca is not None else []
        rules += ["host all all 127.0.0.1/32 scram-sha-256"]
        (self._data / "pg_hba.conf").write_text("".join(f"{rule}\n" for rule in rules))

    def _tls(self) -> dict[str, str]:
        assert self.ca is not None
        leaf = self.ca.issue_cert("localhost", "127.0.0.1")
        cert, key, ca = (self._data / name for name in ("server.pem", "server.key", "ca.pem"))
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(key)
        self.ca.cert_pem.write_to_path(ca)
        self._own(cert, key, ca)
        return {"ssl": "on", "ssl_cert_file": f"'{cert}'", "ssl_key_file": f"'{key}'", "ssl_ca_file": f"'{ca}'"}

    def _own(self, *paths: Path) -> None:
        if self._run_as:
            for path in paths:
                shutil.chown(path, _USER, _USER)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        for pid in (self._process.pid, *_children(self._process.pid)):
            os.kill(pid, number)


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _other_user() -> dict[str, Any]:
    """Whom the server runs as, for `subprocess`: nobody else unless we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError as error:
        raise ServerUnavailableError("these tests need Debian's package postgresql, and its user postgres") from error
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def program(name: str) -> str:
    """The newest that is installed; Debian keeps them out of PATH."""

    def version(path: Path) -> int:
        found = re.search(r"/(\d+)/bin/", str(path))
        return int(found[1]) if found else 0

    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=version)
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise ServerUnavailableError("these tests need a real PostgreSQL: install the Debian package postgresql")
    return program


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
