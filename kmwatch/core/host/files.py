"""Which of the Key Manager's files an event touches, and how: by the file itself, not by what a process calls it.

A name may be relative, hold `..`, be a symbolic or a hard link. Device and inode tell the truth: those of the key
files are learned from the events that name them, kept while one of their names is left, and followed through renames.
"""

from __future__ import annotations

from collections.abc import Iterable
from posixpath import basename, isabs, join, normpath
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.behind import HostFiles, Role
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Word
from kmwatch.core.record import HostPath, HostRecord

_ACCESS: Final = 0o3  # O_ACCMODE
_TRUNCATE: Final = 0o1000
_REFUSED: Final = ("-1", "-13", "EPERM", "EACCES")
_OPENING: Final = frozenset({"open", "openat", "openat2", "creat", "open_by_handle_at"})
_ATTRIBUTES: Final = frozenset(
    {"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "setxattr", "lsetxattr",
     "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"}
)  # fmt: skip
_CONTENT: Final = frozenset({"truncate", "ftruncate"})
_MOST_NAMES: Final = 32


class Act(Word):
    """What was done to a file."""

    READ = "read"
    CONTENT = "content"  # opened for writing, or cut
    ATTRIBUTES = "attributes"  # mode, owner, extended attributes
    NAME = "name"  # made, renamed, linked, removed


class Touch(Struct, frozen=True, gc=False):
    """One file of an event."""

    role: Role
    act: Act
    path: str  # absolute where it can be known
    inode: str | None
    refused: bool


class Files:
    """The files learned so far."""

    def __init__(self, declared: HostFiles, limit: int) -> None:
        """Know the patterns; remember at most `limit` files."""
        self._declared = declared
        self._names: Keyed[list[str]] = Keyed("host/key-files", list[str], limit)  # by host, device, inode

    def observe(self, event: HostRecord) -> tuple[Touch, ...]:
        """What an event touches, one entry a file and act; what it teaches is learned."""
        if not event.paths or (event.success is False and event.exit not in _REFUSED):
            return ()  # a call that failed otherwise (no such file, exists) has touched nothing
        touches: dict[Touch, None] = {}
        for path in event.paths:
            where = _where(path, event)
            role = self._role(path, where, event)
            act = _act(path, event)
            if role is None or path.nametype == "PARENT":
                continue
            if role is Role.CONFIG and act is Act.READ and _may_write(event):
                act = Act.CONTENT  # watches of folders show writes
            touches[Touch(role, act, where, path.inode, event.success is False)] = None
        if event.success is not False:
            self._learn(event)
        return tuple(touches)

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (self._names,)

    def _role(self, path: HostPath, where: str, event: HostRecord) -> Role | None:
        if path.inode is not None and self._names.get(_file(path, event)) is not None:
            return Role.KEY
        role = self._declared.role(where)
        if role is None and not isabs(where) and self._declared.may_be_key(basename(where)):
            return Role.KEY
        return role

    def _learn(self, event: HostRecord) -> None:
        """Names of key files come and go: first what goes, then what bears a declared name, then its other names."""
        moved = {_file(path, event) for path in event.paths if path.nametype == "DELETE" and self._is_key(path, event)}
        for path in event.paths:
            if path.nametype == "DELETE" and path.inode is not None:
                self._drop(_file(path, event), _where(path, event))
        there = [path for path in event.paths if path.inode and path.nametype in ("NORMAL", "CREATE")]
        named = [path for path in there if self._declared.role(_where(path, event)) is Role.KEY]
        for path in named:
            self._name(_file(path, event), _where(path, event))
        for path in there:
            file = _file(path, event)
            if path.nametype == "CREATE" and (file in moved or self._names.get(file) is not None):
                self._name(file, _where(path, event))

    def _name(self, file: str, name: str) -> None:
        names = self._names.get(file) or []
        if name not in names:
            self._names.put(file, [*names, name][-_MOST_NAMES:])

    def _is_key(self, path: HostPath, event: HostRecord) -> bool:
        return path.inode is not None and self._names.get(_file(path, event)) is not None

    def _drop(self, file: str, name: str) -> None:
        """A name is gone; with the last of them the file is, and its inode may be another's."""
        names = self._names.get(file)
        if names is None:
            return
        left = [other for other in names if other != name]
        if left:
            self._names.put(file, left)
        else:
            self._names.pop(file)


def _may_write(event: HostRecord) -> bool:
    """Whether the log does not tell reading from writing: openat2 and io_uring without flags, calls without a name."""
    call = event.syscall or ""
    return (call in _OPENING and event.flags_opened is None) or call.isdigit()


def _file(path: HostPath, event: HostRecord) -> str:
    return f"{event.node or ''} {path.dev} {path.inode}"


def _where(path: HostPath, event: HostRecord) -> str:
    """The absolute, plain form of a name; as it stands where its folder is not known."""
    name = path.name
    if isabs(name):
        return _plain(name)
    return _plain(join(event.cwd, name)) if event.from_cwd and event.cwd and name else name


def _plain(path: str) -> str:
    return "/" + normpath(path).lstrip("/")


def _act(path: HostPath, event: HostRecord) -> Act:
    syscall = event.syscall or ""
    if path.nametype in ("CREATE", "DELETE"):
        return Act.NAME
    if syscall in _OPENING:
        flags = event.flags_opened
        return Act.READ if flags is None or not flags & (_ACCESS | _TRUNCATE) else Act.CONTENT
    if syscall in _ATTRIBUTES:
        return Act.ATTRIBUTES
    if syscall in _CONTENT:
        return Act.CONTENT
    return Act.NAME if syscall.startswith(("rename", "link", "unlink", "symlink", "mknod")) else Act.READ
