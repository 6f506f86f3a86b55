"""Who a client of the backend is: held against the declared ones, as far as the log shows it."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from msgspec import Struct

from kmwatch.core.behind import Behind, Client
from kmwatch.core.constraint import Range, inside, parse_address, ranges
from kmwatch.core.record import BackendRecord, Result


class Identity(Struct, frozen=True):
    """The declared clients that a record may be of."""

    shown: bool  # the log shows anything at all of who it was
    fitting: tuple[Client, ...]

    @property
    def stranger(self) -> bool:
        """Whether it is certainly none of the declared."""
        return self.shown and not self.fitting

    @property
    def label(self) -> str:
        """The one declared client it is, else "several" or "undeclared"."""
        if len(self.fitting) == 1:
            return self.fitting[0].id
        return "several" if self.fitting else "undeclared"


class Clients:
    """The declared clients, compiled."""

    def __init__(self, behind: Behind) -> None:
        """Take what is declared; without any client nobody is a stranger."""
        self.declared = behind.clients
        self._ranges: dict[str, tuple[Range, ...] | None] = {
            client.id: None if client.addresses is None else ranges(client.addresses) for client in behind.clients
        }

    def identify(self, record: BackendRecord) -> Identity:
        """The declared clients that fit all that the record shows and the client names."""
        if not self.declared:
            return Identity(shown=False, fitting=())
        shown = any(held is not None for held in (record.name, record.role, record.host, record.address))
        return Identity(shown, tuple(client for client in self.declared if self._fits(client, record, shown=shown)))

    def may_use(self, identity: Identity, mount: str) -> bool:
        """Whether one of the clients that it may be is declared for a mount of the store, in whatever namespace."""
        return any(
            client.mounts is None or any(mount == one or mount.endswith(f"/{one}") for one in client.mounts)
            for client in identity.fitting
        )

    def logs_in_to(self, role: str | None, is_mount: Callable[[str], bool]) -> bool:
        """Whether a role of a store is one that may use the Key Manager's mounts, by declaration."""
        return role is not None and any(
            client.roles is not None
            and any(fnmatchcase(role, pattern) for pattern in client.roles)
            and (client.mounts is None or any(map(is_mount, client.mounts)))
            for client in self.declared
        )

    def _fits(self, client: Client, record: BackendRecord, *, shown: bool) -> bool:
        compared = 0
        for patterns, held in ((client.names, record.name), (client.roles, record.role), (client.hosts, record.host)):
            if patterns is None or held is None:
                if patterns is client.roles and patterns is not None and self._would_show(record):
                    return False
                continue
            compared += 1
            if not any(fnmatchcase(held, pattern) for pattern in patterns):
                return False
        allowed = self._ranges[client.id]
        if allowed is not None and record.address is not None:
            compared += 1
            if not inside(parse_address(record.address), allowed):
                return False
        return compared > 0 or not shown

    @staticmethod
    def _would_show(record: BackendRecord) -> bool:
        """A store shows the role of whoever has one; whom it refuses, only if it knows the token all the same."""
        return record.mount is not None and (record.result is not Result.REFUSED or record.name is not None)
