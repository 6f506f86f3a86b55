"""A real rsyslogd for tests: TLS, plain TCP and UDP in, one JSON object a message out.

    with Rsyslog(folder) as receiver:
        sink = SyslogSink("siem", receiver.tls, ca=receiver.ca)
        ...
        await receiver.wait_for(3)

It keeps its ports through a stop, a kill and a restart. Certificates are made anew for each instance.
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

PACKAGES = "rsyslog and rsyslog-gnutls"  # Debian's names
_START_TIMEOUT = 20.0
_PATIENCE = 30.0

_CONFIG = """
global(
  workDirectory="{folder}"
  maxMessageSize="64k"
  net.enableDNS="off"
  parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{folder}/ca.pem"
  defaultNetstreamDriverCertFile="{folder}/cert.pem"
  defaultNetstreamDriverKeyFile="{folder}/key.pem"
)
module(load="mmpstrucdata")
module(load="imudp")
module(load="imptcp")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{auth}")
template(name="json" type="list") {{
  constant(value="{{\\"raw\\":\\"") property(name="rawmsg" format="json")
  constant(value="\\",\\"msg\\":\\"") property(name="msg" format="json")
  constant(value="\\",\\"via\\":\\"") property(name="inputname" format="json")
  constant(value="\\",\\"data\\":") property(name="$!rfc5424-sd")
  constant(value="}}\\n")
}}
ruleset(name="record") {{
  action(type="mmpstrucdata")
  action(type="omfile" file="{folder}/received.jsonl" template="json" asyncWriting="off" flushOnTXEnd="on")
}}
input(type="imtcp" port="{tls}" address="127.0.0.1" name="tls" ruleset="record")
input(type="imptcp" port="{tcp}" address="127.0.0.1" name="tcp" ruleset="record")
input(type="imudp" port="{udp}" address="127.0.0.1" name="udp" ruleset="record" rcvbufSize="4m")
"""


class Received(msgspec.Struct):
    """One message as rsyslog took it."""

    raw: str
    msg: str
    via: str
    data: dict[str, dict[str, str]] | str  # structured data as mmpstrucdata parsed it, "" if there was none


class Rsyslog:
    """One receiver in a folder of its own.

    Args:
        folder: an empty folder.
        authenticate: ask clients for a certificate of our authority, and refuse those without.
    """

    def __init__(self, folder: Path, *, authenticate: bool = False) -> None:
        self.folder = folder
        self._program = _program()
        self._ports = {scheme: free_port() for scheme in ("tls", "tcp", "udp")}
        self._process: subprocess.Popen[bytes] | None = None
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        client = authority.issue_cert("kmwatch.example.org")
        self.ca = folder / "ca.pem"
        self.client_cert = folder / "client.pem"
        self.client_key = folder / "client-key.pem"
        authority.cert_pem.write_to_path(self.ca)
        server.private_key_pem.write_to_path(folder / "key.pem")
        client.private_key_pem.write_to_path(self.client_key)
        _write_chain(server, folder / "cert.pem")
        _write_chain(client, self.client_cert)
        auth = "x509/certvalid" if authenticate else "anon"
        (folder / "rsyslog.conf").write_text(_CONFIG.format(folder=folder, auth=auth, **self._ports))

    @property
    def tls(self) -> str:
        return f"tls://localhost:{self._ports['tls']}"

    @property
    def tcp(self) -> str:
        return f"tcp://127.0.0.1:{self._ports['tcp']}"

    @property
    def udp(self) -> str:
        return f"udp://127.0.0.1:{self._ports['udp']}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and return when it listens.

        Raises:
            ServerUnavailableError: it ended or did not listen; the message has the end of its log.
        """
        assert self._process is None, "rsyslogd runs already"
        # -n: stay in the foreground; -iNONE: no file of its process id.
        command = [self._program, "-n", "-iNONE", "-f", str(self.folder / "rsyslog.conf")]
        with (self.folder / "rsyslogd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_TIMEOUT
        while not all(self._listens(scheme) for scheme in ("tls", "tcp")):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerUnavailableError(f"rsyslogd did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in order: it writes what it has taken."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does: what it had in memory is gone."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What rsyslogd said of itself."""
        return (self.folder / "rsyslogd.log").read_text(errors="replace")

    def received(self) -> list[Received]:
        """Every message so far, in the order it was written; a line that a kill tore is left out."""
        path = self.folder / "received.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [msgspec.json.decode(line, type=Received) for line in whole.split(b"\n") if line]

    async def wait_for(self, lines: set[str]) -> list[Received]:
        """Return what was received once every line id is there.

        Raises:
            TimeoutError: naming the line ids that never came.
        """
        deadline = time.monotonic() + _PATIENCE
        while missing := lines - {line_id(message) for message in self.received()}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"never received: {sorted(missing)}; {self.log()[-2000:]}")
            await asyncio.sleep(0.02)
        return self.received()

    def _listens(self, scheme: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._ports[scheme])) == 0

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=_PATIENCE)
            self._process = None


def line_id(message: Received) -> str:
    """The alert's line id in the structured data, "" for what is none of ours."""
    return message.data["kmwatch@32473"]["line"] if isinstance(message.data, dict) else ""


def _program() -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("rsyslogd", path=path)
    if program is None or not list(Path("/usr/lib").glob("**/rsyslog/lmnsd_gtls.so")):
        raise ServerUnavailableError(f"these tests need a real rsyslogd: install the Debian packages {PACKAGES}")
    return program


def _write_chain(leaf: trustme.LeafCert, path: Path) -> None:
    path.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
