"""Vault's audit device: a JSON object for each request and one for its response, strings HMAC'd, names in clear.

    {"type": "response", "time": "...Z", "auth": {...}, "request": {"id": ..., "operation": "read", "path": ...}, ...}

`request.id` joins the two. There is no HTTP status: a refusal is `error`, what is not there has no `response.data`.
A wrapped response (`wrap_info`) hands out a token that fetches the data later: the Key Manager never asks for one. In a
namespace paths stand with its name or without; here they have it. A server that writes no mount is understood where
the path tells it.
Source: HashiCorp's documentation of audit devices, and what Vault 1.21.4 wrote; OpenBao's fork has not been tried.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import Final

import msgspec
from msgspec import Struct

from kmwatch.core.model import Micros
from kmwatch.core.record import BackendRecord, Decoded, Deed, Rejected, RejectReason, Result, Slot
from kmwatch.wire.times import naive

_KEPT: Final = 1024  # characters of a path
_ABSENT: Final = msgspec.Raw()
_CHANGING: Final = frozenset({"create", "update", "delete", "patch"})
_login = re.compile(r"auth/(?:[^/]+/)+login(?:/|\Z)").match
_HARMLESS: Final = re.compile(  # changes by name that change nothing of who may do what
    r"auth/token/(?:lookup|renew|create-batch)|auth/[^/]+/(?:oidc|callback)|sys/(?:wrapping|tools|capabilities|internal"
    r"|leases/(?:renew|lookup)|renew|audit-hash|audit/test\Z|unseal|health|seal-status|step-down\Z)"
).match
_wraps = re.compile(r"sys/wrapping/(?:wrap|rewrap)\Z").match  # hands over what is in it, out of sight
_CONTROL: Final = ("sys/", "auth/", "identity/")
_KV: Final = frozenset({"kv", "ns_kv", "generic"})
_v2 = re.compile(r"((?:[^/]+/)+?)(?:data|metadata|delete|undelete|destroy|subkeys)/").match
_v1 = re.compile(r"((?:[^/]+/)+)[0-9a-f]{32}\Z").match  # castellan's form of a key id
_MORE: Final = frozenset({"metadata", "subkeys", "undelete"})  # of KV version 2: to see more than the Key Manager does
_KV2: Final = frozenset({"data", "metadata", "delete", "undelete", "destroy", "subkeys", "config"})


class _Metadata(Struct, gc=False):
    role_name: str | None = None


class _Auth(Struct, gc=False):
    display_name: str | None = None
    policies: list[str] | None = None
    metadata: _Metadata | None = None


class _Namespace(Struct, gc=False):
    path: str = ""


class _Request(Struct, gc=False):
    id: str
    operation: str
    path: str
    request_uri: str | None = None
    remote_address: str | None = None
    remote_port: int | None = None
    mount_point: str | None = None
    mount_type: str | None = None
    namespace: _Namespace | None = None


class _Response(Struct, gc=False):
    data: msgspec.Raw = _ABSENT
    auth: msgspec.Raw = _ABSENT
    wrap_info: msgspec.Raw = _ABSENT


class _Line(Struct, gc=False):
    type: str
    time: str
    request: _Request
    auth: _Auth | None = None
    response: _Response | None = None
    error: str | None = None


_decode = msgspec.json.Decoder(_Line).decode


def decode(value: bytes, host: str | None = None) -> Decoded:  # noqa: ARG001  (one shape for all behind the API)
    """Read one line.

    Args:
        value: the JSON object.
        host: not needed: the line names the client's address, and the server's clock is the only one.

    Returns:
        The record, or Rejected. Never raises.
    """
    try:
        line = _decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Rejected(RejectReason.BAD_LINE, "a line of Vault's audit device that cannot be read")
    try:
        at: Micros = naive(line.time, UTC)
    except ValueError:
        return Rejected(RejectReason.BAD_TIME, "a line of Vault's audit device without a time")
    request, auth = line.request, line.auth or _Auth()
    space, path, mount, kind = _placed(request)
    deed = deed_of(request.operation, path, mount, kind, request.request_uri)
    if deed in (Deed.READ, Deed.OTHER) and _wrapped(line) and kind in _KV:
        deed = Deed.EXTRACT
    where = f"{request.remote_address}:{request.remote_port}" if request.remote_address else None
    return BackendRecord(
        Slot.BACKEND,
        f"backend:{request.id} {line.type}",
        at,
        f"backend:{request.id}",
        deed,
        _result(line),
        f"{request.operation} {space}{path}"[:_KEPT],
        line.type,
        auth.display_name or None,
        auth.metadata.role_name if auth.metadata is not None else None,
        None,
        request.remote_address or None,
        where,
        "root" in (auth.policies or ()),
        None if mount is None else space + mount,
        (space + path)[:_KEPT],
        control=path.startswith(_CONTROL),
    )


def _placed(request: _Request) -> tuple[str, str, str | None, str | None]:
    """Namespace, path and mount within it, and the mount's type."""
    space = request.namespace.path if request.namespace is not None else ""
    path, mount, kind = request.path.removeprefix(space), request.mount_point, request.mount_type
    if mount is not None:
        return space, path, mount.removeprefix(space), kind
    if kind not in (None, *_KV) or path.startswith((*_CONTROL, "cubbyhole/")):
        control = path.startswith("auth/") and path.count("/") > 1
        return space, path, path[: path.index("/", 5) + 1] if control and kind is not None else None, kind
    found = _v2(path) or _v1(path)
    return space, path, found[1] if found else None, "kv" if found else kind


def _wrapped(line: _Line) -> bool:
    held = line.response
    return held is not None and bytes(held.wrap_info) not in (b"", b"null")


def deed_of(operation: str, path: str, mount: str | None, kind: str | None, uri: str | None = None) -> Deed:
    """What an operation means: the Key Manager reads, creates and deletes keys, logs in, and nothing else."""
    if path.startswith(_CONTROL):
        return _control(operation, path)
    if kind not in _KV or mount is None:
        return Deed.OTHER
    first, _, rest = path.removeprefix(mount).partition("/")
    if first not in _KV2 or not rest:
        first, uri = "data", None  # KV version 1 has keys and nothing beside
    if first in _MORE or operation == "list":
        changes = first == "metadata" and operation in _CHANGING
        return Deed.CHANGE if changes else Deed.EXTRACT
    if first != "data" or operation in ("update", "patch"):
        return Deed.CHANGE if operation in _CHANGING else Deed.OTHER
    if operation == "read":
        return Deed.EXTRACT if uri is not None and "version=" in uri else Deed.READ
    return {"create": Deed.WRITE, "delete": Deed.DELETE}.get(operation, Deed.OTHER)


def _control(operation: str, path: str) -> Deed:
    if _login(path) and operation in _CHANGING:
        return Deed.LOGIN
    if path.startswith(("sys/storage/raft/snapshot", "sys/raw")) and operation in ("read", "list"):
        return Deed.EXTRACT
    if _wraps(path) and operation in _CHANGING:
        return Deed.EXTRACT
    return Deed.CHANGE if operation in _CHANGING and not _HARMLESS(path) else Deed.OTHER


def _result(line: _Line) -> Result:
    error = line.error
    if error:
        refused = "permission denied" in error or "invalid credentials" in error or "invalid role" in error
        return Result.REFUSED if refused or "invalid secret" in error else Result.FAILED
    if line.type != "response":
        return Result.UNKNOWN
    held = line.response
    shown = held is not None and (bytes(held.data) not in (b"", b"null") or _wrapped(line))
    return Result.OK if shown or line.request.operation != "read" else Result.EMPTY
