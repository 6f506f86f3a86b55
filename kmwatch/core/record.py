"""What one witness says of one request, before it is held against what the others say."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from kmwatch.core.model import Initiator, Micros, Secret, Word


class Slot:
    """The places a request's records fill in the join; a witness's record fills one or more, added up.

    Plain bits and no IntFlag: an enum's operators cost more than all else that the join does with a record.
    """

    CADF_REQUEST: Final = 1
    CADF_RESPONSE: Final = 2
    SERVICE_NOTE: Final = 4  # a line of a controller; a request may have none, or several
    SERVICE_END: Final = 8  # "Processed request"
    ACCESS: Final = 16  # the web server's own request log
    PROXY: Final = 32
    HOST: Final = 64  # what stands behind the API tells of no request, and so never joins one
    BACKEND: Final = 128
    STOCK: Final = 256  # no witness, but what the inventory is known to hold from then on


BEHIND: Final = Slot.HOST  # slots from here on are of logs behind the API


class AuditRecord(Struct, frozen=True, gc=False, array_like=True, tag="audit"):
    """A CADF audit event of keystonemiddleware: one half of a request, or all of it.

    Two equal values are the same record delivered twice: nothing here depends on where the record stood.
    """

    slot: int  # bits of Slot
    key: str  # the join key: request id, else "cadf-<event id>"
    event_time: Micros  # CADF eventTime: when the request began
    observed_time: Micros  # when this record was made: progress of its stream
    action: str
    outcome: str
    status: int | None
    path_raw: str
    request_id: str | None
    global_request_id: str | None
    initiator: Initiator
    flags: tuple[str, ...] = ()


class Note(Word):
    """What a line of a Key Manager controller proves about its request (barbican.api.controllers)."""

    PAYLOAD = "payload"  # "Retrieved secret payload": SecretController.payload has given it out
    LEGACY = "legacy"  # "Decrypted secret ... deprecated API call": written before the read is tried
    DENIED = "denied"  # "... is disallowed by policy": `detail` is the policy's name


class ServiceRecord(Struct, frozen=True, gc=False, array_like=True, tag="service"):
    """A line of the Key Manager's own log that tells of one request, in whatever form the log was written.

    The context of such a line (request id, user, project) is the service's word, and no client can write it. Lines
    whose context may be another request's ("Begin processing request", all of auth_token) never become one of these.
    """

    slot: int  # SERVICE_NOTE or SERVICE_END
    key: str  # the join key: the request id
    observed_time: Micros  # when the line was written
    request_id: str
    global_request_id: str | None
    user_id: str | None
    project_id: str | None
    method: str | None = None  # of SERVICE_END, like the two below
    path_raw: str | None = None  # what follows the authority of the URL: path and query
    status: int | None = None
    note: Note | None = None  # of SERVICE_NOTE
    detail: str | None = None  # the policy of DENIED, the secret's id of LEGACY
    user_name: str | None = None  # these three only in the JSON forms
    project_name: str | None = None
    roles: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class AccessRecord(Struct, frozen=True, gc=False, array_like=True, tag="access"):
    """A line of a proxy or a web server: one request, seen from outside the Key Manager.

    `began` to `ended` is when the server behind had the request, as exactly as the form tells: the Key Manager's own
    times must lie in it. Both are estimates by at most `precision`.
    """

    slot: int  # ACCESS or PROXY
    key: str  # the join key if a header that only the service can write was captured, else ""
    observed_time: Micros  # when the line was written: the request's end
    event_time: Micros  # when the request was accepted
    began: Micros
    ended: Micros
    precision: Micros
    method: str
    path_raw: str  # as on the wire; "<BADREQ>" where the proxy could not read it
    status: int | None  # None: the connection ended without an answer
    peer: str | None  # who opened the connection: the client of a proxy, often the proxy of a web server
    cut: bool = False  # the path may go on
    request_id: str | None = None  # what the service answered, where a response capture shows it
    accept: str | None = None  # the request's Accept header, where a declared capture shows it
    agent: str | None = None
    tls: bool | None = None  # None: the form does not tell
    served: bool = True  # False: the proxy answered by itself, the Key Manager never saw it
    size: int | None = None  # bytes of the answer
    entry: str | None = None  # the frontend or virtual host, where the form names it
    host: str | None = None  # whose clock it is: the machine that wrote the line, where an envelope names it
    global_request_id: str | None = None  # X-Openstack-Request-Id, where a declared capture shows it
    serial: str | None = None  # tells it from another like it: the client's port, a request counter
    flags: tuple[str, ...] = ()


class HostPath(Struct, frozen=True, gc=False, array_like=True):
    """A file as an event of the host's audit log shows it (PATH): the name is what the process called it."""

    name: str
    inode: str | None  # with `dev` the file itself, whatever it is called
    dev: str | None
    nametype: str  # NORMAL, PARENT, CREATE, DELETE, UNKNOWN
    item: int = 0  # its number in the event


class Process(Struct, frozen=True, gc=False, array_like=True):
    """Who did it, as the kernel says. Users are names where the log was enriched, else numbers."""

    pid: str
    ppid: str
    uid: tuple[str, ...]  # number and, where it is known, name: either may be declared
    euid: tuple[str, ...]
    login: tuple[str, ...]  # of whoever logged in, kept through su and sudo; "unset" for a service
    comm: str
    exe: str
    session: str | None = None


class HostRecord(Struct, frozen=True, gc=False, array_like=True, tag="host"):
    """A line of the host's audit log, or a whole event of it where the form keeps events together.

    An event is all that carries the same host, time and serial number.
    """

    slot: int  # HOST
    key: str  # host, time and serial number
    observed_time: Micros  # when it happened: all of an event show the same
    event_id: str  # "host:<time>:<serial>", as findings cite it
    node: str | None  # the machine, where the line or an envelope names it
    serial: int
    types: tuple[str, ...]  # SYSCALL, PATH, CONFIG_CHANGE, ...
    syscall: str | None = None  # by name; the number where neither the log nor we know one
    success: bool | None = None
    exit: str | None = None
    flags_opened: int | None = None  # of open and openat: O_RDONLY and so on
    from_cwd: bool = True  # a relative name begins in the working directory and not in some other open one
    process: Process | None = None
    cwd: str | None = None
    paths: tuple[HostPath, ...] = ()
    changes: tuple[str, ...] = ()  # what CONFIG_CHANGE says of the audit system itself
    flags: tuple[str, ...] = ()


class Deed(Word):
    """What a client had the HSM or the store do, as far as it matters here."""

    READ = "read"  # one payload decrypted, or handed out
    WRITE = "write"  # one payload encrypted, or stored
    DELETE = "delete"  # one payload removed, in the way the Key Manager does it
    UNWRAP = "unwrap"  # a project's key loaded
    LOGIN = "login"
    EXTRACT = "extract"  # a key made readable or read out; or what the Key Manager never asks of its store to see more
    CHANGE = "change"  # keys, policies, roles, tokens, mounts or the audit itself
    OTHER = "other"


class Result(Word):
    """How it ended."""

    OK = "ok"
    EMPTY = "empty"  # there was nothing
    REFUSED = "refused"  # wrong PIN, no right
    FAILED = "failed"  # the backend could not
    UNKNOWN = "unknown"  # the log shows no end


class BackendRecord(Struct, frozen=True, gc=False, array_like=True, tag="backend"):
    """A record of the HSM's or the store's own log: one operation, or one half of it."""

    slot: int  # BACKEND
    key: str  # of the record: the halves of an operation differ
    observed_time: Micros
    event_id: str  # "backend:<its own id>", as findings cite it
    deed: Deed
    result: Result
    detail: str  # the operation as the backend calls it
    half: str | None = None  # "request" or "response", where the log writes both
    name: str | None = None  # of the client: a certificate's, a partition user's, a token's display name
    role: str | None = None
    host: str | None = None
    address: str | None = None
    connection: str | None = None  # tells the client's connections apart, where the log does
    privileged: bool = False  # security officer, root
    mount: str | None = None  # of a store, with its slash
    path: str | None = None  # where in the store, or which key
    flags: tuple[str, ...] = ()
    blind: bool = False  # of a log that has no record of payloads read: that it shows none says nothing
    control: bool = False  # of a store: about who may do what there, and not about what it keeps


class StockRecord(Struct, frozen=True, gc=False, array_like=True, tag="stock"):
    """A line of the inventory's journal: what a reading found that the one before it did not (docs/adr/0013)."""

    slot: int  # STOCK
    key: str  # its number in the journal: lines of one time have an order
    observed_time: Micros  # from when on it counts; of the base: always
    secrets: tuple[Secret, ...] = ()  # new, or not as they were
    gone: tuple[str, ...] = ()
    read: Micros | None = None  # ends a reading: all that was there at this time has been told
    base: bool = False  # a part of what was known before everything else
    flags: tuple[str, ...] = ()


class Ignored(Word):
    """Why a well-formed record is not evidence of a Key Manager request."""

    NOT_AUDIT = "not_audit"  # another notification on the same topic
    OTHER_SERVICE = "other_service"  # an audit event or log line of another OpenStack service
    EMPTY = "empty"  # a tombstone or a blank line
    NO_EVIDENCE = "no_evidence"  # a line of the service's log that proves nothing about a request
    STALE_CONTEXT = "stale_context"  # its context may be another request's
    CONTINUATION = "continuation"  # a line of a traceback, or the rest of a message
    NOT_A_REQUEST = "not_a_request"  # a server's start-up noise, a health check of a TCP port
    BLANKED = "blanked"  # uWSGI shows nothing of a request beyond its buffer
    UNWANTED = "unwanted"  # of a log that the configuration says is absent


class RejectReason(Word):
    """Why a record cannot be read."""

    NOT_JSON = "not_json"
    UNKNOWN_FORM = "unknown_form"
    BAD_LINE = "bad_line"  # of a known form, but cut, or damaged
    BAD_ENVELOPE = "bad_envelope"
    BAD_AUDIT_EVENT = "bad_audit_event"
    BAD_TIME = "bad_time"
    TOO_LARGE = "too_large"


class Rejected(Struct, frozen=True, gc=False):
    """A record that cannot be read: kept with its reason, redacted, and counted."""

    reason: RejectReason
    detail: str


Sighting = AuditRecord | ServiceRecord | AccessRecord  # one witness's word on one request
Witnessed = (
    Sighting | HostRecord | BackendRecord | StockRecord
)  # and what the logs behind the API, and inventories, tell
Decoded = Witnessed | Ignored | Rejected
