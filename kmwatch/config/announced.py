"""The caller map's sections about what stands behind the API, in the core's form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kmwatch.config.behind import Host, Maintenance, Process
from kmwatch.config.callers import CallersFile
from kmwatch.core.behind import Behind, Client, DeclaredProcess, HostFiles, Window
from kmwatch.core.model import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def behind(file: CallersFile) -> Behind:
    """Compile the sections `backend`, `host` and `maintenance`."""
    clients = file.backend.clients if file.backend is not None else ()
    return Behind(
        tuple(Client(c.id, c.names, c.hosts, c.login, c.roles, c.addresses, c.mounts) for c in clients),
        HostFiles() if file.host is None else _files(file.host),
        tuple(map(_window, file.maintenance)),
    )


def _files(host: Host) -> HostFiles:
    return HostFiles(
        host.key_files,
        host.config,
        host.databases,
        tuple(map(_process, host.readers)),
        tuple(map(_process, host.editors)),
    )


def _process(process: Process) -> DeclaredProcess:
    return DeclaredProcess(process.user, process.login, process.exe)


def _window(work: Maintenance) -> Window:
    return Window(work.id, _micros(work.start), _micros(work.end), work.clients, work.users, work.ticket)


def _micros(moment: datetime) -> Micros:
    return (moment - _EPOCH) // _MICRO
