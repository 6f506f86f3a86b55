"""The columns of the Key Manager's database that hold metadata, and no others (barbican.model.models, release 23).

What is not named here is never selected: the account needs no right to it. Column-level grants of exactly these are
in docs/guides/inventory.md.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, DateTime, Executable, String, column, false, func, select, table

secrets = table(
    "secrets",
    column("id", String),
    column("name", String),
    column("secret_type", String),
    column("status", String),
    column("created_at", DateTime),
    column("deleted_at", DateTime),
    column("deleted", Boolean),
    column("expiration", DateTime),
    column("creator_id", String),
    column("project_id", String),
)
projects = table("projects", column("id", String), column("external_id", String))
containers = table("containers", column("id", String), column("deleted", Boolean))
container_secret = table(
    "container_secret", column("container_id", String), column("secret_id", String), column("deleted", Boolean)
)
secret_acls = table(
    "secret_acls",
    column("id", String),
    column("secret_id", String),
    column("operation", String),
    column("project_access", Boolean),
    column("deleted", Boolean),
)
secret_acl_users = table(
    "secret_acl_users", column("acl_id", String), column("user_id", String), column("deleted", Boolean)
)
kek_data = table(
    "kek_data",
    column("project_id", String),
    column("plugin_name", String),
    column("active", Boolean),
    column("deleted", Boolean),
)

TABLES: Final = (secrets, projects, containers, container_secret, secret_acls, secret_acl_users, kek_data)

# What an account of ours must not be able to read: wrapped payloads, and what unwraps them or names the key that does.
FORBIDDEN: Final = (
    ("encrypted_data", "cypher_text"),
    ("encrypted_data", "kek_meta_extended"),
    ("kek_data", "plugin_meta"),
    ("kek_data", "kek_label"),
)


def all_secrets() -> Executable:
    """Every secret with the Keystone id of its project; `secrets.project_id` itself is the Key Manager's own number."""
    s = secrets.c
    columns = (s.id, s.name, s.secret_type, s.created_at, s.deleted_at, s.deleted, s.expiration, s.creator_id)
    joined = secrets.outerjoin(projects, projects.c.id == s.project_id)
    return select(*columns, projects.c.external_id, s.project_id).select_from(joined).order_by(s.id)


def memberships() -> Executable:
    """Which secret is in which container that is still there: a deleted one leaves its members listed."""
    c = container_secret.c
    joined = container_secret.join(containers, containers.c.id == c.container_id)
    chosen = select(c.secret_id, c.container_id).select_from(joined)
    return chosen.where(c.deleted == false(), containers.c.deleted == false()).order_by(c.secret_id, c.container_id)


def acls() -> Executable:
    """Read ACLs, one row for each user on them, or one without."""
    a, u = secret_acls.c, secret_acl_users.c
    joined = secret_acls.outerjoin(secret_acl_users, (u.acl_id == a.id) & (u.deleted == false()))
    chosen = select(a.secret_id, a.project_access, u.user_id).select_from(joined)
    return chosen.where(a.operation == "read", a.deleted == false()).order_by(a.secret_id, u.user_id)


def plugins() -> Executable:
    """What encrypts each project's secrets, where that is one plugin for all of them."""
    k = kek_data.c
    chosen = select(k.project_id, func.min(k.plugin_name).label("plugin")).where(k.deleted == false())
    return chosen.group_by(k.project_id).having(func.count(k.plugin_name.distinct()) == 1)
