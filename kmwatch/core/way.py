"""What path, method and success together decide of an event, remembered: most requests have been seen before."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.model import Kind, Target
from kmwatch.core.route import Verb, route

_VERBS = {
    "read": Verb.READ, "create": Verb.WRITE, "update": Verb.WRITE, "delete": Verb.DELETE,
    "GET": Verb.READ, "HEAD": Verb.READ, "POST": Verb.WRITE, "PUT": Verb.WRITE, "PATCH": Verb.WRITE,
    "DELETE": Verb.DELETE,
}  # fmt: skip
_POSTED = (Kind.CREATE, Kind.CONTAINER_CREATE, Kind.ORDER_CREATE)
_MOST = 16_384
LONGEST = 512  # longer paths are not worth their memory


class Way(Struct, frozen=True, gc=False):
    """All that path, action and success decide of an event."""

    kind: Kind
    method: str | None
    path: str
    target: Target
    flag: str | None


_ways: dict[tuple[str, str, bool], Way] = {}  # a cache of a pure function


def way(path: str, action: str, *, served: bool) -> Way:
    """Look up a path with an action of CADF or a method of HTTP; `served`: the request succeeded."""
    return _ways.get((path, action, served)) or _find(path, action, served=served)


def _find(path: str, action: str, *, served: bool) -> Way:
    found = route(path, served=served)
    verb = _VERBS.get(action.partition("/")[0], Verb.UNKNOWN)
    kind = found.kind(verb)
    flag = None
    if kind is Kind.METADATA_READ and found.path.count("/") == 3:  # noqa: PLR2004  (/v1/secrets/{id})
        flag = "accept_unknown"
    elif served and not found.routed and found.target_type != "unknown":
        flag = "unrouted_success"
    target = Target(found.target_type, found.target_id, found.addressed)
    method = action if action.isupper() else _method(action, verb, kind, served=served)
    made = Way(kind, method, found.path, target, flag)
    if len(path) + len(action) <= LONGEST:
        if len(_ways) >= _MOST:
            _ways.clear()
        _ways[path, action, served] = made
    return made


def _method(action: str, verb: Verb, kind: Kind, *, served: bool) -> str | None:
    """The HTTP method where CADF's action leaves no doubt: GET and HEAD, and PUT, PATCH and POST, share one."""
    if action == "read/list" or (verb is Verb.READ and served):
        return "GET"
    if verb is Verb.DELETE:
        return "DELETE"
    if action == "create" or kind in _POSTED:
        return "POST"
    return "PUT" if kind is Kind.PAYLOAD_WRITE and served else None
