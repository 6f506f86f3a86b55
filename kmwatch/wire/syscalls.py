"""System calls that open, change or move files, by number, for logs that were written without names.

Sources: arch/x86/entry/syscalls/syscall_64.tbl, syscall_32.tbl and include/uapi/asm-generic/unistd.h of Linux 6.12. A
number that is not here stays a number.
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
_I386: Final = {  # of any process on x86_64 that likes: int 0x80
    5: "open", 8: "creat", 9: "link", 10: "unlink", 14: "mknod", 15: "chmod", 16: "lchown", 38: "rename", 83: "symlink",
    92: "truncate", 93: "ftruncate", 94: "fchmod", 95: "fchown", 182: "chown", 193: "truncate", 194: "ftruncate",
    198: "lchown", 207: "fchown", 212: "chown", 226: "setxattr", 227: "lsetxattr", 228: "fsetxattr", 235: "removexattr",
    236: "lremovexattr", 237: "fremovexattr", 295: "openat", 297: "mknodat", 298: "fchownat", 301: "unlinkat",
    302: "renameat", 303: "linkat", 304: "symlinkat", 306: "fchmodat", 342: "open_by_handle_at", 353: "renameat2",
    437: "openat2", 452: "fchmodat2",
}  # fmt: skip
_BY_ARCH: Final = {  # AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64, AUDIT_ARCH_RISCV64, AUDIT_ARCH_I386
    "c000003e": _X86_64,
    "c00000b7": _GENERIC,
    "c00000f3": _GENERIC,
    "40000003": _I386,
}


_RING: Final = {
    "18": "openat", "28": "openat2", "35": "renameat", "36": "unlinkat", "38": "symlinkat", "39": "linkat",
    "41": "fsetxattr", "42": "setxattr",
}  # fmt: skip  # enum io_uring_op of include/uapi/linux/io_uring.h


def ring_name(number: str) -> str:
    """The system call that an operation of io_uring stands for, or its number."""
    return _RING.get(number, number)


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


def oflag(text: str) -> int | None:
    """The flags of an OPENAT2 record: octal digits, as the kernel writes them or as laurel does (`0o...`)."""
    digits = text.removeprefix("0o")
    return int(digits, 8) if digits and not digits.strip("01234567") and len(digits) <= 12 else None  # noqa: PLR2004


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
