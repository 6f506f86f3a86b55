"""Alerts as RFC 5424 syslog over UDP, TCP or TLS: wire/syslog.py makes messages, stream.py carries them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError
from kmwatch.sinks.stream import Stream
from kmwatch.sinks.tls import client_context, failure
from kmwatch.sinks.window import WindowLimits
from kmwatch.wire.formats import format_named, render_all
from kmwatch.wire.syslog import LOG_AUDIT, MIN_BYTES, frame, to_syslog

_PORTS = {"udp": 514, "tcp": 514, "tls": 6514}
_MAX_BYTES = {
    "udp": 2048,
    "tcp": 8192,
    "tls": 8192,
}  # what receivers should take: RFC 5426 3.2, RFC 5425 4.3.1
_DATAGRAM = 65507  # octets of UDP payload that IPv4 can carry


class Address(NamedTuple):
    """Where the receiver listens."""

    scheme: str  # udp, tcp or tls
    host: str
    port: int


class _Transport(Protocol):
    async def send(self, frames: Sequence[bytes]) -> None: ...
    async def close(self) -> None: ...


class SyslogSink:
    """Sends alerts to a syslog receiver: best effort past the socket, since syslog has no acknowledgement.

    What `send` means when it returns:
    - udp: the datagrams left this host. They may be lost, doubled or out of order, and nobody will know.
    - tcp, tls: the receiver's kernel has every octet (on Linux; elsewhere ours has). What the receiver's
      process lost when it died is sent again from a window of recent messages, as soon as it can be reached:
      up to 4096 messages, 8 MiB and the last ten minutes before the connection broke. Beyond the window, and
      if kmwatch itself dies before it could send the window again, messages are lost. Repetitions carry the
      same line id.

    A certificate that is refused, by us or by the receiver, is a ConfigurationError. Everything else that
    can be wrong with a connection is a TransientError.
    """

    def __init__(  # noqa: PLR0913 - independent parts, by keyword
        self,
        name: str,
        address: str,
        *,
        format: str = "ocsf",  # noqa: A002 - the configuration's word
        ca: str | Path | None = None,
        cert: str | Path | None = None,
        key: str | Path | None = None,
        server_name: str | None = None,
        facility: int = LOG_AUDIT,
        hostname: str | None = None,
        bom: bool = False,
        max_bytes: int | None = None,
        connect_timeout: float = 10.0,
        window: WindowLimits | None = None,
    ) -> None:
        """Take the configured values; the first `send` connects.

        Args:
            name: of the sink.
            address: `tls://host:port`, `tcp://host:port` or `udp://host:port`; port 6514, 514, 514 if absent.
            format: of MSG: ocsf or cef.
            ca: PEM file of authorities for tls; the system's if absent.
            cert: PEM file of the client's certificate.
            key: PEM file of its key.
            server_name: name that the receiver's certificate must hold, if it is not the address's.
            facility: syslog facility, 0 to 23; log audit if absent.
            hostname: HOSTNAME in each message; this host's name if absent.
            bom: begin MSG with a byte order mark.
            max_bytes: octets of a message; a larger alert is cut and says so.
            connect_timeout: seconds to connect, and to get rid of a message.
            window: how much is sent again after a broken connection.

        Raises:
            ValueError: an argument is out of its range.
            ConfigurationError: a certificate file cannot be used.
        """
        where = parse_address(address)
        limit = _MAX_BYTES[where.scheme] if max_bytes is None else max_bytes
        _check(where, limit, facility)
        self.name = name
        self._render = partial(
            to_syslog,
            body=format_named(format).render,
            facility=facility,
            hostname=socket.gethostname() if hostname is None else hostname,
            procid=str(os.getpid()),
            bom=bom,
            max_bytes=limit,
        )
        self._is_datagram = where.scheme == "udp"
        if where.scheme != "tls" and (ca or cert or key or server_name):
            raise ValueError("ca, cert, key and server_name need a tls:// address")
        self._transport: _Transport
        if self._is_datagram:
            self._transport = _Datagrams(where.host, where.port)
            return
        context = partial(client_context, ca, cert, key)
        if where.scheme == "tls":
            context()  # a bad file is told at the start; each connection reads the files again
        self._transport = Stream(
            where.host,
            where.port,
            context=context if where.scheme == "tls" else None,
            server_name=server_name,
            timeout=connect_timeout,
            limits=window or WindowLimits(),
        )

    async def send(self, findings: Sequence[Finding]) -> None:
        """Send in order; see the class for what a return means. Raises the three errors of `ports.Sink`."""
        messages = render_all(self._render, findings)
        await self._transport.send(messages if self._is_datagram else [frame(message) for message in messages])

    async def close(self) -> None:
        """Let the receiver read what is on its way, within a few seconds."""
        await self._transport.close()


def parse_address(address: str) -> Address:
    """Take `scheme://host[:port]` apart; an IPv6 host stands in brackets. Raises ValueError."""
    parts = urlsplit(address)
    if parts.scheme not in _PORTS or not parts.hostname or parts.path or parts.query or parts.username:
        raise ValueError(f"syslog address {address!r}: want udp://host:port, tcp://host:port or tls://host:port")
    return Address(parts.scheme, parts.hostname, _PORTS[parts.scheme] if parts.port is None else parts.port)


def _check(where: Address, max_bytes: int, facility: int) -> None:
    most = _DATAGRAM if where.scheme == "udp" else 2**31
    if not MIN_BYTES <= max_bytes <= most:
        raise ValueError(f"max_bytes {max_bytes}: want {MIN_BYTES} to {most}")
    if not 0 <= facility <= 23:  # noqa: PLR2004 - RFC 5424 table 1
        raise ValueError(f"facility {facility}: want 0 to 23")


class _Datagrams:
    """One datagram a message (RFC 5426 3.1)."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket: socket.socket | None = None

    async def send(self, frames: Sequence[bytes]) -> None:
        try:
            sock = self._socket or await self._open()
            for item in frames:
                await asyncio.get_running_loop().sock_sendall(sock, item)
                refusal = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # an ICMP answer, if one came
                if refusal:
                    raise ConnectionError(refusal, os.strerror(refusal))
        except OSError as error:
            await self.close()  # the name is resolved anew next time
            raise failure(f"{self._host}:{self._port}", error) from error

    async def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    async def _open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        if not infos:
            raise ConfigurationError(f"{self._host}: has no address")
        family, kind, protocol, _, address = infos[0]
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)  # noqa: FBT003 - the socket module's signature
        try:
            await loop.sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        self._socket = sock
        return sock
