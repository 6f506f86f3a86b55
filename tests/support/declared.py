"""A small cloud for tests of the caller map: who is who, its secrets, and requests."""

from __future__ import annotations

from collections.abc import Sequence

from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, SecretGroup
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities, Project, User
from kmwatch.core.model import (
    AddressSource,
    AuditEvent,
    Evidence,
    Initiator,
    Kind,
    Micros,
    Outcome,
    Secret,
    Target,
    Witness,
)

NOON: Micros = 1_795_521_600_000_000  # Tuesday 2026-11-24T12:00:00Z
SERVICE, TENANT = "project-service", "project-tenant"
OCTAVIA, ALICE, BOB = "id-octavia", "id-alice", "id-bob"

IDENTITIES = Identities(
    users=tuple(User(f"id-{name}", name, "default", "Default") for name in ("octavia", "alice", "bob")),
    projects=(Project(SERVICE, "service"), Project(TENANT, "tenant")),
)
INVENTORY = (
    Secret("lb-1", "lb-key-1", "private", TENANT, ALICE, containers=("box",)),
    Secret("lb-2", "lb-key-2", "private", TENANT, BOB, containers=("mixed",)),
    Secret("lb-3", "lb-key-3", "private", TENANT, ALICE, containers=("box", "mixed")),
    Secret("vol-1", "volume-1", "symmetric", TENANT, ALICE),
    Secret("bare"),
)


def declarations(
    callers: Sequence[CallerEntry] = (),
    groups: Sequence[SecretGroup] = (),
    allow: Sequence[AllowEntry] = (),
    decoys: Sequence[Decoy] = (),
    *,
    identities: Identities = IDENTITIES,
) -> Declarations:
    """Compile a map against the cloud."""
    caller_map = CallerMap(tuple(callers), tuple(groups), tuple(allow), tuple(decoys))
    return Declarations(caller_map, identities, INVENTORY)


def initiator(user_id: str | None = OCTAVIA, **changes: object) -> Initiator:
    """Octavia in the project service, from 10.20.0.7, unless told otherwise."""
    fields: dict[str, object] = {
        "user_id": user_id,
        "user_name": None if user_id is None else user_id.removeprefix("id-"),
        "project_id": SERVICE,
        "address": "10.20.0.7",
        "address_source": AddressSource.AUDIT,
        "agent": "octavia-worker/1",
        **changes,
    }
    return Initiator(**fields)  # type: ignore[arg-type]


def event(
    who: Initiator | None = None,
    secret: str | None = "lb-1",  # noqa: S107  (an id)
    *,
    kind: Kind = Kind.RETRIEVAL,
    at: Micros = NOON,
    target_type: str = "secret",
) -> AuditEvent:
    """A successful request."""
    path = f"/v1/{target_type}s/{secret}/payload"
    return AuditEvent(
        "api:req-1",
        at,
        kind,
        Outcome.SUCCESS,
        None,
        200,
        "GET",
        path,
        path,
        "req-1",
        None,
        initiator() if who is None else who,
        Target(target_type, secret, path),
        Evidence.COMPLETE,
        (Witness.CADF,),
    )
