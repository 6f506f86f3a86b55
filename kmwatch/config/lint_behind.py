"""What in the sections `backend`, `host` and `maintenance` deserves a second look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from kmwatch.config.behind import Backend, Host, Maintenance
from kmwatch.config.callers import CallersFile
from kmwatch.config.source import Where

_LONG = timedelta(days=1)
_Doubt = tuple[Where, str]


def behind(file: CallersFile) -> Iterator[_Doubt]:
    """Where the doubt is, and what to do about it."""
    if file.backend is not None:
        yield from _clients(file.backend)
    if file.host is not None:
        yield from _files(file.host)
    for index, work in enumerate(file.maintenance):
        yield from _work(index, work)


def _clients(backend: Backend) -> Iterator[_Doubt]:
    for index, client in enumerate(backend.clients):
        if client.login and client.hosts is None and client.addresses is None:
            message = (
                "may log in from any host; name its hosts or addresses, or whoever has its credential passes for it"
            )
            yield ("backend", "clients", index), message
        if client.roles is not None and client.mounts is None:
            yield ("backend", "clients", index), "may use every mount of the store; name its mounts"


def _files(host: Host) -> Iterator[_Doubt]:
    for section in ("key_files", "config", "databases"):
        for index, pattern in enumerate(getattr(host, section)):
            if not pattern.startswith(("/", "*")):
                yield ("host", section, index), "fits no absolute path; begin it with /"
    if (host.key_files or host.databases) and not host.readers:
        yield ("host", "readers"), "names nobody, so the service's own start is an alarm; declare it"
    for index, reader in enumerate(host.readers):
        lacks = [key for key in ("user", "login", "exe") if getattr(reader, key) is None]
        if lacks:
            yield (
                ("host", "readers", index),
                f"may open the master key with any {' and any '.join(lacks)}; name {lacks[0]}",
            )


def _work(index: int, work: Maintenance) -> Iterator[_Doubt]:
    where: Where = ("maintenance", index)
    if work.ticket is None:
        yield where, "has no ticket; say where it was agreed"
    if work.clients is None and work.users is None:
        yield where, "covers whoever is at work then; name clients or users"
    if work.end - work.start > _LONG:
        yield where, "lasts longer than a day; announce each piece of work by itself"
