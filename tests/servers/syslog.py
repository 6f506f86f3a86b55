"""A syslog receiver with faults: octet-counted frames over TCP or TLS. The real ones are rsyslog and syslog-ng."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl

import trustme

from tests.servers.ports import free_port


class FakeSyslog:
    """One port for life; `received` has the line id of every whole frame."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: list[str] = []
        self.fault: str | None = None  # reset: in the middle of a frame; hang: nobody answers the handshake
        self.poison: set[str] = set()  # nothing is refused here
        self.context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'tls' if self.context else 'tcp'}://localhost:{self.port}"

    def with_tls(self, authority: trustme.CA) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.context)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True)

    async def stop(self) -> None:
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.ensure_future(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.fault == "hang":
                await asyncio.Event().wait()
            if self.fault == "reset":
                await reader.read(10)
                return
            if self.context is not None:
                await writer.start_tls(self.context)
            while length := (await reader.readuntil(b" ")).strip():
                frame = await reader.readexactly(int(length))
                found = re.search(rb' line="([^"]+)"', frame)
                assert found is not None
                self.received.append(found[1].decode())
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()
