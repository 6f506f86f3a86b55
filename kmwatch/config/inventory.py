"""The secret inventory: JSON lines, one secret each, as exporters of the Key Manager's database write it.

`id` is needed; `name`, `secret_type` (or `type`), `project_id`, `creator_id`, `status`, `deleted`,
`deleted_at`, `created_at`, `expiration`, `containers` (ids), `acl`, `crypto_plugin` (kek_data.plugin_name), and
`plugin_name` and `backend_path` (secret_store_metadata) are used where they are; other keys are ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from kmwatch.config.problems import Problem
from kmwatch.core.model import SECOND, Acl, Micros, Secret

_LARGEST = 1 << 30
_MOST_PROBLEMS = 20


class _Acl(msgspec.Struct, gc=False):
    project_access: bool | int = True
    users: tuple[str, ...] = ()


class _Row(msgspec.Struct, gc=False):
    id: str
    name: str | None = None
    secret_type: str | None = None
    type: str | None = None
    project_id: str | None = None
    creator_id: str | None = None
    status: str | None = None
    deleted: bool | int | None = None
    deleted_at: str | None = None
    containers: tuple[str, ...] | None = ()
    created_at: str | None = None
    expiration: str | None = None
    acl: _Acl | None = None
    crypto_plugin: str | None = None
    plugin_name: str | None = None
    backend_path: str | None = None


_DECODER = msgspec.json.Decoder(_Row)


def load_inventory(path: Path, shown: str, problems: list[Problem]) -> tuple[Secret, ...]:
    """Read the inventory; a broken line becomes a problem (the first twenty of them) and is left out."""
    try:
        if path.stat().st_size > _LARGEST:
            problems.append(Problem(shown, 1, "", "is larger than 1 GiB; export live secrets only"))
            return ()
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        problems.append(Problem(shown, 1, "", f"cannot be read ({error.strerror}); check the path and its rights"))
        return ()
    secrets: dict[str, Secret] = {}
    broken: list[Problem] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        secret, message = _secret(line)
        if secret is not None and secret.id in secrets:
            message = f"{secret.id} is listed before; keep one line for each secret"
        if message:
            broken.append(Problem(shown, number, "", message))
        elif secret is not None:
            secrets[secret.id] = secret
    problems.extend(broken[:_MOST_PROBLEMS])
    if len(broken) > _MOST_PROBLEMS:
        more = f"{len(broken) - _MOST_PROBLEMS} more lines from here on are broken; export it again"
        problems.append(Problem(shown, broken[_MOST_PROBLEMS].line, "", more))
    return tuple(secrets.values())


def _secret(line: bytes) -> tuple[Secret | None, str]:
    """The secret of a line, or what is wrong with it, without a secret's name: that is a stranger's text."""
    try:
        row = _DECODER.decode(line)
    except msgspec.ValidationError as error:
        return None, f"is no secret: {error}; correct or export it again"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, "is not valid JSON; correct or export it again"
    if not row.id:
        return None, 'has an empty "id"; correct or export it again'
    gone = bool(row.deleted) or row.deleted_at is not None or row.status == "DELETED"
    kind = row.secret_type if row.secret_type is not None else row.type
    try:
        created, expires = _moment(row.created_at), _moment(row.expiration)
    except ValueError:
        return None, 'has a time that is none; write "created_at" and "expiration" as 2026-11-23 20:47:52 in UTC'
    acl = None if row.acl is None else Acl(bool(row.acl.project_access), row.acl.users)
    containers = row.containers or ()
    plugin = row.crypto_plugin or row.plugin_name
    return Secret(
        row.id, row.name, kind, row.project_id, row.creator_id, gone, containers, created, expires, acl, plugin,
        row.backend_path,
    ), ""  # fmt: skip


def _moment(text: str | None) -> Micros | None:
    """A time of the Key Manager's database, which knows no zone: UTC."""
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * SECOND)
