"""What is declared of the side that no API request shows: files of the host, clients of the backend, announced work."""

from __future__ import annotations

from fnmatch import fnmatchcase
from posixpath import dirname

from msgspec import Struct

from kmwatch.core.model import Micros, Word
from kmwatch.core.record import Process


class Role(Word):
    """What a file is to the Key Manager."""

    KEY = "key"
    KEY_FOLDER = "key_folder"
    DATABASE = "database"
    CONFIG = "config"


class DeclaredProcess(Struct, frozen=True):
    """A process by the user it runs as, the user who logged in, and its executable; an absent key means any."""

    user: str | None = None
    login: str | None = None  # "unset" for a service
    exe: str | None = None  # fnmatch

    def fits(self, process: Process | None) -> bool:
        """Whether this is the process; who it runs as must fit both really and effectively."""
        if process is None:
            return False
        user, login, exe = self.user, self.login, self.exe
        if user is not None and not (user in process.uid and user in process.euid):
            return False
        return (login is None or login in process.login) and (exe is None or fnmatchcase(process.exe, exe))


class HostFiles(Struct, frozen=True):
    """The Key Manager's own files, by pattern, and who may touch them."""

    key_files: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    readers: tuple[DeclaredProcess, ...] = ()
    editors: tuple[DeclaredProcess, ...] = ()

    def role(self, path: str) -> Role | None:
        """What a file is, by its absolute path; a key file is nothing else."""
        for patterns, role in ((self.key_files, Role.KEY), (self.databases, Role.DATABASE), (self.config, Role.CONFIG)):
            if any(fnmatchcase(path, pattern) for pattern in patterns):
                return role
        return Role.KEY_FOLDER if any(path == dirname(pattern) for pattern in self.key_files) else None

    def may_be_key(self, name: str) -> bool:
        """Whether a name whose folder nobody knows is that of a key file."""
        return any(fnmatchcase(name, pattern.rpartition("/")[2]) for pattern in self.key_files)

    def reads(self, process: Process | None) -> bool:
        """Whether a process may open key files and databases."""
        return any(reader.fits(process) for reader in self.readers)

    def edits(self, process: Process | None) -> bool:
        """Whether a process may change the configuration."""
        return any(editor.fits(process) for editor in self.editors)


class Client(Struct, frozen=True):
    """A declared client of the HSM or the store. Keys are ANDed where the log shows the field, lists ORed."""

    id: str
    names: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    login: bool = True
    roles: tuple[str, ...] | None = None
    addresses: tuple[str, ...] | None = None
    mounts: tuple[str, ...] | None = None


class Window(Struct, frozen=True):
    """Announced work, by whom and when."""

    id: str
    start: Micros
    end: Micros
    clients: tuple[str, ...] | None = None
    users: tuple[str, ...] | None = None
    ticket: str | None = None

    def covers_user(self, process: Process | None, at: Micros) -> bool:
        """Whether somebody who logged in to the host is at this work."""
        if not self.start <= at <= self.end or process is None:
            return False
        return any(user in process.login for user in self.users) if self.users is not None else self.clients is None

    def covers_client(self, name: str | None, at: Micros) -> bool:
        """Whether a client of the backend is at this work; one that the log does not name may be."""
        if not self.start <= at <= self.end:
            return False
        return name is None or name in self.clients if self.clients is not None else self.users is None


class Behind(Struct, frozen=True):
    """All of it."""

    clients: tuple[Client, ...] = ()
    host: HostFiles = HostFiles()
    windows: tuple[Window, ...] = ()

    def window_of(self, process: Process | None, at: Micros) -> Window | None:
        """The announced work that a process on the host is part of."""
        return next((window for window in self.windows if window.covers_user(process, at)), None)
