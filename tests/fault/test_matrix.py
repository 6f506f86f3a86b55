"""Sink x fault: of which class each failure is, and that afterwards the receiver has exactly what the outbox holds.

Each cell runs the real delivery over a real store: findings wait, the fault is on, the class is told, the fault goes,
and everything arrives. Kafka's row is in test_matrix_kafka.py, against a real broker; those of file,
standard output and UDP are in test_matrix_local.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
import trustme

from kmwatch.core.model import Finding
from kmwatch.delivery import Delivery, DeliveryState, FailureKind, Tuning
from kmwatch.ports import Commit, Routed, Selection, Sink
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.store.sqlite import SqliteStore
from tests.servers.fakes import TOKEN, FakeAlertmanager, FakeElastic, FakeHec, FakeReceiver, FakeWebhook, write_ca
from tests.servers.syslog import FakeSyslog
from tests.support import httpsinks
from tests.support.findings import finding

COUNT = 8
FAULTS = (
    "refused", "reset", "reset_after", "hang", "slow_loris", "tls", "401", "403", "413", "429", "500", "503", "partial",
    "restart", "dns",
)  # fmt: skip
T, P, C = FailureKind.TRANSIENT, FailureKind.PERMANENT, FailureKind.CONFIGURATION
NO_ANSWERS = "syslog has no answers"
OVER_HTTP: dict[str, FailureKind | str] = {
    "refused": T, "reset": T, "reset_after": T, "hang": T, "slow_loris": T, "tls": C, "401": C, "403": C, "413": P,
    "429": T, "500": T, "503": T, "partial": P, "restart": T, "dns": T,
}  # fmt: skip
OVER_SYSLOG: dict[str, FailureKind | str] = {
    **dict.fromkeys(("401", "403", "413", "429", "500", "503", "partial"), NO_ANSWERS),
    "refused": T,
    "reset": T,
    "reset_after": "the octets were acknowledged by the peer's kernel: test_sinks.py has the window that covers it",
    "hang": T,
    "slow_loris": "nothing is read from a syslog receiver, so it cannot be slow in what it says",
    "tls": C,
    "restart": T,
    "dns": T,
}
MATRIX: dict[str, dict[str, FailureKind | str]] = {
    "splunk_hec": OVER_HTTP,
    "splunk_hec_ack": OVER_HTTP,
    "opensearch": OVER_HTTP,
    "webhook": OVER_HTTP,
    "alertmanager": OVER_HTTP,
    "syslog_tcp": {**OVER_SYSLOG, "tls": "plain TCP has none", "hang": "what the kernel took counts as sent"},
    "syslog_tls": OVER_SYSLOG,
}
CELLS = [(sink, fault) for sink, row in MATRIX.items() for fault in row if isinstance(row[fault], FailureKind)]


class Reports:
    """See `delivery.DeliveryEvents`."""

    def __init__(self) -> None:
        self.kinds: list[FailureKind] = []
        self.errors: list[str] = []

    def delivered(self, sink: str, findings: Sequence[Finding]) -> None: ...

    def failed(self, sink: str, error: str, kind: FailureKind) -> None:
        del sink
        self.kinds.append(kind)
        self.errors.append(error)

    def dead(self, sink: str, findings: Sequence[Finding], reason: str) -> None: ...

    def changed(self, state: DeliveryState) -> None: ...


class Party(NamedTuple):
    """A receiver and how a sink for it is made."""

    receiver: FakeReceiver | FakeSyslog
    make: Callable[[str, Path | None], Sink]


def party(kind: str) -> Party:
    quick: dict[str, Any] = {"timeout": 0.5}
    match kind:
        case "splunk_hec":
            return Party(FakeHec(), lambda url, ca: httpsinks.hec(url, ca=ca, **quick))
        case "splunk_hec_ack":
            return Party(FakeHec(ack=True), lambda url, ca: httpsinks.hec_ack(url, ca=ca, **quick))
        case "opensearch":
            return Party(FakeElastic(), lambda url, ca: httpsinks.opensearch(url, ca=ca, **quick))
        case "webhook":
            return Party(FakeWebhook(), lambda url, ca: httpsinks.webhook(url, ca=ca, **quick))
        case "alertmanager":
            return Party(FakeAlertmanager(), lambda url, ca: httpsinks.alertmanager(url, ca=ca, **quick))
        case _:
            return Party(FakeSyslog(), _syslog)


def _syslog(url: str, ca: Path | None) -> Sink:
    return SyslogSink("siem", url, ca=ca, connect_timeout=0.5, max_bytes=60_000)


class Bench:
    """A store with findings for one sink, and the delivery to it, whose sleeps are short and remembered."""

    def __init__(self, store: SqliteStore, sink: Sink, patience: float) -> None:
        self.store, self.sink = store, sink
        self.reports, self.sleeps = Reports(), list[float]()
        tuning = Tuning(send_timeout=patience, idle_look=0.05)
        self.delivery = Delivery(store, [sink], self.reports, now=lambda: 0, tuning=tuning, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(min(seconds, 0.02))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        while not await holds():  # noqa: ASYNC110 - any condition, seen from outside
            await asyncio.sleep(0.01)

    async def settled(self) -> bool:
        return self.store.backlog() == 0

    async def failed(self) -> bool:
        return bool(self.reports.kinds)

    async def delivered(self) -> set[str]:
        """Line ids that the outbox counts as delivered."""
        rows = self.store._db.execute(
            "SELECT line_uid FROM outbox JOIN deliveries USING (seq) WHERE deliveries.state = 1"
        )
        return {str(uid) for (uid,) in rows}


@asynccontextmanager
async def bench(folder: Path, sink: Sink, *, patience: float = 5.0) -> AsyncIterator[Bench]:
    store = SqliteStore(folder / "state.db", "one", lambda: 1000.0)
    await store.claim()
    routed = [Routed(finding(number), (sink.name,)) for number in range(1, COUNT + 1)]
    await store.commit(Commit([], [], routed, []))
    made = Bench(store, sink, patience)
    try:
        yield made
    finally:
        await made.delivery.stop()
        await sink.close()
        await store.close()


ALL = {f"line-{number}" for number in range(1, COUNT + 1)}


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[list[FakeReceiver | FakeSyslog]]:
    """Receivers to stop at the end, also when a cell failed."""
    started: list[FakeReceiver | FakeSyslog] = []
    yield started
    for receiver in started:
        await receiver.stop()


def test_every_cell_of_the_matrix_has_a_class_or_a_reason() -> None:
    for row in MATRIX.values():
        assert set(row) == set(FAULTS)
        assert all(row.values())


@pytest.mark.parametrize(("kind", "fault"), CELLS)
async def test_a_fault_has_its_class_and_loses_nothing(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[FakeReceiver | FakeSyslog]
) -> None:
    receiver, make = party(kind)
    ends.append(receiver)
    right, wrong = trustme.CA(), trustme.CA()
    is_tls = fault == "tls" or kind == "syslog_tls"
    if is_tls:
        receiver.with_tls(wrong if fault == "tls" else right)
    async with bench(tmp_path, make(receiver.url, write_ca(right, tmp_path) if is_tls else None)) as made:
        await _arm(receiver, fault, monkeypatch)
        made.delivery.start()
        if fault == "restart":
            await receiver.stop()
        await made.until(made.failed)
        if fault in {"413", "partial"}:
            await made.until(made.settled)  # the dead are out of the way
        await _lift(receiver, fault, right if is_tls else None, monkeypatch)
        if fault in {"413", "partial"}:
            dead = await made.store.owed(Selection(), 100)
            assert {row.state for row in dead} == {"dead"}
            assert {row.line for row in dead} == (ALL if fault == "413" else {"line-3", "line-6"})
            assert await made.store.retry(Selection(made.sink.name)) == len(dead)
        await made.until(made.settled)
        assert await made.delivered() == ALL
        await made.delivery.drain(5)
        await made.sink.close()
        await made.until(lambda: _has(receiver, ALL))
    assert set(made.reports.kinds) == {MATRIX[kind][fault]}
    if fault in {"429", "503"} and kind != "syslog_tls":
        assert max(made.sleeps) >= 7.0, "the receiver's own wish is honoured"
    assert not any(TOKEN in error or "hunter2" in error for error in made.reports.errors)


async def _has(receiver: FakeReceiver | FakeSyslog, wanted: set[str]) -> bool:
    return set(receiver.received) == wanted


async def _arm(receiver: FakeReceiver | FakeSyslog, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "dns":
        _break_names(monkeypatch)
    if fault != "refused":
        await receiver.start()
    if fault == "partial":
        receiver.poison = {"line-3", "line-6"}
    elif fault not in {"refused", "tls", "restart", "dns"}:
        receiver.fault = fault


async def _lift(
    receiver: FakeReceiver | FakeSyslog, fault: str, authority: trustme.CA | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.fault, receiver.poison = None, set()
    if fault == "dns":
        monkeypatch.undo()
    if fault == "tls":
        assert authority is not None
        await receiver.stop()
        receiver.with_tls(authority)
    if fault in {"refused", "restart", "tls"}:
        await receiver.start()


def _break_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", broken)
