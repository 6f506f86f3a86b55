"""Which secret a key of the store is, and which mounts are the Key Manager's, by the inventory and by what is seen."""

from __future__ import annotations

import re

from kmwatch.core.holdings import Holdings
from kmwatch.core.keyed import Keyed
from kmwatch.core.record import BackendRecord, Deed, Result

_castellan = re.compile(r"[0-9a-f]{32}").fullmatch  # uuid4().hex: castellan's only form of a key id
_MOST_MOUNTS = 64


class Inventory:
    """What the inventory knows of the backend, and the mounts that were learned."""

    def __init__(self, holdings: Holdings) -> None:
        """Ask these secrets, whatever becomes of them."""
        self._holdings = holdings
        self.learned: Keyed[int] = Keyed("backend/mounts", int, _MOST_MOUNTS)
        self._known: dict[str, bool] = {}

    def is_elsewhere(self, secret_id: str) -> bool:
        """Whether another plugin keeps it: its reads reach neither HSM nor store, and excuse nobody."""
        secret = self._holdings.get(secret_id)
        return secret is not None and secret.plugin is not None and "simple" in secret.plugin.lower()

    def is_keyed(self, secret_id: str) -> bool:
        """Whether it is known where the store keeps it."""
        secret = self._holdings.get(secret_id)
        return secret is not None and bool(secret.backend_path)

    def secret_at(self, record: BackendRecord) -> str | None:
        """The secret that a record of a store is about."""
        if record.mount is None or record.path is None:
            return None
        path, found = record.path, self._holdings.at_path(record.path)
        while found is None and "/" in path:  # a namespace that the inventory does not name
            path = path.partition("/")[2]
            found = self._holdings.at_path(path)
        return found

    def changed(self) -> None:
        """The secrets have changed, and so may have what mounts they are on."""
        self._known.clear()

    def is_ours(self, record: BackendRecord) -> bool:
        """Whether a record is about the Key Manager's payloads: its HSM, or its mount of a store.

        A mount is the Key Manager's if the inventory has a secret there, or if keys as only castellan makes them were
        created there: others on a shared store have mounts of their own.
        """
        mount = record.mount
        if mount is None:
            return record.half is None or record.path is None or record.control or self._is_under(record.path)
        if self.is_mount(mount):
            return True
        made = record.deed in (Deed.WRITE, Deed.READ) and record.result is Result.OK and record.path is not None
        if made and record.path is not None and _castellan(record.path.rpartition("/")[2]):
            self.learned.put(mount, 1)
            return True
        return self.secret_at(record) is not None

    def is_mount(self, mount: str) -> bool:
        """Whether a mount of a store is known as the Key Manager's."""
        known = self._known.get(mount)
        if known is None:
            known = self._known[mount] = any(path.startswith(mount) for path in self._holdings.paths())
        return known or any(name == mount or name.endswith(f"/{mount}") for name, _ in self.learned.items())

    def _is_under(self, path: str) -> bool:
        """A request that was refused before its mount was looked up shows a path alone."""
        mounts = [mount for mount, ours in self._known.items() if ours] + [mount for mount, _ in self.learned.items()]
        return any(path.startswith(mount) for mount in mounts)
