r"""Lines of auditd's log (and what audisp hands to syslog): one record of an event, of which others come beside it.

    type=PATH msg=audit(1795477901.291:664): item=0 name="/etc/barbican/kek.conf" inode=1196080 ...\x1dOUID=...

With `log_format = ENRICHED` names for numbers follow the byte 0x1D. A value stands in double quotes, or, where it
holds a quote, a space or a byte outside printable ASCII, as hexadecimal digits without quotes: nothing that a process
chose can look like a field. Sources: audit-userspace docs and lib/audit_logging.c, linux kernel/audit.c
(audit_log_untrustedstring). PROCTITLE and EXECVE are passed over: command lines hold passwords.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import Decoded, HostPath, HostRecord, Process, Rejected, RejectReason, Slot
from kmwatch.wire.syscalls import begins_in_cwd, name_of, oflag, opening, ring_name
from kmwatch.wire.times import LATEST

_head = re.compile(
    r"(?:node=([^ ]{1,255}) )?type=([A-Z][A-Z0-9_]{0,63}|UNKNOWN\[[0-9]{1,10}\]) "
    r"msg=audit\(([0-9]{1,11})\.([0-9]{3}):([0-9]{1,20})\): ?",
    re.ASCII,
).match
_OWNED: Final = ("type=", "node=")
_field = re.compile(r'([A-Za-z_][A-Za-z0-9_-]*)=("[^"]*"|[^" ]*)', re.ASCII).finditer
_hexed = re.compile(r"(?:[0-9A-F]{2})+", re.ASCII).fullmatch
_ENRICHED: Final = "\x1d"
_UNSET: Final = ("4294967295", "-1")
_KEPT: Final = 4096  # characters of a name: PATH_MAX
_TOLD: Final = ("op", "audit_enabled", "old", "audit_pid", "audit_failure", "key", "list", "res")
_CALLS: Final = ("SYSCALL", "URINGOP")  # the latter for what io_uring does, which no system call shows
_DAEMON: Final = ("CONFIG_CHANGE", "DAEMON_START", "DAEMON_END", "DAEMON_ABORT", "DAEMON_CONFIG")


def decode(line: str, zone: object = None, host: str | None = None) -> Decoded | None:  # noqa: ARG001  (one shape)
    """Read a line.

    Args:
        line: without a line end.
        zone: not needed: times are seconds since 1970.
        host: the machine that an envelope names.

    Returns:
        The record; Rejected for a damaged line of this form; None for another form. Never raises.
    """
    if not line.startswith(_OWNED):
        return None
    found = _head(line)
    if found is None:
        if "msg=audit(" not in line[:400]:
            return None
        return Rejected(RejectReason.BAD_LINE, "an audit record whose head cannot be read")
    node, kind, seconds, milli, serial = found.groups()
    at = stamp(seconds, milli)
    if at is None:
        return Rejected(RejectReason.BAD_TIME, "outside the years 1970 to 2999")
    plain, _, enriched = line[found.end() :].partition(_ENRICHED)
    number, time, node = int(serial), f"{seconds}.{milli}", node or host
    one = HostRecord(Slot.HOST, key_of(node, time, number), at, f"host:{time}:{serial}", node, number, (kind,))
    return _filled(one, kind, _fields(plain), _fields(enriched))


def stamp(seconds: str, milli: str) -> Micros | None:
    """The time of an event; None outside what can be written."""
    at = int(seconds) * SECOND + int(milli) * 1000
    return at if at < LATEST else None


def key_of(node: str | None, time: str, serial: int) -> str:
    """What all records of one event share."""
    return f"host:{time}:{serial} {node or ''}"


def _filled(one: HostRecord, kind: str, plain: dict[str, str], enriched: dict[str, str]) -> HostRecord:
    if kind in _CALLS:
        arguments = [plain.get(f"a{number}", "") for number in range(4)]
        ring = plain.get("uring_op")
        syscall = enriched.get("SYSCALL") or name_of(plain.get("arch", ""), plain.get("syscall", ""))
        syscall = syscall if ring is None else ring_name(ring)
        return replace(
            one,
            syscall=syscall,
            success=succeeded(plain.get("success")),
            exit=plain.get("exit"),
            flags_opened=opening(syscall, arguments),
            from_cwd=begins_in_cwd(syscall, arguments),
            process=_process(plain, enriched),
        )
    if kind == "CWD":
        return replace(one, cwd=_text(plain.get("cwd", "")))
    if kind == "PATH":
        name = _text(plain.get("name", ""))
        item = _number(plain.get("item", ""))
        path = HostPath(name, plain.get("inode"), plain.get("dev"), _nametype(plain), item)
        return replace(one, paths=(path,))
    if kind == "OPENAT2":
        return replace(one, flags_opened=oflag(plain.get("oflag", "")))
    if kind in _DAEMON:
        return replace(one, changes=(change(kind, plain),), process=_process(plain, enriched))
    return one


def _nametype(plain: dict[str, str]) -> str:
    """What a path is to its event; kernels before 3.11 called the field objtype."""
    return plain.get("nametype") or plain.get("objtype") or "UNKNOWN"


def succeeded(word: str | None) -> bool | None:
    """What `success` says."""
    return None if word not in ("yes", "no") else word == "yes"


def change(kind: str, fields: dict[str, str]) -> str:
    """What a record says of the audit system: its type, operation, settings and rule key, in one line."""
    return " ".join([kind, *(f"{name}={_text(fields[name])[:128]}" for name in _TOLD if name in fields)])


def users(number: str | None, name: str | None) -> tuple[str, ...]:
    """A user by number and by name; the login of a service is "unset"."""
    if number in _UNSET:
        return ("unset",)
    return tuple(dict.fromkeys(part for part in (name, number) if part))


def _process(plain: dict[str, str], enriched: dict[str, str]) -> Process | None:
    if "pid" not in plain and "auid" not in plain:
        return None
    return Process(
        plain.get("pid", ""),
        plain.get("ppid", ""),
        users(plain.get("uid"), _text(enriched.get("UID", ""))),
        users(plain.get("euid"), _text(enriched.get("EUID", ""))),
        users(plain.get("auid"), _text(enriched.get("AUID", ""))),
        _text(plain.get("comm", "")),
        _text(plain.get("exe", "")),
        plain.get("ses"),
    )


def _fields(text: str) -> dict[str, str]:
    """Fields as they stand, quotes included; of one that comes twice the first counts."""
    out: dict[str, str] = {}
    for found in _field(text):
        out.setdefault(found[1], found[2])
    return out


def _number(text: str) -> int:
    """The number of a path in its event; 0 for what is none."""
    return int(text) if len(text) <= 3 and text.isascii() and text.isdigit() else 0  # noqa: PLR2004


def _text(value: str) -> str:
    """A string that a process may have chosen: quoted, or in hexadecimal digits."""
    if value[:1] == '"':
        return value[1:-1][:_KEPT]
    if value in ("(null)", "(none)"):
        return ""
    if _hexed(value):
        return bytes.fromhex(value).decode("utf-8", "replace")[:_KEPT]
    return value[:_KEPT]
