"""A TCP or TLS stream to a receiver that never answers, with what can be done about losses.

Syslog has no acknowledgement (RFC 5425, RFC 6587). A write to a connection whose peer has just died succeeds
and is lost. So a window of recent frames is kept and sent again on the next connection, at once and not only
when there is something new to say; the receiver tells repetitions apart by the alert's line id. This is the
one retry outside delivery.py: what it repeats has been acknowledged, so the outbox no longer knows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios
from collections.abc import Callable, Sequence

from kmwatch.ports import SinkError, TransientError
from kmwatch.sinks.tls import failure
from kmwatch.sinks.window import Window, WindowLimits

_SETTLE = 0.2  # seconds a fresh connection has to refuse us: TLS 1.3 reports a refused client after the handshake
_CLOSE = 3.0  # seconds a receiver has to read what is left and close its side
_RECOVER = (1.0, 60.0)  # seconds between attempts to bring the window to a receiver that is away: first, most
_DEAD_PEER_MS = 30_000  # unacknowledged octets for that long break the connection (TCP_USER_TIMEOUT)


class _Link:
    """One connection, and the task that notices its end."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ended: Callable[[], None],
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.error: BaseException | None = None
        self._ended = ended
        self.watch = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        try:
            while await self.reader.read(4096):
                pass  # a receiver has nothing to say
        except OSError as error:  # ssl.SSLError is one
            self.error = error
        self._ended()

    @property
    def is_alive(self) -> bool:
        return not (self.watch.done() or self.reader.at_eof() or self.writer.is_closing())

    def abort(self) -> None:
        self.watch.cancel()
        self.writer.transport.abort()


class Stream:
    """Frames to `host:port` in order. `send` may be called by one task at a time, `close` after it."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        context: Callable[[], ssl.SSLContext] | None,
        server_name: str | None,
        timeout: float,
        limits: WindowLimits,
    ) -> None:
        self.peer = f"{host}:{port}"
        self._host = host
        self._port = port
        self._context = context
        self._server_name = server_name or host
        self._timeout = timeout
        self._window = Window(limits)
        self._link: _Link | None = None
        self._lock = asyncio.Lock()
        self._recovery: asyncio.Task[None] | None = None
        self._is_closing = False

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write; return when the receiver's kernel has acknowledged every octet (where ours can tell)."""
        async with self._lock:
            link = await self._connected()
            await self._write(link, frames)
            self._window.add(asyncio.get_running_loop().time(), frames)

    async def close(self) -> None:
        """Let the receiver read what is on its way, within a few seconds; never raises."""
        self._is_closing = True
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
        if self._link is None:
            return
        link, self._link = self._link, None
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(_CLOSE):
                if link.writer.can_write_eof():
                    link.writer.write_eof()
                    await asyncio.wait([link.watch])
                link.writer.close()
                await link.writer.wait_closed()
        link.abort()

    async def _connected(self) -> _Link:
        if self._link is not None:
            if self._link.is_alive:
                return self._link
            self._drop(self._link)
        link = await self._connect()
        try:
            await asyncio.wait([link.watch], timeout=_SETTLE)
            if not link.is_alive:
                raise failure(self.peer, link.error)  # noqa: TRY301 - the link must be aborted all the same
            await self._write(link, self._window.frames())
            self._window.restamp(asyncio.get_running_loop().time())
        except BaseException:
            link.abort()
            raise
        self._link = link
        return link

    async def _connect(self) -> _Link:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await asyncio.open_connection(
                    self._host,
                    self._port,
                    ssl=self._context() if self._context else None,
                    server_hostname=self._server_name if self._context else None,
                )
        except (OSError, TimeoutError) as error:
            raise failure(self.peer, error) from error
        # So that drain waits for the socket. Not 0: asyncio's TLS would pause on an empty buffer, for good.
        writer.transport.set_write_buffer_limits(high=1, low=0)
        _detect_dead_peer(writer.get_extra_info("socket"))
        return _Link(reader, writer, self._ended)

    async def _write(self, link: _Link, frames: Sequence[bytes]) -> None:
        """All or an error; then the link is gone too, so that no half-sent batch lingers in a buffer."""
        try:
            for item in frames:
                link.writer.write(item)
                async with asyncio.timeout(self._timeout):
                    await link.writer.drain()
            async with asyncio.timeout(self._timeout):
                await _acknowledged(link)
        except (OSError, TimeoutError) as error:
            self._drop(link)
            raise failure(self.peer, link.error or error) from error
        except BaseException:
            self._drop(link)
            raise
        if not link.is_alive:
            self._drop(link)
            raise failure(self.peer, link.error)

    def _drop(self, link: _Link) -> None:
        link.abort()
        self._link = None

    def _ended(self) -> None:
        """The receiver closed: what it may not have read goes out again, even if nothing new comes.

        This is the moment that ages count from, however long the receiver then stays away.
        """
        if self._link is not None:
            self._window.prune(asyncio.get_running_loop().time())
        running = self._recovery is not None and not self._recovery.done()
        if self._window.frames() and not self._is_closing and not running:
            self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        delay, most = _RECOVER
        while True:
            try:
                async with self._lock:
                    await self._connected()
            except SinkError:
                await asyncio.sleep(delay)
                delay = min(2 * delay, most)
            else:
                return


def _detect_dead_peer(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)


async def _acknowledged(link: _Link) -> None:
    """Wait until the peer's kernel has acknowledged what we wrote (SIOCOUTQ, tcp(7)); Linux only."""
    if sys.platform != "linux":
        return
    delay, quiet, twice = 0.0005, 0, 2
    while quiet < twice and link.is_alive:  # the user-space buffer may refill the queue
        await asyncio.sleep(delay)
        delay = min(2 * delay, 0.05)
        quiet = quiet + 1 if _unacknowledged(link.writer) == 0 else 0


def _unacknowledged(writer: asyncio.StreamWriter) -> int:
    sock = writer.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        raise TransientError("the connection is gone")
    (octets,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    return int(octets)
