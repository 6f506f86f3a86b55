"""Lines of a host's audit log, made and recorded, and an engine that watches the host alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kmwatch.core.account import Account
from kmwatch.core.behind import Behind, DeclaredProcess, HostFiles, Window
from kmwatch.core.callermap import CallerMap
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.expected import Expected
from kmwatch.core.join import Join
from kmwatch.core.model import SECOND, Activity, Finding, Micros, Witness
from kmwatch.core.order import Order
from kmwatch.core.record import HostRecord
from kmwatch.core.step import Engine
from kmwatch.core.watermark import Watermark
from kmwatch.wire.decode import Reader

DATA = Path(__file__).parents[1] / "golden/data/host"
KEY = "/etc/barbican/kek.conf"
T0 = 1_795_477_901
FILES = HostFiles(
    (KEY,),
    ("/etc/barbican/*",),
    ("/var/lib/barbican/*",),
    (DeclaredProcess("barbican", "unset", "/usr/bin/python3*"),),
    (DeclaredProcess(login="ops1"),),
)
ROTATION = Window("rotation", 1_795_477_914_300_000, 1_795_477_914_400_000, None, ("ops1",), "SEC-9")


def recorded(name: str) -> list[bytes]:
    """The lines of a recording."""
    return (DATA / name).read_bytes().split(b"\n")[:-1]


def event(  # noqa: PLR0913
    serial: int,
    *paths: str,
    syscall: str = "openat",
    flags: str = "0x80000",
    success: str = "yes",
    code: str = "3",
    user: str = "root",
    login: str = "eve",
    exe: str = "/usr/bin/cat",
    cwd: str = "/",
    dirfd: str = "ffffff9c",
) -> list[bytes]:
    """The lines of one event; a path is "name inode nametype"."""
    head = f"msg=audit({T0 + serial // 1000}.{serial % 1000:03d}:{serial}):"
    lines = [
        (
            f"type=SYSCALL {head} arch=c000003e syscall=257 success={success} exit={code} a0={dirfd}"
            f" a1=7f a2={flags} a3=0"
            f' items={len(paths)} ppid=1 pid=9 auid=7 uid=8 euid=8 comm="x" exe="{exe}" key="k"'
            f'\x1dSYSCALL={syscall} AUID="{login}" UID="{user}" EUID="{user}"'
        ),
        f'type=CWD {head} cwd="{cwd}"',
    ]
    for item, path in enumerate(paths):
        name, inode, nametype = path.split(" ")
        lines.append(f"type=PATH {head} item={item} name={_quoted(name)} inode={inode} dev=fe:00 nametype={nametype}")
    return [line.encode() for line in lines]


def _quoted(name: str) -> str:
    odd = any(not "!" <= character <= "~" or character == '"' for character in name)
    return name.encode().hex().upper() if odd else f'"{name}"'


def engine(windows: Sequence[Window] = (), files: HostFiles = FILES) -> Engine:
    """An engine that expects the host's log and no other."""
    account = Account()
    declared = Declarations(CallerMap(behind=Behind((), files, tuple(windows))), Identities(), ())
    detector = Detector(declared, {}, 1000, account, proxy_expected=False)
    expected: dict[Witness, str] = {Witness.HOST: "expected"}
    watermark = Watermark(10 * SECOND)
    return Engine(Join(Expected(), 1000), Order(10_000), watermark, detector, account, expected)  # type: ignore[arg-type]


def read(lines: Iterable[bytes]) -> list[HostRecord]:
    """The records of lines, all of which must be of the host's log."""
    records = [Reader().decode(line, None) for line in lines]
    assert all(isinstance(record, HostRecord) for record in records)
    return [record for record in records if isinstance(record, HostRecord)]


def findings(lines: Iterable[bytes], windows: Sequence[Window] = (), *, batch: int = 1000) -> list[Finding]:
    """All findings of these lines, batch by batch, to the end."""
    host, out = engine(windows), []
    records = read(lines)
    for start in range(0, len(records), batch):
        host.take("s", records[start : start + batch])
        host.advance()
        out += host.work(10_000)[0].findings
    return [*out, *host.flush().findings]


def cited(found: Iterable[Finding], rule: str) -> set[int]:
    """The serial numbers that findings of a rule cite, by information only left out."""
    return {
        int(event_id.rpartition(":")[2])
        for finding in found
        if finding.rule == rule and finding.severity > 1
        for event_id in finding.event_ids
    }


def created(found: Iterable[Finding]) -> list[str]:
    """The rules of the findings that were made."""
    return [finding.rule for finding in found if finding.activity is Activity.CREATE]


def at(serial: int) -> Micros:
    """When the event of this number happened."""
    return T0 * SECOND + serial * 1000
