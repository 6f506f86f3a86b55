"""The rows of the fault matrix (test_matrix.py) whose receiver answers nothing: file, standard output, UDP syslog.

Their faults are real ones: a limit on the size of files, a device that is full, a pipe without a reader or with one
that does not read, a port without a listener.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from kmwatch.delivery import FailureKind
from kmwatch.sinks.file import FileSink
from kmwatch.sinks.stdout import StdoutSink
from kmwatch.sinks.syslog import SyslogSink
from tests.fault.test_matrix import ALL, FAULTS, Bench, C, T, _break_names, bench
from tests.servers.ports import free_port

NO_NETWORK = ("tls", "dns", "slow_loris", "reset_after")
NO_ANSWERS = ("401", "403", "413", "429", "500", "503")
HERE = (*FAULTS, "full")
MATRIX: dict[str, dict[str, FailureKind | str]] = {
    "file": {
        **dict.fromkeys(NO_NETWORK, "there is no network between us"),
        **dict.fromkeys(NO_ANSWERS, "a disk has no such answer"),
        "refused": C,  # its folder is missing: no waiting makes one
        "reset": "a crash in mid-write leaves a torn line, which the next batch cuts off: test_sinks.py",
        "hang": T,  # another process holds the file
        "partial": T,  # the disk takes a part of the batch: it is cut back and comes again, whole
        "restart": "a file that is rotated away is no failure: test_sinks.py",
        "full": T,
    },
    "stdout": {
        **dict.fromkeys(NO_NETWORK, "there is no network between us"),
        **dict.fromkeys(NO_ANSWERS, "a pipe has no such answer"),
        "refused": "it is there before we are, or the process does not start",
        "reset": C,  # its reader is gone, and never comes back within this process
        "hang": T,  # nobody reads
        "partial": "a pipe that has room for a part only: the same as hang",
        "restart": "a reader cannot come back: the same as reset",
        "full": T,  # redirected to a disk that is full
    },
    "syslog_udp": {
        **dict.fromkeys(NO_ANSWERS, "syslog has no answers"),
        "refused": T,  # the ICMP answer of a host where nobody listens
        "reset": "there is no connection",
        "reset_after": "there is no connection",
        "hang": "what has left this host counts as sent",
        "slow_loris": "nothing is read from it",
        "tls": "plain UDP has none",
        "partial": "a datagram is taken whole or lost, and nobody will know",
        "restart": T,  # while it is away, as refused
        "dns": T,
        "full": "what does not fit into its buffer is lost, and nobody will know",
    },
}
_LARGE = 8 << 20  # octets: far above what the store of a cell writes


def test_every_cell_has_a_class_or_a_reason() -> None:
    for row in MATRIX.values():
        assert set(row) == set(HERE)
        assert all(row.values())


def cells(sink: str) -> list[str]:
    return [fault for fault, kind in MATRIX[sink].items() if isinstance(kind, FailureKind)]


def assert_class(made: Bench, sink: str, fault: str) -> None:
    assert set(made.reports.kinds) == {MATRIX[sink][fault]}


# --------------------------------------------------------------------------------------------------------------- file


@pytest.mark.parametrize("fault", cells("file"))
async def test_a_file_that_cannot_be_written_loses_nothing(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "alerts.jsonl"
    monkeypatch.setattr("kmwatch.sinks.file._LOCK_TRIES", 2)
    if fault != "refused":
        path.parent.mkdir()
    with _no_room(path, fault) as lift:
        async with bench(tmp_path, FileSink("archive", path)) as made:
            made.delivery.start()
            await made.until(made.failed)
            if fault in {"full", "partial"}:
                assert path.read_bytes()[-2:] == b"\0\n", "nothing of the batch was left behind"
            lift()
            await made.until(made.settled)
            assert await made.delivered() == ALL
    lines = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip(b"\0")]
    assert sorted(line["metadata"]["uid"] for line in lines) == sorted(ALL)  # each once: nobody else has failed
    assert_class(made, "file", fault)


@contextmanager
def _no_room(path: Path, fault: str) -> Iterator[Callable[[], object]]:
    """Have the fault; what is given lifts it."""
    if fault == "refused":
        yield path.parent.mkdir
        return
    if fault == "hang":
        with path.open("ab") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            yield lambda: fcntl.flock(other, fcntl.LOCK_UN)
        return
    room = 0 if fault == "full" else 1500  # octets: a finding and a half
    with path.open("wb") as file:
        file.truncate(_LARGE - room - 1)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGE, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ------------------------------------------------------------------------------------------------------------- stdout


class Reader:
    """A pipe that is written to as text, and what has come out of it."""

    def __init__(self) -> None:
        self._out, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 4096)  # as small as they come: less than a batch
        self.stream: IO[str] = os.fdopen(into, "w", encoding="utf-8")
        self._read = b""
        os.set_blocking(self._out, False)

    def lines(self) -> set[str]:
        with suppress(BlockingIOError):
            while part := os.read(self._out, 1 << 16):
                self._read += part
        return {json.loads(line)["metadata"]["uid"] for line in self._read.splitlines(keepends=True) if b"\n" in line}

    def leave(self) -> None:
        os.close(self._out)

    def close(self) -> None:
        with suppress(OSError):
            self.leave()
        with suppress(OSError):
            self.stream.close()


def stdout(stream: IO[str]) -> StdoutSink:
    return StdoutSink("screen", format="ocsf", stream=stream)  # type: ignore[arg-type]


@pytest.fixture
def full() -> Iterator[IO[str]]:
    """A device that has no room, which is what the kernel says of a full disk."""
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        yield stream


@pytest.mark.parametrize("fault", cells("stdout"))
async def test_a_standard_output_that_takes_nothing_loses_nothing(fault: str, tmp_path: Path, full: IO[str]) -> None:
    with closing(Reader()) as first, closing(Reader()) as second:
        reader = first
        async with bench(tmp_path, stdout(full if fault == "full" else reader.stream), patience=0.3) as made:
            if fault == "reset":
                reader.leave()
            made.delivery.start()
            await made.until(made.failed)
            if fault == "reset":  # kmwatch is started again, with another reader
                reader = second
                await made.delivery.change({"screen"}, [stdout(second.stream)], ["screen"])
            if fault == "full":
                os.dup2(reader.stream.fileno(), full.fileno())

            async def settled() -> bool:
                reader.lines()
                return await made.settled()

            await made.until(settled)
            assert await made.delivered() == ALL
            assert reader.lines() == ALL
    assert_class(made, "stdout", fault)


# ---------------------------------------------------------------------------------------------------------------- udp


@pytest.mark.parametrize("fault", cells("syslog_udp"))
async def test_datagrams_that_nobody_takes_are_sent_again(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, got = free_port(), list[str]()
    sink = SyslogSink("siem", f"udp://localhost:{port}", max_bytes=60_000)
    async with bench(tmp_path, sink) as made:
        if fault == "restart":
            async with _listening(port, got):
                await sink.send([])
        if fault == "dns":
            _break_names(monkeypatch)
        made.delivery.start()
        await made.until(made.failed)
        async with _listening(port, got):
            monkeypatch.undo()
            await made.until(made.settled)
            assert await made.delivered() == ALL

            async def all_here() -> bool:
                return set(got) == ALL

            await made.until(all_here)
    assert_class(made, "syslog_udp", fault)


class _Collect(asyncio.DatagramProtocol):
    def __init__(self, got: list[str]) -> None:
        self._got = got

    def datagram_received(self, data: bytes, addr: object) -> None:
        del addr
        found = re.search(rb' line="([^"]+)"', data)
        assert found is not None
        self._got.append(found[1].decode())


@asynccontextmanager
async def _listening(port: int, got: list[str]) -> AsyncIterator[None]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("127.0.0.1", port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Collect(got), sock=sock)
    try:
        yield
    finally:
        transport.close()
        await asyncio.sleep(0)
