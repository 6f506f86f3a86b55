"""The part of the Elastic Common Schema 8.17 that kmwatch writes, as narrow types.

A field with a default is left out while it has that default. What ECS has no field for stands under `kmwatch`, which
ECS leaves to custom use; nothing there has a name that a client chooses, so no mapping can explode.
"""

from __future__ import annotations

from msgspec import Struct, field

from kmwatch.core.model import AddressSource, Counts, Mode
from kmwatch.wire.health import Health
from kmwatch.wire.shrink import Cut

ECS_VERSION = "8.17.0"


class _Object(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of the schema's objects."""


class Ecs(Struct, frozen=True, gc=False):
    version: str = ECS_VERSION


class Event(_Object, frozen=True):
    kind: str
    category: tuple[str, ...]
    type: tuple[str, ...]
    id: str  # the line
    code: str  # the rule
    action: str
    severity: int
    module: str
    dataset: str
    provider: str
    start: str
    end: str
    outcome: str | None = None
    reason: str | None = None


class Rule(_Object, frozen=True):
    id: str
    name: str
    version: str
    ruleset: str
    reference: str | None = None  # the runbook


class Named(_Object, frozen=True):
    id: tuple[str, ...]
    name: tuple[str, ...] = ()


class Threat(_Object, frozen=True):
    framework: str
    technique: Named
    tactic: Named | None = None


class Source(_Object, frozen=True):
    address: str
    ip: str | None = None  # valid addresses only: an index maps it as one


class User(_Object, frozen=True):
    id: str | None = None
    name: str | None = None


class Project(_Object, frozen=True):
    id: str


class Cloud(_Object, frozen=True):
    project: Project


class Request(_Object, frozen=True):
    id: str | None = None
    method: str | None = None


class Response(_Object, frozen=True):
    status_code: int


class Http(_Object, frozen=True):
    request: Request | None = None
    response: Response | None = None


class Url(_Object, frozen=True):
    path: str


class UserAgent(_Object, frozen=True):
    original: str


class Related(_Object, frozen=True):
    ip: tuple[str, ...] = ()
    user: tuple[str, ...] = ()


class Observer(_Object, frozen=True):
    vendor: str
    product: str
    version: str
    type: str


class Evidence(_Object, frozen=True):
    """One request, whole."""

    event_id: str
    event_time: str
    kind: str
    operation: str
    target_type: str
    address_source: AddressSource
    target_id: str | None = None
    status: int | None = None
    request_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    project_id: str | None = None
    address: str | None = None
    agent: str | None = None
    flags: tuple[str, ...] = ()


class Secret(_Object, frozen=True):
    id: str
    name: str | None = None
    type: str | None = None
    project_id: str | None = None
    creator_id: str | None = None
    deleted: bool = False
    containers: tuple[str, ...] = ()


class Own(_Object, frozen=True):
    """`kmwatch`: what a finding has beyond ECS."""

    finding_uid: str
    activity: str
    severity: str
    mode: Mode
    counts: Counts
    event_time: str
    declaration: str | None = None
    nearest: str | None = None
    failed_field: str | None = None
    expected: str | None = None
    actual: str | None = None
    caller: str | None = None
    subject: str | None = None
    event_ids: tuple[str, ...] = ()
    evidences: tuple[Evidence, ...] = ()
    secrets: tuple[Secret, ...] = ()
    flags: tuple[str, ...] = ()
    truncated: Cut | None = None
    health: Health | None = None


class Document(_Object, frozen=True):
    timestamp: str = field(name="@timestamp")
    ecs: Ecs
    message: str
    event: Event
    rule: Rule
    observer: Observer
    kmwatch: Own
    threat: Threat | None = None
    source: Source | None = None
    user: User | None = None
    cloud: Cloud | None = None
    http: Http | None = None
    url: Url | None = None
    user_agent: UserAgent | None = None
    related: Related | None = None
    tags: tuple[str, ...] = ()
