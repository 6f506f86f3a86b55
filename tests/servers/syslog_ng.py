"""A real syslog-ng for tests: RFC 5425 (octet counted) over mutual TLS in, one JSON object a message out.

Its Debian package conflicts with rsyslog's, so `./dev setup` unpacks it into .cache and it runs from there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import msgspec
import trustme

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

_UNPACKED = Path(__file__).resolve().parents[2] / ".cache" / "syslog-ng"
_PATIENCE = 30.0
_CONFIG = """
@version: 3.38
options {{ keep-hostname(yes); use-dns(no); log-msg-size(131072); time-reopen(1); }};
source tls {{
  syslog(ip("127.0.0.1") port({port}) transport("tls")
    tls(key-file("{folder}/key.pem") cert-file("{folder}/cert.pem") ca-file("{folder}/ca.pem")
        peer-verify(required-trusted)));
}};
destination record {{
  file("{folder}/received.jsonl" flush-lines(1)
    template("$(format-json line=${{.SDATA.kmwatch@32473.line}} program=${{PROGRAM}} message=${{MSG}})\\n"));
}};
log {{ source(tls); destination(record); }};
"""


class Received(msgspec.Struct):
    """One message as syslog-ng took it."""

    line: str = ""
    program: str = ""
    message: str = ""


class SyslogNg:
    """One receiver in a folder of its own; its clients need a certificate of its authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        authority = trustme.CA()
        server, client = authority.issue_cert("localhost"), authority.issue_cert("kmwatch.example.org")
        self.ca, self.client_cert, self.client_key = folder / "ca.pem", folder / "client.pem", folder / "client-key.pem"
        authority.cert_pem.write_to_path(self.ca)
        server.private_key_pem.write_to_path(folder / "key.pem")
        client.private_key_pem.write_to_path(self.client_key)
        for leaf, path in ((server, folder / "cert.pem"), (client, self.client_cert)):
            path.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        self._program, self._modules = _program()
        (folder / "syslog-ng.conf").write_text(_CONFIG.format(folder=folder, port=self._port))

    @property
    def address(self) -> str:
        return f"tls://localhost:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and return when it listens. Raises ServerUnavailableError."""
        files = {"-f": "syslog-ng.conf", "-p": "pid", "-c": "ctl", "-R": "persist"}
        options = [word for option, name in files.items() for word in (option, str(self.folder / name))]
        libraries = [str(path) for path in _UNPACKED.glob("usr/lib/*") if path.is_dir()]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join([str(_UNPACKED / "usr/lib"), *libraries])}
        with (self.folder / "log").open("ab") as log:
            command = [self._program, "-F", "--no-caps", *self._modules, *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + _PATIENCE
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerUnavailableError(f"syslog-ng did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def wait_for(self, lines: set[str]) -> list[Received]:
        """What was received once every line id is there. Raises TimeoutError."""
        deadline = time.monotonic() + _PATIENCE
        while missing := lines - {message.line for message in self._received()}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"never received: {sorted(missing)}; {(self.folder / 'log').read_text()[-2000:]}")
            await asyncio.sleep(0.02)
        return self._received()

    def _received(self) -> list[Received]:
        path = self.folder / "received.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [msgspec.json.decode(line, type=Received) for line in whole.split(b"\n") if line]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


def _program() -> tuple[str, list[str]]:
    """The program, and the options with which it finds its modules."""
    unpacked = _UNPACKED / "usr/sbin/syslog-ng"
    if unpacked.exists():
        (plugin,) = _UNPACKED.glob("usr/lib/**/libsyslogformat.so")
        return str(unpacked), [f"--module-path={plugin.parent}"]
    found = shutil.which("syslog-ng", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise ServerUnavailableError("these tests need a real syslog-ng: run ./dev setup")
    return found, []
