"""Events of the host's audit log as laurel writes them: one JSON object an event, whatever records it was made of.

    {"ID":"1795477901.291:664","SYSCALL":{...},"CWD":{...},"PATH":[...],"PROCTITLE":{"ARGV":[...]}}

Bytes of names that are no printable text come percent-encoded. Source: laurel's README and laurel(8), 0.8.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from kmwatch.core.record import Decoded, HostPath, HostRecord, Process, Rejected, RejectReason, Slot
from kmwatch.wire.auditd import change, key_of, stamp, succeeded, users
from kmwatch.wire.syscalls import begins_in_cwd, name_of, oflag, opening, ring_name

_id = re.compile(r"([0-9]{1,11})\.([0-9]{3}):([0-9]{1,20})", re.ASCII).fullmatch
_KEPT: Final = 4096
_Scalar = str | int | None


class _Syscall(Struct, gc=False):
    arch: _Scalar = None
    syscall: _Scalar = None
    success: str | None = None
    exit: _Scalar = None
    uring_op: _Scalar = None
    pid: _Scalar = None
    ppid: _Scalar = None
    uid: _Scalar = None
    euid: _Scalar = None
    auid: _Scalar = None
    ses: _Scalar = None
    comm: str | None = None
    exe: str | None = None
    arguments: list[str] = msgspec.field(default_factory=list, name="ARGV")
    name: str | None = msgspec.field(default=None, name="SYSCALL")
    user: str | None = msgspec.field(default=None, name="UID")
    effective: str | None = msgspec.field(default=None, name="EUID")
    login: str | None = msgspec.field(default=None, name="AUID")


class _Path(Struct, gc=False):
    item: int = 0
    name: str | None = None
    inode: _Scalar = None
    dev: str | None = None
    nametype: str | None = None


class _Flags(Struct, gc=False):
    oflag: _Scalar = None


class _Cwd(Struct, gc=False):
    cwd: str | None = None


_Records = list[dict[str, msgspec.Raw]] | dict[str, msgspec.Raw]


class _Event(Struct, gc=False):
    id: str = msgspec.field(name="ID")
    node: str | None = msgspec.field(default=None, name="NODE")
    syscall: _Syscall | None = msgspec.field(default=None, name="SYSCALL")
    ring: _Syscall | None = msgspec.field(default=None, name="URINGOP")
    second: _Flags | None = msgspec.field(default=None, name="OPENAT2")
    cwd: _Cwd | None = msgspec.field(default=None, name="CWD")
    paths: list[_Path] = msgspec.field(default_factory=list, name="PATH")
    config_change: _Records = msgspec.field(default_factory=list, name="CONFIG_CHANGE")
    daemon_start: _Records = msgspec.field(default_factory=list, name="DAEMON_START")
    daemon_end: _Records = msgspec.field(default_factory=list, name="DAEMON_END")
    daemon_abort: _Records = msgspec.field(default_factory=list, name="DAEMON_ABORT")
    daemon_config: _Records = msgspec.field(default_factory=list, name="DAEMON_CONFIG")


_decode = msgspec.json.Decoder(_Event).decode
_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode


def decode(value: bytes, host: str | None = None) -> Decoded:
    """Read an event.

    Args:
        value: the JSON object.
        host: the machine that an envelope names.

    Returns:
        The whole event as one record, or Rejected. Never raises.
    """
    try:
        event = _decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Rejected(RejectReason.BAD_LINE, "an event of laurel that cannot be read")
    found = _id(event.id)
    at = stamp(found[1], found[2]) if found else None
    if found is None or at is None:
        return Rejected(RejectReason.BAD_TIME, "an event of laurel whose ID is no time and serial number")
    time, serial, node = f"{found[1]}.{found[2]}", int(found[3]), event.node or host
    changes = tuple(_changes(event))
    head = (Slot.HOST, key_of(node, time, serial), at, f"host:{time}:{serial}", node, serial, _types(event, changes))
    cwd = _plain(event.cwd.cwd) if event.cwd is not None else None
    call = event.syscall or event.ring
    if call is None:
        return HostRecord(*head, cwd=cwd, paths=tuple(map(_path, event.paths)), changes=changes)
    ring = _word(call.uring_op)
    name = ring_name(ring) if ring else call.name or name_of(_word(call.arch), _word(call.syscall))
    flags = opening(name, call.arguments)
    if flags is None and event.second is not None:
        flags = oflag(_word(event.second.oflag))
    return HostRecord(
        *head,
        syscall=name,
        success=succeeded(call.success),
        exit=_word(call.exit) or None,
        flags_opened=flags,
        from_cwd=begins_in_cwd(name, call.arguments),
        process=Process(
            _word(call.pid),
            _word(call.ppid),
            users(_word(call.uid), call.user),
            users(_word(call.euid), call.effective),
            users(_word(call.auid), call.login),
            _plain(call.comm),
            _plain(call.exe),
            _word(call.ses) or None,
        ),
        cwd=cwd,
        paths=tuple(map(_path, event.paths)),
        changes=changes,
    )


def _types(event: _Event, changes: tuple[str, ...]) -> tuple[str, ...]:
    types = ["SYSCALL"] * (event.syscall is not None) + ["URINGOP"] * (event.ring is not None)
    types += ["PATH"] * bool(event.paths)
    return tuple(types + [text.partition(" ")[0] for text in changes])


def _changes(event: _Event) -> list[str]:
    out = []
    for kind in ("CONFIG_CHANGE", "DAEMON_START", "DAEMON_END", "DAEMON_ABORT", "DAEMON_CONFIG"):
        held: _Records = getattr(event, kind.lower())
        records = held if isinstance(held, list) else [held]
        out += [change(kind, {name: _shown(bytes(raw)) for name, raw in record.items()}) for record in records]
    return out


def _shown(raw: bytes) -> str:
    """A value of any type as auditd's own log would show it; what is no scalar is left out."""
    try:
        held = _scalar(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    return f'"{_plain(held)}"' if isinstance(held, str) else str(held)


def _path(path: _Path) -> HostPath:
    return HostPath(_plain(path.name), _word(path.inode) or None, path.dev, path.nametype or "UNKNOWN", path.item)


def _word(value: _Scalar) -> str:
    return "" if value is None else str(value)


def _plain(text: str | None) -> str:
    """A name as the process gave it: `%0a` for a line end, `%25` for a per cent sign."""
    return "" if text is None else unquote(text, errors="replace")[:_KEPT]
