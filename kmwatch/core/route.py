"""What a path and a method ask of the Key Manager (barbican.api.controllers, 23.0.0).

Exactly two routes give out secret payload: GET .../secrets/{id}/payload, and GET .../secrets/{id} with an Accept
header other than JSON. Audit events do not show that header, so the second stays a metadata read here, flagged.
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from kmwatch.core.mask import MASK
from kmwatch.core.model import Kind
from kmwatch.core.path import elements, server_path


class Verb(Enum):
    """A method as far as a log shows it. CADF calls PUT, PATCH and most POSTs alike "update"."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    UNKNOWN = "unknown"


class Route(Struct, frozen=True, gc=False):
    """Where a path leads. `target_id` is the client's text, not necessarily a UUID."""

    path: str  # canonical: what Pecan routed
    addressed: str  # after the web server, as the client addressed it
    target_type: str  # secret, container, order, quota, ... or unknown
    target_id: str | None
    reads: Kind
    writes: Kind
    deletes: Kind
    routed: bool

    def kind(self, verb: Verb) -> Kind:
        """The kind of a request with this verb."""
        if verb is Verb.READ:
            return self.reads
        if verb is Verb.WRITE:
            return self.writes
        return self.deletes if verb is Verb.DELETE else Kind.OTHER


_K = Kind
# sub-resource -> (reads, writes, deletes) below one secret or container
_SECRET = {
    "": (_K.METADATA_READ, _K.PAYLOAD_WRITE, _K.DELETE),
    "payload": (_K.RETRIEVAL, _K.OTHER, _K.OTHER),
    "acl": (_K.ACL_READ, _K.ACL_CHANGE, _K.ACL_CHANGE),
    "metadata": (_K.METADATA_READ, _K.UPDATE, _K.UPDATE),
    "consumers": (_K.METADATA_READ, _K.CONSUMER_CHANGE, _K.CONSUMER_CHANGE),
}
_CONTAINER = {
    "": (_K.CONTAINER_READ, _K.OTHER, _K.CONTAINER_DELETE),
    "acl": (_K.ACL_READ, _K.ACL_CHANGE, _K.ACL_CHANGE),
    "consumers": (_K.CONTAINER_READ, _K.CONSUMER_CHANGE, _K.CONSUMER_CHANGE),
    "secrets": (_K.OTHER, _K.OTHER, _K.OTHER),
}
_ORDER = {"": (_K.ORDER_READ, _K.OTHER, _K.ORDER_DELETE)}
# collection -> (target type, (reads, writes, deletes) of the collection, its members' table)
_COLLECTIONS = {
    "secrets": ("secret", (_K.LIST, _K.CREATE, _K.OTHER), _SECRET),
    "containers": ("container", (_K.LIST, _K.CONTAINER_CREATE, _K.OTHER), _CONTAINER),
    "orders": ("order", (_K.LIST, _K.ORDER_CREATE, _K.OTHER), _ORDER),
}
_ADMIN = {
    "quotas": "quota",
    "project-quotas": "quota",
    "secret-stores": "secret_store",
    "transport_keys": "transport_key",
}
_DEEP = frozenset({"metadata", "consumers"})  # sub-resources that have members of their own
_NOTHING = (_K.OTHER, _K.OTHER, _K.OTHER)


def route(raw: str, *, served: bool) -> Route:
    """Route a request target in any spelling.

    Args:
        raw: the request target as a log shows it.
        served: whether the request succeeded (see `elements`).

    Returns:
        The route; `routed` is False where no route of the Key Manager fits.
    """
    addressed = server_path(raw)
    parts = elements(addressed, served=served)
    if not parts:
        return _found("/", addressed, "version", None, (_K.VERSION, _K.OTHER, _K.OTHER))
    if parts == ["healthcheck"]:
        return _found("/healthcheck", addressed, "version", None, (_K.VERSION, _K.OTHER, _K.OTHER))
    if "v1" not in parts:
        return _lost(addressed)
    parts = parts[parts.index("v1") :]  # a deployment may mount the API below a prefix
    path = "/" + "/".join(parts)
    if len(parts) == 1:
        return _found(path, addressed, "version", None, (_K.VERSION, _K.OTHER, _K.OTHER))
    name, rest = parts[1], parts[2:]
    if name in _COLLECTIONS:
        return _member(path, addressed, name, rest)
    name = name.removesuffix(MASK)
    if name in _ADMIN:
        kinds = (_K.OTHER, _K.ADMINISTRATION, _K.ADMINISTRATION)
        return _found(path, addressed, _ADMIN[name], rest[0] if rest else None, kinds)
    return _lost(addressed)


def _member(path: str, addressed: str, name: str, rest: list[str]) -> Route:
    type_, collection, table = _COLLECTIONS[name]
    if not rest:
        return _found(path, addressed, type_, None, collection)
    sub = rest[1] if len(rest) > 1 else ""
    kinds = table.get(sub)
    if kinds is None or len(rest) > (3 if sub in _DEEP else 2):
        return _lost(addressed, type_, rest[0])
    return _found(path, addressed, type_, rest[0], kinds)


def _found(path: str, addressed: str, type_: str, id_: str | None, kinds: tuple[Kind, Kind, Kind]) -> Route:
    return Route(path, addressed, type_, id_, *kinds, routed=True)


def _lost(addressed: str, type_: str = "unknown", id_: str | None = None) -> Route:
    return Route(addressed, addressed, type_, id_, *_NOTHING, routed=False)
