"""Identities from Keystone's API, by the OpenStack SDK: an extra, with its own clouds.yaml and credentials."""

from __future__ import annotations

from kmwatch.config.problems import Problem
from kmwatch.config.settings import Keystone
from kmwatch.config.source import Document, Where
from kmwatch.core.directory import Assignment, Identities, Project, User

_WHERE: Where = ("identities", "keystone")


def load_keystone(given: Keystone, document: Document, problems: list[Problem]) -> Identities:
    """Read users, projects and role assignments; what Keystone refuses becomes a problem."""
    try:
        import openstack  # noqa: PLC0415  (an extra)
        from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
        from openstack.exceptions import SDKException  # noqa: PLC0415
    except ImportError:
        message = "identities from Keystone need the extra: pip install 'kmwatch[keystone]'"
        problems.append(document.problem(_WHERE, message))
        return Identities()
    try:
        with openstack.connect(cloud=given.cloud) as cloud:
            return _read(cloud.identity)
    except (SDKException, ClientException) as error:
        why = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        problems.append(document.problem(_WHERE, f"Keystone cannot be read: {why}; check clouds.yaml and the account"))
        return Identities()


def _read(identity) -> Identities:  # type: ignore[no-untyped-def]  # noqa: ANN001  (the SDK ships no types)
    domains = {str(domain.id): str(domain.name) for domain in identity.domains()}
    users = tuple(User(u.id, u.name, u.domain_id, domains.get(u.domain_id)) for u in identity.users())
    projects = tuple(Project(p.id, p.name, p.domain_id, domains.get(p.domain_id)) for p in identity.projects())
    assignments = tuple(
        Assignment(one.user["id"], one.scope["project"]["id"], one.role["name"])
        for one in identity.role_assignments(include_names=True)
        if one.user and (one.scope or {}).get("project")
    )
    return Identities(users, projects, assignments)
