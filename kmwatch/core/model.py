"""The values every stage hands to the next: frozen, typed, and free of behaviour that needs a clock.

Times are whole microseconds since 1970 in UTC (`Micros`); durations are whole microseconds too. Values are
msgspec Structs: immutable to their users, a third of the cost of a frozen dataclass to build, and their
persistent form (msgpack) is derived from the type, so a field added with a default reads old state.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

Micros = int

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR


class Word(StrEnum):
    """A closed vocabulary.

    Hashed as the string it is: enum's own hash is Python code, and these are keys of hot lookups.
    """

    __hash__ = str.__hash__


class Kind(Word):
    """What method and path would do if granted (docs/reference/events.md)."""

    RETRIEVAL = "retrieval"
    METADATA_READ = "metadata_read"
    LIST = "list"
    CREATE = "create"
    PAYLOAD_WRITE = "payload_write"
    UPDATE = "update"
    DELETE = "delete"
    ACL_READ = "acl_read"
    ACL_CHANGE = "acl_change"
    CONSUMER_CHANGE = "consumer_change"
    CONTAINER_CREATE = "container_create"
    CONTAINER_READ = "container_read"
    CONTAINER_DELETE = "container_delete"
    ORDER_CREATE = "order_create"
    ORDER_READ = "order_read"
    ORDER_DELETE = "order_delete"
    ADMINISTRATION = "administration"
    VERSION = "version"
    OTHER = "other"


class Outcome(Word):
    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


class Failure(Word):
    """Why a request failed, by HTTP status class."""

    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CLIENT_ERROR = "client_error"
    SERVER_ERROR = "server_error"


class Witness(Word):
    """A log that can tell of a request."""

    CADF = "cadf"
    SERVICE_LOG = "service_log"
    ACCESS_LOG = "access_log"
    PROXY_LOG = "proxy_log"
    BACKEND = "backend"
    HOST = "host"


class AddressSource(Word):
    """Who says where a request came from; `audit` is what the service was told, and forgeable."""

    PROXY = "proxy"
    ACCESS = "access"
    AUDIT = "audit"
    NONE = "none"


class Evidence(Word):
    COMPLETE = "complete"
    PARTIAL = "partial"
    CONTRADICTORY = "contradictory"


class Reason(Word):
    """Why a retrieval is, or is not, explained by the caller map."""

    DECLARED = "declared"
    NO_DECLARATION = "no_declaration"
    NETWORK = "network"
    AGENT = "agent"
    HOURS = "hours"
    ACTION = "action"
    RATE = "rate"
    EXPIRED = "expired"
    SECRET_UNKNOWN = "secret_unknown"  # noqa: S105
    IDENTITY_UNRESOLVED = "identity_unresolved"
    EVIDENCE_MISSING = "evidence_missing"


class Flag(Word):
    """What is remarkable about an event, or doubtful (docs/reference/events.md)."""

    ACCEPT_UNKNOWN = "accept_unknown"
    ACCESS_LOG_MISSING = "access_log_missing"
    ADDRESS_FORGED = "address_forged"
    ADDRESS_UNPROVEN = "address_unproven"
    AUDIT_MISSING = "audit_missing"
    CAPTURE_UNREADABLE = "capture_unreadable"
    CLOCK_SKEWED = "clock_skewed"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    IDENTITY_DISAGREES = "identity_disagrees"
    JOIN_AMBIGUOUS = "join_ambiguous"
    LATE = "late"
    LEGACY_READ = "legacy_read"
    PAST_PROXY = "past_proxy"
    PATH_AMBIGUOUS = "path_ambiguous"
    PATH_DISAGREES = "path_disagrees"
    PHASES_DISAGREE = "phases_disagree"
    PLAIN_HTTP = "plain_http"
    PROXY_LOG_MISSING = "proxy_log_missing"
    REQUEST_MISSING = "request_missing"
    REQUEST_UNREADABLE = "request_unreadable"
    RESPONSE_MISSING = "response_missing"
    SERVICE_LOG_MISSING = "service_log_missing"
    STATUS_DISAGREES = "status_disagrees"
    UNROUTED_SUCCESS = "unrouted_success"


class Severity(IntEnum):
    """OCSF severity_id."""

    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5


class Mode(Word):
    """enforce: alert; shadow: compute and record, route nowhere; off: not computed."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


class Activity(IntEnum):
    """OCSF activity_id of a Detection Finding: one line of a finding's life."""

    CREATE = 1
    UPDATE = 2
    CLOSE = 3


class Initiator(Struct, frozen=True, gc=False):
    """Who asked. Ids as Keystone wrote them; None where no log shows one."""

    user_id: str | None = None
    user_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    roles: tuple[str, ...] = ()
    address: str | None = None
    address_source: AddressSource = AddressSource.NONE
    agent: str | None = None


class Target(Struct, frozen=True, gc=False):
    """What was asked for: `type` is secret, container, order, ... or unknown; `id` and `path` are the client's text.

    `path` is the path as the client addressed it, after the web server and before the Key Manager's own routing.
    """

    type: str
    id: str | None
    path: str


class AuditEvent(Struct, frozen=True, gc=False):
    """One API request, after the join of all that was seen of it."""

    event_id: str
    event_time: Micros
    kind: Kind
    outcome: Outcome
    failure: Failure | None
    status: int | None
    method: str | None
    path: str
    path_raw: str
    request_id: str | None
    global_request_id: str | None
    initiator: Initiator
    target: Target
    evidence: Evidence
    seen_in: tuple[Witness, ...]
    flags: tuple[str, ...] = ()
    observed_time: Micros = 0  # its place among events: when the last thing that made it was known
    policy: str | None = None  # the rule that refused it, where the service log names it
    began: Micros = 0  # when the Key Manager had it, as closely as the witnesses tell: from the first sign of it
    ended: Micros = 0  # to its answer; 0 where no answer was seen


class Rate(Struct, frozen=True, gc=False):
    """At most `limit` distinct secrets by one caller within `window` under one allow entry."""

    limit: int
    window: Micros


class Nearest(Struct, frozen=True, gc=False):
    """The declaration that came closest, and what kept it from applying."""

    declaration: str  # id of the allow entry
    failed_field: str  # caller, secret, networks, agents, hours, actions, rate, expires
    expected: str  # what the declaration asks for, for a reader
    actual: str | None  # what the request showed


class Match(Struct, frozen=True, gc=False):
    """A request held against the caller map. `explained` None: the evidence cannot decide."""

    explained: bool | None
    reason: Reason
    declaration: str | None = None  # the allow entry that explains, or whose constraint broke
    caller: str | None = None  # the declared caller of that entry, else of the nearest whose identity fits
    nearest: Nearest | None = None
    rate: Rate | None = None  # only with explained=True: the entry's cap, still to be held against state
    others: tuple[Match, ...] = ()  # only with a rate: others that fit, with rates of their own, or are undecided


class Acl(Struct, frozen=True, gc=False):
    """Who may read a secret beside its project's administrators and its creator, when the inventory was taken."""

    project_access: bool = True  # False: the secret is private
    users: tuple[str, ...] = ()


class Secret(Struct, frozen=True, gc=False):
    """A secret as the inventory knows it."""

    id: str
    name: str | None = None
    type: str | None = None
    project_id: str | None = None
    creator_id: str | None = None
    deleted: bool = False
    containers: tuple[str, ...] = ()
    created: Micros | None = None
    expires: Micros | None = None
    acl: Acl | None = None  # None: not exported; a secret without ACL is open to its project
    plugin: str | None = None  # what encrypts or keeps it (kek_data.plugin_name, secret_store_metadata.plugin_name)
    backend_path: str | None = None  # where that keeps it, if it tells: Vault's path

    @property
    def project_access(self) -> bool | None:
        """False: private to its creator and its readers; None: not told."""
        return None if self.acl is None else self.acl.project_access

    @property
    def readers(self) -> tuple[str, ...]:
        """The users on its ACL, as far as told."""
        return () if self.acl is None else self.acl.users


class Citation(Struct, frozen=True, gc=False):
    """One request as a finding cites it; or a record of a log behind the API, then with kind "host" or "backend"."""

    event_id: str
    event_time: Micros
    kind: str  # a Kind, "host" or "backend"; plain text once restored, so compare it by value
    operation: str  # "GET /v1/secrets/<id>/payload": method (or "-") and normalised path; "openat <path>"
    status: int | None
    request_id: str | None
    user_id: str | None
    user_name: str | None
    project_id: str | None
    address: str | None
    address_source: AddressSource
    agent: str | None
    target_type: str
    target_id: str | None
    flags: tuple[str, ...] = ()


class Counts(Struct, frozen=True, gc=False):
    """Totals of a finding so far."""

    events: int
    secrets: int
    addresses: int


class Finding(Struct, frozen=True):
    """One transition in the life of what a rule says: the alert before it takes a sink's form.

    `uid` is stable for the finding, `line_uid` for this line. `citations` are the requests this line adds (the last
    one again, if it adds none); `event_ids` is the complete list up to now. Lists are in event order, sets of names
    sorted.
    """

    uid: str
    line_uid: str
    activity: Activity
    rule: str  # "KMW-001"
    rule_version: int
    title: str  # "unexplained-read"
    severity: Severity
    mode: Mode
    time: Micros  # event time that triggered this line
    start_time: Micros  # of the first and the last request of the finding
    end_time: Micros
    message: str  # one sentence for a person; may hold text of an attacker
    reason: str | None
    declaration: str | None
    nearest: Nearest | None
    caller: str | None  # a declared caller's name, or None
    counts: Counts
    citations: tuple[Citation, ...]
    event_ids: tuple[str, ...]
    secrets: tuple[Secret, ...]  # those this line adds, with what the inventory knows of them
    techniques: tuple[str, ...]  # ATT&CK technique ids
    flags: tuple[str, ...] = ()
    subject: str | None = None  # what it is about, where that is no caller: a witness, a stream
    silence: str | None = None  # the silence that keeps it from being sent
    related: tuple[str, ...] = ()  # uids of the findings that an incident gathers
    runbook: str | None = None  # where a person reads what to do about it
