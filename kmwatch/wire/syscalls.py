"""System calls that open, change or move files, by number, for logs that were written without names.

Sources: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 6.12. A number that is
not here stays a number.
"""

from __future__ import annotations

from typing import Final

_X86_64: Final = {
    2: "open", 76: "truncate", 77: "ftruncate", 82: "rename", 85: "creat", 86: "link", 87: "unlink", 88: "symlink",
    90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 94: "lchown", 133: "mknod", 188: "setxattr",
    189: "lsetxattr", 190: "fsetxattr", 197: "removexattr", 198: "lremovexattr", 199: "fremovexattr", 257: "openat",
    259: "mknodat", 260: "fchownat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat",
    268: "fchmodat", 304: "open_by_handle_at", 316: "renameat2", 437: "openat2", 452: "fchmodat2",
}  # fmt: skip
_GENERIC: Final = {
    5: "setxattr", 6: "lsetxattr", 7: "fsetxattr", 14: "removexattr", 15: "lremovexattr", 16: "fremovexattr",
    33: "mknodat", 35: "unlinkat", 36: "symlinkat", 37: "linkat", 38: "renameat", 45: "truncate", 46: "ftruncate",
    52: "fchmod", 53: "fchmodat", 54: "fchownat", 55: "fchown", 56: "openat", 265: "open_by_handle_at",
    276: "renameat2", 437: "openat2", 452: "fchmodat2",
}  # fmt: skip
_BY_ARCH: Final = {"c000003e": _X86_64, "c00000b7": _GENERIC}  # AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64


def name_of(arch: str, number: str) -> str:
    """The name of a system call, or its number if it is not known."""
    table = _BY_ARCH.get(arch.removeprefix("0x"))
    return table.get(int(number), number) if table is not None and number.isascii() and number.isdigit() else number


_FLAGS_AT: Final = {
    "open": 1,
    "creat": -1,
    "openat": 2,
}  # which argument holds the flags; of openat2 they lie in memory
_CREAT: Final = 0o1101  # O_CREAT | O_WRONLY | O_TRUNC: what creat(2) means
_AT_FDCWD: Final = 0xFFFF_FF9C


def opening(syscall: str, arguments: list[str]) -> int | None:
    """The flags of an opening, from its four hexadecimal arguments; None where they are not shown."""
    at = _FLAGS_AT.get(syscall)
    if at is None:
        return None
    if at < 0:
        return _CREAT
    return _hex(arguments[at]) if at < len(arguments) else None


def begins_in_cwd(syscall: str, arguments: list[str]) -> bool:
    """Whether relative names of a call begin in the working directory: no `...at` call, or one with AT_FDCWD."""
    if not (syscall.endswith("at") or syscall[:-1].endswith("at")) or syscall == "creat" or not arguments:
        return True
    first = _hex(arguments[0])
    return first is None or first & 0xFFFF_FFFF == _AT_FDCWD


def _hex(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
