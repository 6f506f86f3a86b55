"""What every sink keeps, whatever the medium: ports.Sink, held against real receivers."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from msgspec.structs import replace

from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError, Sink, TransientError
from kmwatch.sinks.alertmanager import AlertmanagerSink
from kmwatch.sinks.file import FileSink
from kmwatch.sinks.kafka import KafkaSink
from kmwatch.sinks.stdout import StdoutSink
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.wire.ocsf import to_ocsf
from tests.servers.fakes import FakeAlertmanager, FakeElastic, FakeHec, FakeReceiver, FakeWebhook
from tests.servers.kafka import KafkaServer
from tests.servers.rsyslog import Rsyslog, line_id
from tests.support import httpsinks
from tests.support.cef import parse_cef
from tests.support.findings import beat, finding, hostile
from tests.support.leef import parse_leef

LARGE = 60_000


class Medium(Protocol):
    """A receiver, seen from its far side."""

    ordered: bool = True  # whether lines of different findings arrive in the order they were sent

    async def begin(self) -> None: ...

    def sink(self) -> Sink: ...

    async def arrived(self, lines: set[str]) -> list[str]:
        """Line ids in order of arrival, once all of `lines` are there."""

    async def restart(self) -> None:
        """The receiver goes away and comes back; what arrived stays in its account."""

    async def end(self) -> None: ...


class Started:
    """A medium that is there once it is made, and leaves nothing behind."""

    ordered = True

    async def begin(self) -> None: ...

    async def end(self) -> None: ...


class FileMedium(Started):
    def __init__(self, folder: Path, form: str) -> None:
        self.path = folder / "alerts"
        self._form = form
        self._rotated = 0

    def sink(self) -> Sink:
        return FileSink("archive", self.path, format=self._form)

    async def arrived(self, lines: set[str]) -> list[str]:
        paths = [self.path.with_suffix(f".{n}") for n in range(1, self._rotated + 1)]
        paths += [self.path] if self.path.exists() else []
        found = [self._id(line) for path in paths for line in path.read_text().split("\n")[:-1]]
        assert lines <= set(found)
        return found

    async def restart(self) -> None:
        self._rotated += 1
        self.path.rename(self.path.with_suffix(f".{self._rotated}"))

    def _id(self, line: str) -> str:
        match self._form:
            case "cef":
                return parse_cef(line).extension["externalId"]
            case "leef":
                return parse_leef(line).attributes["externalId"]
            case "ecs":
                return str(json.loads(line)["event"]["id"])
            case _:
                return str(json.loads(line)["metadata"]["uid"])


class PipeMedium(Started):
    """Standard output with a reader behind it. A reader that left cannot come back, so a restart is a new one."""

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._open()

    def sink(self) -> Sink:
        return StdoutSink("screen", format="ocsf", stream=self._stream)

    async def arrived(self, lines: set[str]) -> list[str]:
        while not lines <= set(found := self._ids()):  # noqa: ASYNC110 - fed by a thread
            await asyncio.sleep(0.005)
        return found

    async def restart(self) -> None: ...

    async def end(self) -> None:
        self._stream.close()
        self._thread.join()

    def _open(self) -> None:
        read, write = os.pipe()
        self._stream = os.fdopen(write, "w", encoding="utf-8")
        self._thread = threading.Thread(target=self._drain, args=(read,))
        self._thread.start()

    def _drain(self, read: int) -> None:
        with os.fdopen(read, "rb", buffering=0) as source:
            while chunk := source.read(65536):
                self._data.append(chunk)

    def _ids(self) -> list[str]:
        whole = b"".join(self._data).decode(errors="replace").split("\n")[:-1]
        return [str(json.loads(line)["metadata"]["uid"]) for line in whole]


class SyslogMedium(Started):
    def __init__(self, folder: Path, scheme: str) -> None:
        self._scheme = scheme
        self._server = Rsyslog(folder)
        self._server.start()

    def sink(self) -> Sink:
        address = {"udp": self._server.udp, "tcp": self._server.tcp, "tls": self._server.tls}[self._scheme]
        ca = self._server.ca if self._scheme == "tls" else None
        return SyslogSink("siem", address, ca=ca, max_bytes=LARGE)

    async def arrived(self, lines: set[str]) -> list[str]:
        return [line_id(message) for message in await self._server.wait_for(lines) if line_id(message)]

    async def restart(self) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._server.start)

    async def end(self) -> None:
        self._server.kill()


class HttpMedium:
    """A fake receiver, as strict as the real one."""

    def __init__(self, receiver: FakeReceiver, make: Callable[[str], Sink], *, ordered: bool = True) -> None:
        self.receiver, self._make, self.ordered = receiver, make, ordered

    async def begin(self) -> None:
        await self.receiver.start()

    def sink(self) -> Sink:
        return self._make(self.receiver.url)

    async def arrived(self, lines: set[str]) -> list[str]:
        assert lines <= set(self.receiver.received)  # what was acknowledged is there at once
        return list(self.receiver.received)

    async def restart(self) -> None:
        await self.receiver.stop()
        await self.receiver.start()

    async def end(self) -> None:
        await self.receiver.stop()


class KafkaMedium(Started):
    """A topic of a real broker. The broker is everybody's, so it is not restarted here; test_matrix_kafka.py does."""

    def __init__(self, kafka: KafkaServer) -> None:
        self._kafka = kafka
        self._topic = ""

    async def begin(self) -> None:
        self._topic = await self._kafka.create_topic()

    def sink(self) -> Sink:
        return KafkaSink("bus", [self._kafka.bootstrap], self._topic)

    async def arrived(self, lines: set[str]) -> list[str]:
        values = (await self._kafka.read(self._topic, len(lines))).get(0, [])
        found = [str(json.loads(value)["metadata"]["uid"]) for value in values]
        assert lines <= set(found)
        return found

    async def restart(self) -> None: ...


MEDIA: dict[str, Callable[[Path], Medium]] = {
    "file-ocsf": lambda folder: FileMedium(folder, "ocsf"),
    "file-cef": lambda folder: FileMedium(folder, "cef"),
    "file-ecs": lambda folder: FileMedium(folder, "ecs"),
    "file-leef": lambda folder: FileMedium(folder, "leef"),
    "stdout": lambda _: PipeMedium(),
    "syslog-udp": lambda folder: SyslogMedium(folder, "udp"),
    "syslog-tcp": lambda folder: SyslogMedium(folder, "tcp"),
    "syslog-tls": lambda folder: SyslogMedium(folder, "tls"),
    "splunk": lambda _: HttpMedium(FakeHec(), httpsinks.hec),
    "splunk-ack": lambda _: HttpMedium(FakeHec(ack=True), httpsinks.hec_ack),
    "opensearch": lambda _: HttpMedium(FakeElastic(), httpsinks.opensearch),
    "webhook": lambda _: HttpMedium(FakeWebhook(), httpsinks.webhook, ordered=False),
    "alertmanager": lambda _: HttpMedium(FakeAlertmanager(), httpsinks.alertmanager),
}


@pytest_asyncio.fixture(params=[*MEDIA, "kafka"])
async def medium(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Medium]:
    is_kafka = request.param == "kafka"
    made = KafkaMedium(request.getfixturevalue("kafka")) if is_kafka else MEDIA[request.param](tmp_path)
    await made.begin()
    yield made
    await made.end()


def in_order(medium: Medium, found: list[str]) -> list[str]:
    """As they came; where a medium promises no order among findings, by their number."""
    return found if medium.ordered else sorted(found, key=lambda line: int(line.rpartition("-")[2]))


def ids(alerts: list[Finding]) -> list[str]:
    return [alert.line_uid for alert in alerts]


async def test_all_arrive_in_order(medium: Medium) -> None:
    sink = medium.sink()
    alerts = [finding(number) for number in range(1, 101)]
    for start in range(0, 100, 25):
        await sink.send(alerts[start : start + 25])
    await sink.close()
    assert in_order(medium, await medium.arrived(set(ids(alerts)))) == ids(alerts)


async def test_hostile_text_stays_one_record(medium: Medium) -> None:
    sink = medium.sink()
    alerts = [hostile(1), finding(2), hostile(3, "\n"), hostile(4, "a\ud800\x00"), finding(5)]
    await sink.send(alerts)
    await sink.close()
    assert in_order(medium, await medium.arrived(set(ids(alerts)))) == ids(alerts)


async def test_lines_of_one_finding_arrive_in_order(medium: Medium) -> None:
    sink = medium.sink()
    lines = [replace(finding(number), uid="one-and-the-same") for number in range(1, 31)]
    await sink.send(lines)
    await sink.close()
    assert await medium.arrived(set(ids(lines))) == ids(lines)


async def test_a_heartbeat_is_taken(medium: Medium) -> None:
    sink = medium.sink()
    await sink.send([beat()])
    await sink.close()
    carried = not isinstance(sink, AlertmanagerSink)  # which knows alerts only
    assert (beat().line_uid in await medium.arrived({beat().line_uid} if carried else set())) is carried


async def test_a_batch_of_none_is_fine(medium: Medium) -> None:
    sink = medium.sink()
    await sink.send([])
    await sink.send([finding()])
    await sink.close()
    assert await medium.arrived({"line-1"}) == ["line-1"]


async def test_what_is_acknowledged_before_and_after_a_restart_of_the_receiver_arrives(medium: Medium) -> None:
    sink = medium.sink()
    alerts = [finding(number) for number in range(1, 21)]
    await persistently(lambda: sink.send(alerts[:10]))
    await medium.arrived(set(ids(alerts[:10])))
    await medium.restart()
    await persistently(lambda: sink.send(alerts[10:]))
    await sink.close()
    found = await medium.arrived(set(ids(alerts)))
    assert in_order(medium, list(dict.fromkeys(found))) == ids(alerts)  # a repetition is allowed, another order is not


async def test_a_sink_may_be_closed_unused_and_twice(medium: Medium) -> None:
    sink = medium.sink()
    await sink.close()
    await sink.close()


async def test_a_second_sink_goes_on_where_the_first_was_closed(medium: Medium) -> None:
    for number in (1, 2):
        sink = medium.sink()
        await sink.send([finding(number)])
        await sink.close()
    assert await medium.arrived({"line-1", "line-2"}) == ["line-1", "line-2"]


async def persistently(attempt: Callable[[], Awaitable[object]]) -> None:
    """What delivery does about a TransientError, without its patience."""
    while True:
        try:
            await attempt()
        except TransientError:
            await asyncio.sleep(0.02)
        else:
            return


# ---------------------------------------------------------------------------------------------- file alone


async def test_a_file_has_what_was_acknowledged_when_send_returns(tmp_path: Path) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    sink = medium.sink()
    await sink.send([finding(1), finding(2)])
    assert await medium.arrived(set()) == ["line-1", "line-2"]
    await sink.close()


async def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    sink = FileSink("archive", tmp_path / "alerts")
    await sink.send([finding()])
    await sink.close()
    assert stat.S_IMODE((tmp_path / "alerts").stat().st_mode) == 0o600


@pytest.mark.parametrize("kept", [1, 5, 100])
async def test_a_line_that_a_crash_tore_is_cut_off(tmp_path: Path, kept: int) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    sink = medium.sink()
    await sink.send([finding(1), finding(2)])
    await sink.close()
    whole = medium.path.read_bytes()
    second = whole.index(b"\n") + 1
    medium.path.write_bytes(whole[: second + kept])
    again = medium.sink()
    await again.send([finding(2)])
    await again.close()
    assert medium.path.read_bytes() == whole


async def test_a_file_that_ends_in_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("line one\nno newline here")
    sink = FileSink("archive", path)
    with pytest.raises(ConfigurationError, match="right file"):
        await sink.send([finding()])
    await sink.close()
    assert path.read_text() == "line one\nno newline here"


async def test_a_file_truncated_in_place_goes_on_from_its_start(tmp_path: Path) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    sink = medium.sink()
    await sink.send([finding(1)])
    os.truncate(medium.path, 0)
    await sink.send([finding(2)])
    await sink.close()
    assert await medium.arrived(set()) == ["line-2"]


async def test_a_line_that_another_process_is_writing_is_no_torn_line(tmp_path: Path) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    other = to_ocsf(finding(1)) + b"\n"
    with medium.path.open("ab", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(other[:100])
        sink = medium.sink()
        sending = asyncio.create_task(sink.send([finding(2)]))
        await asyncio.sleep(0.1)
        stream.write(other[100:])
        fcntl.flock(stream, fcntl.LOCK_UN)
        await sending
    await sink.close()
    assert await medium.arrived(set()) == ["line-1", "line-2"]


async def test_two_writers_of_one_file_tear_no_line(tmp_path: Path) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    first, second = medium.sink(), medium.sink()
    await asyncio.gather(
        *(sink.send([finding(n) for n in range(base, base + 50)]) for sink, base in ((first, 100), (second, 200)))
    )
    await first.close()
    await second.close()
    assert len(await medium.arrived(set())) == 100


async def test_a_disk_that_fills_up_is_transient_and_leaves_no_torn_line(tmp_path: Path) -> None:
    medium = FileMedium(tmp_path, "ocsf")
    sink = medium.sink()
    await sink.send([finding(1)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (medium.path.stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(TransientError):
            await sink.send([finding(2), finding(3)])
        assert medium.path.read_bytes().endswith(b"}\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await sink.send([finding(2), finding(3)])
    await sink.close()
    assert await medium.arrived(set()) == ["line-1", "line-2", "line-3"]


async def test_what_is_no_regular_file_is_a_matter_of_configuration() -> None:
    sink = FileSink("archive", "/dev/full")
    with pytest.raises(ConfigurationError, match="regular file"):
        await sink.send([finding()])
    await sink.close()


async def test_a_folder_that_does_not_exist_is_a_matter_of_configuration(tmp_path: Path) -> None:
    sink = FileSink("archive", tmp_path / "missing" / "alerts")
    with pytest.raises(ConfigurationError, match="No such file"):
        await sink.send([finding()])
    await sink.close()


# -------------------------------------------------------------------------------------------- stdout alone


async def test_a_reader_that_left_is_a_matter_for_the_operator() -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", encoding="utf-8")
    sink = StdoutSink("screen", stream=stream)
    with pytest.raises(ConfigurationError, match="nobody reads"):
        await sink.send([finding()])
    await sink.close()
    with pytest.raises(BrokenPipeError):
        stream.close()


async def test_plain_output_is_the_terminal_text_without_colour() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    await StdoutSink("screen", stream=stream).send([finding(), hostile()])
    text = stream.buffer.getvalue().decode("ascii")
    assert "\x1b" not in text
    assert text.startswith("2026-11-23 23:51:59Z  HIGH  KMW-001 unexplained-read\n")


async def test_a_pipe_that_nobody_empties_holds_up_nobody_else(tmp_path: Path) -> None:
    read, write = os.pipe()
    stream = os.fdopen(write, "w", encoding="utf-8")
    stuck = StdoutSink("screen", stream=stream, format="ocsf")
    for _ in range(40):  # more than the shared pool has threads
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stuck.send([finding(citations=200)]), 0.02)
    await asyncio.to_thread(lambda: None)
    archive = FileSink("archive", tmp_path / "alerts")
    await archive.send([finding()])
    await archive.close()
    written: list[bytes] = []
    reader = threading.Thread(target=_empty, args=(read, written))
    reader.start()
    await stuck.send([])
    await stuck.close()
    stream.close()
    reader.join()
    assert b"".join(written).count(b"\n") == 1  # the one that had begun; those given up before were skipped


def _empty(read: int, written: list[bytes]) -> None:
    with os.fdopen(read, "rb", buffering=0) as source:
        while chunk := source.read(65536):
            written.append(chunk)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
async def test_a_terminal_gets_colour_unless_no_color_says_otherwise(
    no_color: str, monkeypatch: pytest.MonkeyPatch, *, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    leader, follower = os.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream, os.fdopen(leader, "rb", buffering=0) as screen:
        sink = StdoutSink("screen", stream=stream)
        await sink.send([finding()])
        assert (b"\x1b[" in screen.read(4096)) is coloured
        await sink.close()


# -------------------------------------------------------------------------------------------- syslog alone


@pytest.mark.parametrize("address", ["siem:514", "http://siem", "tls://", "udp://siem:0x10", "tcp://a/b"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        SyslogSink("siem", address)


def test_a_certificate_file_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.pem"):
        SyslogSink("siem", "tls://siem", ca=tmp_path / "missing.pem")


async def test_a_datagram_that_nobody_takes_is_transient_where_the_host_says_so(tmp_path: Path) -> None:
    server = Rsyslog(tmp_path)
    sink = SyslogSink("siem", server.udp)
    with pytest.raises(TransientError):
        await sink.send([finding()])
    await sink.close()
