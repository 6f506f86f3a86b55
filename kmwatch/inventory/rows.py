"""One row of an inventory, wherever it came from, as the secret that the core knows."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from kmwatch.core.model import SECOND, Acl, Micros, Secret


class InventoryError(Exception):
    """The inventory cannot be read; the message says why and what to do, and holds no credential."""


class Snapshot(Struct):
    """What one reading of an inventory gave. `problems` are (line, what is wrong), lines from 1."""

    secrets: tuple[Secret, ...]
    problems: list[tuple[int, str]]


class RowAcl(Struct, gc=False):
    """Who may read it beside its project's administrators and its creator."""

    project_access: bool | int = True
    users: tuple[str, ...] = ()


class Row(Struct, gc=False):
    """A row as exporters of the Key Manager's database write it; other keys are ignored."""

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
    acl: RowAcl | None = None
    project_access: bool | int | None = None  # the same ACL in a table's columns
    acl_users: tuple[str, ...] | None = ()
    crypto_plugin: str | None = None  # kek_data.plugin_name, which is nearer than
    plugin_name: str | None = None  # secret_store_metadata.plugin_name
    backend_path: str | None = None


def secret_of(row: Row) -> Secret:
    """The secret of a row.

    A soft-deleted row keeps the status ACTIVE: `deleted_at` marks the deletion (barbican.model.models).

    Raises:
        ValueError: the id is empty, or a time is none; without the name, which is a stranger's text.
    """
    if not row.id:
        raise ValueError('has an empty "id"; correct or export it again')
    return Secret(
        row.id,
        row.name,
        row.secret_type if row.secret_type is not None else row.type,
        row.project_id,
        row.creator_id,
        bool(row.deleted) or row.deleted_at is not None or row.status == "DELETED",
        row.containers or (),
        _time("created_at", row.created_at),
        _time("expiration", row.expiration),
        _acl(row),
        row.crypto_plugin or row.plugin_name,
        row.backend_path,
    )


def _acl(row: Row) -> Acl | None:
    if row.acl is not None:
        return Acl(bool(row.acl.project_access), row.acl.users)
    if row.project_access is None and not row.acl_users:
        return None
    return Acl(row.project_access is None or bool(row.project_access), row.acl_users or ())


def _time(key: str, text: str | None) -> Micros | None:
    """A time as databases and the OpenStack client write it; without an offset it is UTC, as the Key Manager's are."""
    if not text:
        return None
    try:
        return micros(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(f'"{key}" is no time such as 2027-06-30T12:00:00; correct or export it again') from None


def micros(moment: datetime) -> Micros:
    """Whole microseconds since 1970 of a moment; one without a time zone is in UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds
