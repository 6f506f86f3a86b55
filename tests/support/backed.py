"""Records of an HSM and of a store, API reads beside them, and an engine that holds one against the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kmwatch.core.account import Account
from kmwatch.core.behind import Behind, Client, Window
from kmwatch.core.callermap import CallerMap
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.expected import Expected
from kmwatch.core.join import Join
from kmwatch.core.model import SECOND, Finding, Micros, Secret, Severity, Witness
from kmwatch.core.order import Order
from kmwatch.core.pulse import Expectation
from kmwatch.core.record import AuditRecord, BackendRecord, Deed, HostRecord, Result, Slot
from kmwatch.core.step import BackendClock, Engine, Output
from kmwatch.core.watermark import Watermark
from tests.support.audit import START, halves

DATA = Path(__file__).parents[1] / "golden/data/backend"
MILLI: Micros = 1000
MOUNT, KEYS = "kv/", {"s1": "kv/data/" + "a" * 32, "s2": "kv/data/" + "b" * 32}
STORED = tuple(Secret(name, plugin="x.VaultSecretStore", backend_path=path) for name, path in KEYS.items())
API = Client("api", names=("barbican-api",), hosts=("ctl01",))
MONITOR = Client("monitor", names=("hsm-monitor",), login=False)
ROLE = Client("api", roles=("barbican",), addresses=("10.0.0.1/32",), mounts=(MOUNT,))
EXPECTED: dict[Witness, Expectation] = {Witness.CADF: "required", Witness.BACKEND: "expected"}


def recorded(name: str) -> list[bytes]:
    """The lines of a recording."""
    return (DATA / name).read_bytes().split(b"\n")[:-1]


def read(number: int, at: Micros, of: str = "s1", **fields: object) -> tuple[AuditRecord, AuditRecord]:
    """An API read of a payload; it lasts 100 ms from START + `at`."""
    path = f"/v1/secrets/{of}/payload"
    return halves(number, **{"at": START + at, "path": path, **fields})


def hsm(
    number: int,
    at: Micros,
    deed: Deed = Deed.READ,
    *,
    result: Result = Result.OK,
    name: str | None = "barbican-api",
    host: str | None = "ctl01",
    privileged: bool = False,
) -> BackendRecord:
    """An operation of an HSM."""
    own = f"backend:{number}"
    return BackendRecord(
        Slot.BACKEND, own, START + at, own, deed, result, f"C_{deed}", None, name, None, host, None, "7", privileged
    )


def store(  # noqa: PLR0913  (every field that tests vary)
    number: int,
    at: Micros,
    deed: Deed = Deed.READ,
    *,
    path: str = KEYS["s1"],
    mount: str = MOUNT,
    result: Result = Result.OK,
    role: str | None = "barbican",
    address: str = "10.0.0.1",
    port: int = 1,
    half: str | None = None,
    privileged: bool = False,
) -> BackendRecord:
    """An operation of a store."""
    own, line = f"backend:{number}", f"{address}:{port}"
    return BackendRecord(
        Slot.BACKEND, f"{own} {half}", START + at, own, deed, result, f"{deed} {path}", half, "approle", role, None,
        address, line, privileged, mount, path, control=path.startswith(("sys/", "auth/")),
    )  # fmt: skip


def engine(
    clients: Sequence[Client] = (API, MONITOR),
    windows: Sequence[Window] = (),
    inventory: Iterable[Secret] = (),
    clock: BackendClock = BackendClock(),  # noqa: B008  (frozen)
    limit: int = 1000,
) -> Engine:
    """An engine that expects the audit trail and the backend's log."""
    account = Account()
    declared = Declarations(CallerMap(behind=Behind(tuple(clients), windows=tuple(windows))), Identities(), inventory)
    detector = Detector(declared, {}, 1000, account, proxy_expected=False)
    join = Join(Expected(settle=30 * SECOND), limit)
    return Engine(join, Order(10_000), Watermark(10 * SECOND), detector, account, EXPECTED, clock)


def run(of: Engine, records: Iterable[AuditRecord | BackendRecord | HostRecord], *, end: bool = True) -> Output:
    """All that comes of these records, read from one stream in the order of time."""
    in_time = sorted(records, key=lambda record: record.observed_time)
    of.take("s", in_time)
    of.advance()
    out = of.work(100_000)[0]
    if end:
        last = of.flush()
        out.findings += last.findings
        out.judged += last.judged
    return out


def alarms(findings: Iterable[Finding]) -> dict[str, set[str]]:
    """By rule of the backend: the ids that its findings cite, information and remarks left out."""
    out: dict[str, set[str]] = {}
    for finding in findings:
        if "KMW-035" <= finding.rule <= "KMW-040" and finding.severity >= Severity.MEDIUM:
            out.setdefault(finding.rule, set()).update(finding.event_ids)
    return out
