"""The part of OCSF 1.8.0 that kmwatch writes, as narrow types: a field that is not here cannot be sent.

Field order is the order in the line. A field with a default is left out while it has that default.
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.model import AddressSource, Counts, Mode
from kmwatch.wire.health import Health
from kmwatch.wire.shrink import Cut

OCSF_VERSION = "1.8.0"


class _Object(Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of the schema's objects."""


class Product(_Object, frozen=True):
    name: str
    vendor_name: str
    version: str


class Metadata(_Object, frozen=True):
    version: str
    uid: str  # stable id of this line
    product: Product
    profiles: tuple[str, ...]
    is_truncated: bool = False
    untruncated_size: int = 0  # kilobytes


class Named(_Object, frozen=True):
    """technique, sub_technique and tactic share this form."""

    uid: str
    name: str | None = None


class Attack(_Object, frozen=True):
    technique: Named
    version: str
    sub_technique: Named | None = None
    tactic: Named | None = None


class Analytic(_Object, frozen=True):
    uid: str
    name: str
    type_id: int
    type: str
    version: str


class FindingInfo(_Object, frozen=True):
    uid: str  # stable id of the finding
    title: str
    analytic: Analytic
    first_seen_time: int
    last_seen_time: int
    attacks: tuple[Attack, ...] = ()
    src_url: str | None = None  # the runbook


class Account(_Object, frozen=True):
    """A Keystone project. Type 99 is Other; `type` then carries the name."""

    uid: str
    type_id: int
    type: str


class User(_Object, frozen=True):
    uid: str | None = None
    name: str | None = None
    account: Account | None = None


class Actor(_Object, frozen=True):
    user: User


class Request(_Object, frozen=True):
    uid: str


class Response(_Object, frozen=True):
    code: int


class Api(_Object, frozen=True):
    operation: str
    request: Request | None = None
    response: Response | None = None


class Endpoint(_Object, frozen=True):
    """`ip` holds valid addresses only; any other text that claims to be one goes to `name`."""

    ip: str | None = None
    name: str | None = None


class Url(_Object, frozen=True):
    path: str


class HttpRequest(_Object, frozen=True):
    url: Url
    http_method: str | None = None
    user_agent: str | None = None


class SecretData(_Object, frozen=True):
    secret_type: str | None = None
    deleted: bool = False
    containers: tuple[str, ...] = ()


class Resource(_Object, frozen=True):
    uid: str
    type: str
    name: str | None = None
    owner: User | None = None
    role_id: int | None = None
    role: str | None = None
    data: SecretData | None = None


class EvidenceData(_Object, frozen=True):
    """What the evidence's own attributes have no place for."""

    event_time: str  # microseconds
    address_source: AddressSource
    address: str | None = None  # as the witness wrote it, address or not
    flags: tuple[str, ...] = ()


class Evidence(_Object, frozen=True):
    uid: str  # the event id
    name: str  # the event's kind
    api: Api
    data: EvidenceData
    http_request: HttpRequest | None = None  # none for a record of a log behind the API
    actor: Actor | None = None
    src_endpoint: Endpoint | None = None
    resources: tuple[Resource, ...] = ()


class Observable(_Object, frozen=True):
    name: str
    type_id: int
    type: str
    value: str


class Own(Struct, frozen=True, gc=False):
    """`unmapped.kmwatch`: every key is always present."""

    mode: Mode
    reason: str | None
    declaration: str | None
    nearest: str | None  # id of the allow entry that came closest
    failed_field: str | None
    expected: str | None
    actual: str | None
    caller: str | None
    counts: Counts
    event_ids: tuple[str, ...]
    flags: tuple[str, ...]
    event_time: str  # microseconds, where OCSF has milliseconds
    subject: str | None  # what it is about, where that is no caller
    silence: str | None  # what keeps it from being sent
    related: tuple[str, ...]  # uids of the findings that an incident gathers
    truncated: Cut | None


class Unmapped(_Object, frozen=True):
    kmwatch: Own


class DetectionFinding(_Object, frozen=True):
    activity_id: int
    activity_name: str
    category_uid: int
    category_name: str
    class_uid: int
    class_name: str
    type_uid: int
    type_name: str
    time: int
    start_time: int
    end_time: int
    severity_id: int
    severity: str
    status_id: int
    status: str
    is_alert: bool
    message: str
    count: int
    metadata: Metadata
    finding_info: FindingInfo
    unmapped: Unmapped
    evidences: tuple[Evidence, ...] = ()
    resources: tuple[Resource, ...] = ()
    observables: tuple[Observable, ...] = ()


class UnmappedHealth(_Object, frozen=True):
    kmwatch: Health


class ApplicationLifecycle(_Object, frozen=True):
    """Class 6002, for heartbeats: activity 99 Other, "Heartbeat"."""

    activity_id: int
    activity_name: str
    category_uid: int
    category_name: str
    class_uid: int
    class_name: str
    type_uid: int
    type_name: str
    time: int
    severity_id: int
    severity: str
    status_id: int
    status: str
    message: str
    metadata: Metadata
    app: Product
    unmapped: UnmappedHealth
