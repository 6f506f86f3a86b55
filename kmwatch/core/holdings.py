"""The secrets that the inventory knows now, with the indexes that verdicts and detections ask.

Everything moves with one secret at a time: an inventory of a million is never walked for a change. Once a reading has
begun it (`begin`), it is kept in rows of its own, and what was configured at the start no longer counts.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Micros, Secret

_MOST = 2**62  # the inventory is bounded where it is read
_BEGUN = "begun"
K = TypeVar("K")

Kin = tuple[str | None, str | None, str]  # project, type, name: a successor has the same
Ids = str | dict[str, None]  # nearly always one; of several the latest is last


class Holdings:
    """Secrets by id. `get` is the map's own: it is asked for every read."""

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        """Begin with a snapshot, which is not written."""
        self.kept: Keyed[Secret] = Keyed("inventory/secrets", Secret, _MOST)
        self._marks: Keyed[int] = Keyed("inventory/marks", int, 1)
        self._by_id: dict[str, Secret] = {}
        self._members: dict[str, Ids] = {}  # by container
        self._creators: dict[str, int] = {}  # secrets of each
        self._expiring: list[tuple[Micros, str]] = []
        self._kin: dict[Kin, Ids] = {}
        self._by_path: dict[str, str] = {}
        self.get = self._by_id.get
        self._fill(secrets)

    def __len__(self) -> int:
        """How many there are, the deleted ones too."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Secret]:
        """All of them."""
        return iter(self._by_id.values())

    @property
    def begun(self) -> bool:
        """Whether readings tell what is known, and not the snapshot of the start."""
        return self._marks.get(_BEGUN) is not None

    def apart(self) -> Holdings:
        """The same secrets, to be changed without a change here."""
        return Holdings(self._by_id.values())

    def begin(self) -> None:
        """Forget the snapshot: what is known from here on is told."""
        if not self.begun:
            self._clear()
            self._marks.put(_BEGUN, 1)

    def put(self, secret: Secret) -> None:
        """Take a new or changed secret."""
        self._drop(secret.id)
        self._add(secret)
        self.kept.put(secret.id, secret)

    def lose(self, secret_id: str) -> None:
        """Let go of a secret that is not there any more."""
        self._drop(secret_id)
        self.kept.pop(secret_id)

    def states(self) -> Iterable[Keyed[Any]]:
        """What must outlive the process."""
        return self.kept, self._marks

    def restored(self) -> None:
        """Rows were taken back: if readings had begun, they are all there is."""
        if self.begun:
            self._clear()
            self._fill(secret for _, secret in self.kept.items())

    def members(self, container: str) -> tuple[str, ...] | None:
        """The ids of a container's secrets; None where none is known."""
        found = self._members.get(container)
        return None if found is None else tuple(_several(found))

    def has_created(self, user_id: str) -> bool:
        """Whether the user created any of them."""
        return user_id in self._creators

    def expiring(self, since: Micros, until: Micros) -> Iterator[Secret]:
        """The secrets that are not deleted and expire within [since, until), in order."""
        low = bisect_left(self._expiring, (since, ""))
        for expires, secret_id in self._expiring[low:]:
            if expires >= until:
                return
            if not self._by_id[secret_id].deleted:
                yield self._by_id[secret_id]

    def has_newer(self, secret_id: str) -> bool:
        """Whether there is a live secret of the same project, name and type that was made later."""
        secret = self._by_id.get(secret_id)
        if secret is None or secret.created is None or (kin := _kin(secret)) is None:
            return False
        found = (self._by_id[other] for other in reversed(_several(self._kin[kin])))
        return any(not one.deleted and (one.created or 0) > secret.created for one in found)

    def at_path(self, path: str) -> str | None:
        """The secret that a store behind the Key Manager keeps there."""
        return self._by_path.get(path)

    def paths(self) -> Iterable[str]:
        """Where a store behind the Key Manager keeps secrets."""
        return self._by_path.keys()

    def _clear(self) -> None:
        self._by_id.clear()  # and not another: `get` is its own
        self._members, self._creators, self._kin, self._by_path, self._expiring = {}, {}, {}, {}, []

    def _fill(self, secrets: Iterable[Secret]) -> None:
        """Add many: the one order there is, is made once."""
        expiring = self._expiring
        for secret in secrets:
            if secret.id in self._by_id:  # of two with one id the last counts
                self._drop(secret.id)
            self._add(secret, sort=False)
            if secret.expires is not None:
                expiring.append((secret.expires, secret.id))
        expiring.sort()

    def _add(self, secret: Secret, *, sort: bool = True) -> None:
        self._by_id[secret.id] = secret
        for container in secret.containers:
            _with(self._members, container, secret.id)
        if secret.creator_id:
            self._creators[secret.creator_id] = self._creators.get(secret.creator_id, 0) + 1
        kin = _kin(secret)
        if kin is not None:
            _with(self._kin, kin, secret.id)
        if secret.backend_path:
            self._by_path[secret.backend_path] = secret.id
        if sort and secret.expires is not None:
            insort(self._expiring, (secret.expires, secret.id))

    def _drop(self, secret_id: str) -> None:
        secret = self._by_id.pop(secret_id, None)
        if secret is None:
            return
        for container in secret.containers:
            _without(self._members, container, secret_id)
        if secret.creator_id:
            left = self._creators.pop(secret.creator_id) - 1
            if left:
                self._creators[secret.creator_id] = left
        kin = _kin(secret)
        if kin is not None:
            _without(self._kin, kin, secret_id)
        if secret.backend_path and self._by_path.get(secret.backend_path) == secret_id:
            del self._by_path[secret.backend_path]
        if secret.expires is not None:
            at = bisect_left(self._expiring, (secret.expires, secret_id))
            if self._expiring[at : at + 1] == [(secret.expires, secret_id)]:
                del self._expiring[at]


def _kin(secret: Secret) -> Kin | None:
    if secret.created is None or secret.name is None:
        return None
    return secret.project_id, secret.type, secret.name


def _several(found: Ids) -> dict[str, None]:
    return {found: None} if isinstance(found, str) else found


def _with(index: dict[K, Ids], key: K, secret_id: str) -> None:
    found = index.get(key)
    if found is None:
        index[key] = secret_id
    elif isinstance(found, str):
        index[key] = {found: None, secret_id: None}
    else:
        found[secret_id] = None


def _without(index: dict[K, Ids], key: K, secret_id: str) -> None:
    left = _several(index.pop(key, {}))
    left.pop(secret_id, None)
    if left:
        index[key] = left if len(left) > 1 else next(iter(left))
