"""The configuration file of this release (docs/reference/configuration.md)."""

from __future__ import annotations

from os.path import normpath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from kmwatch.config.backend_log import BackendLog
from kmwatch.config.base import Model
from kmwatch.config.callers import Name
from kmwatch.config.listening import LISTEN
from kmwatch.config.problems import listed
from kmwatch.config.rules import COUNTING_RULES, RuleName
from kmwatch.config.silences import Silence, unique_silences
from kmwatch.config.sinks import Sink, unique_names
from kmwatch.config.sources import Source
from kmwatch.config.stores import Store
from kmwatch.config.values import (
    Cidr,
    ConfigPath,
    Credential,
    Duration,
    DurationOrNone,
    HostPort,
    Id,
    ModeName,
    SeverityName,
    Text,
)
from kmwatch.core.model import HOUR, Micros
from kmwatch.ports import READS_KEPT

Expectation = Literal["required", "expected", "absent"]

_LONGEST_WAIT = 2 * HOUR


class Witnesses(Model):
    """Which logs there are: required (its silence is an alarm), expected, or absent."""

    cadf: Expectation = "required"
    """The audit notifications."""
    service_log: Expectation = "absent"
    """The Key Manager's own log."""
    proxy_log: Expectation = "absent"
    """The log of the proxy in front of it."""
    access_log: Expectation = "absent"
    """The access log of its web server."""
    backend: Expectation = "absent"
    """The audit log of the HSM or store behind it."""
    host: Expectation = "absent"
    """The audit log of its host."""


class Keystone(Model):
    """Keystone's API, by way of the OpenStack SDK."""

    cloud: Id
    """The cloud's name in clouds.yaml, which holds the credentials."""


class IdentitiesSource(Model):
    """Where names and ids of users and projects come from: a file, the client's lists, or Keystone's API."""

    file: ConfigPath | None = None
    """Path of the identities file."""
    users: ConfigPath | None = None
    """What `openstack user list --long -f json` prints."""
    projects: ConfigPath | None = None
    """What `openstack project list --long -f json` prints."""
    roles: ConfigPath | None = None
    """What `openstack role assignment list --names -f json` prints."""
    keystone: Keystone | None = None
    """Keystone's API."""

    @model_validator(mode="after")
    def _one(self) -> IdentitiesSource:
        given = [key for key in ("file", "users", "keystone") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError("come from a file, from lists of users and projects, or from keystone; give one of them")
        if self.users is None and (self.projects is not None or self.roles is not None):
            raise ValueError("projects and roles belong to users; give the list of users too")
        return self


class InventoryDatabase(Model):
    """The Key Manager's own database."""

    url: Credential
    """postgresql://, mysql://, mariadb:// or sqlite:///; as ${NAME} or file:PATH where it holds a password."""


class InventorySource(Model):
    """Where the secret inventory comes from: a file, or a database."""

    file: ConfigPath | None = None
    """Path of the inventory: JSON lines, CSV, or what `openstack secret list -f json` prints."""
    database: InventoryDatabase | None = None
    """The Key Manager's own database, read only."""
    refresh: Duration | None = None
    """How often the daemon reads it again; without, on SIGHUP only."""
    park: DurationOrNone | None = None
    """For how long reads of secrets that it does not know yet wait for it; without, twice `refresh`. 0: they do not."""

    @property
    def patience(self) -> Micros:
        """How long reads wait for it: what is never read again is not waited for."""
        if self.refresh is None:
            return 0
        return 2 * self.refresh if self.park is None else self.park

    @model_validator(mode="after")
    def _one(self) -> InventorySource:
        if (self.file is None) == (self.database is None):
            raise ValueError("comes from a file or from a database; give exactly one of them")
        return self


class Detection(Model):
    """How a rule differs from its defaults; what is not given stays as the catalogue has it."""

    threshold: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many, for the rules that count."""
    window: Duration | None = None
    """Within which time, for the rules that count."""
    severity: SeverityName | None = None
    """The severity of its findings."""
    mode: ModeName | None = None
    """enforce: alert; shadow: compute and record only; off: not computed."""
    rollup: Duration | None = None
    """For how long further events of one finding update it instead of opening another."""


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class ProxyLog(Model):
    """What the proxy's log lines show beside the ordinary, in the order in which the proxy declares it."""

    request_captures: tuple[HeaderName, ...] = ()
    """Headers of the request that each frontend captures, as [User-Agent, Accept]."""
    response_captures: tuple[HeaderName, ...] = ()
    """Headers of the response, as [X-Openstack-Request-Id]."""
    overwrites_request_id: bool = False
    """The proxy replaces the client's X-Openstack-Request-Id by one of its own, and captures it."""


Anomaly = Literal["alert", "allow"]
_TOKEN_LENGTH = 16  # octets; shorter ones can be guessed over a network


def _long_enough(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if len(text) < _TOKEN_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"must have {_TOKEN_LENGTH} printable ASCII characters or more and no spaces; make it random")
    return token


def _address(template: str) -> str:
    if "{rule}" not in template or not template.isascii() or not template.isprintable() or " " in template:
        raise ValueError("must be an address with {rule} in it, such as https://docs.example.net/runbooks/{rule}.html")
    return template


Runbooks = Annotated[Text, AfterValidator(_address)]


class Network(Model):
    """From where, and how, requests are to come; what differs is KMW-024."""

    management: tuple[Cidr, ...] = ()
    """The management networks. Without any, requests may come from anywhere."""
    plain_http: Anomaly = "allow"
    """What a request over plain HTTP is, where the proxy's log tells."""
    past_proxy: Anomaly = "alert"
    """What a request that came past the declared proxies is, where the web server's log tells."""
    zones: dict[Name, Annotated[tuple[Cidr, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Sites by name, with their networks; one caller in two of them within minutes is KMW-023."""


class Http(Model):
    """The endpoint for metrics, health and status."""

    listen: HostPort = LISTEN
    """host:port."""
    token: Annotated[Credential, AfterValidator(_long_enough)] | None = None
    """What callers must send as a bearer token, for all but /healthz and the yes or no of /readyz."""
    cert: ConfigPath | None = None
    """PEM file of the certificate chain to serve with; together with key. Without it, plain HTTP."""
    key: ConfigPath | None = None
    """PEM file of its private key, not encrypted."""

    @model_validator(mode="after")
    def _pair(self) -> Http:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


def _bounded(micros: int) -> int:
    if micros > _LONGEST_WAIT:
        raise ValueError("may be 2h at most; shorten it")
    return micros


Wait = Annotated[DurationOrNone, AfterValidator(_bounded)]


class Timing(Model):
    """How long to wait for what arrives out of order."""

    lateness: Wait = Field(default="10s", validate_default=True)
    """By how much a record may be later than others and still be in time."""
    settle: Wait = Field(default="30s", validate_default=True)
    """How long the join of a request waits for its other witnesses."""

    @model_validator(mode="after")
    def _settle_outlasts_lateness(self) -> Timing:
        if self.settle < self.lateness:
            raise ValueError("settle may not be shorter than lateness; a record in time could miss its request")
        return self


class Limits(Model):
    """Bounds on memory and disk that an attacker or an outage could otherwise exhaust."""

    open_joins: Annotated[int, Field(ge=100, le=10_000_000)] = 50_000
    """Requests whose witnesses are still awaited."""
    keys_per_rule: Annotated[int, Field(ge=100, le=10_000_000)] = 50_000
    """Callers or addresses each rule keeps count of."""
    outbox: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    """Findings that wait for a sink, before reading pauses."""
    outbox_bytes: Annotated[int, Field(ge=1_000_000, le=1_000_000_000_000)] = 1_000_000_000
    """Octets of findings that wait for a sink, before reading pauses."""
    parked: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Reads of secrets that the inventory does not know yet, and that wait for it; beyond it the oldest is judged."""


class Ledger(Model):
    """The ledger of retrievals: who read which secret, for `kmwatch reads`, `explain` and `report`."""

    retention: Duration = Field(default="400d", validate_default=True)
    """How long a retrieval is kept, by its event time."""
    rows: Annotated[int, Field(ge=1000, le=1_000_000_000)] = READS_KEPT
    """Retrievals that are kept at most; beyond it the oldest go, counted."""


class Log(Model):
    """kmwatch's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe line to write."""
    format: Literal["json", "console"] = "json"
    """json for machines, console for people."""


def _fits(detections: dict[str, Detection]) -> dict[str, Detection]:
    for name, detection in detections.items():
        given = [key for key in ("threshold", "window") if getattr(detection, key) is not None]
        if given and name not in COUNTING_RULES:
            keys = " and ".join(given)
            raise ValueError(f"{name} does not count, so it has no {keys}; those that do: {listed(COUNTING_RULES)}")
    return detections


def _one_standard_input(sources: tuple[Source, ...]) -> tuple[Source, ...]:
    if sum("-" in source.file.paths for source in sources if source.file is not None) > 1:
        raise ValueError('standard input ("-") can be read by one source only; remove the others')
    return sources


class Settings(Model):
    """The whole configuration file."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1), AfterValidator(_one_standard_input)]
    """Where records come from."""
    witnesses: Witnesses = Witnesses()
    """Which logs there are."""
    callers: ConfigPath
    """Path of the caller map."""
    identities: IdentitiesSource | None = None
    """Ids and names of users and projects. Without it, names are matched as the logs show them."""
    inventory: InventorySource | None = None
    """The secrets. Without it, only selectors by secret id can be decided."""
    store: Store
    """Where state is kept."""
    sinks: Annotated[tuple[Sink, ...], Field(min_length=1), AfterValidator(unique_names)]
    """Where alerts go."""
    detections: Annotated[
        dict[RuleName, Detection],
        AfterValidator(_fits),
    ] = Field(default_factory=dict)
    """How rules differ from their defaults."""
    runbooks: Runbooks = "docs/runbooks/{rule}.md"
    """Where the runbook of a detection is published, {rule} being its id: findings carry the address."""
    learning: DurationOrNone = Field(default="14d", validate_default=True)
    """For how long, from the first event of a store on, baselines only learn (KMW-003, 004, 006)."""
    silences: Annotated[tuple[Silence, ...], AfterValidator(unique_silences)] = ()
    """What nobody is to hear of for a while; recorded and counted all the same."""
    proxies: tuple[Cidr, ...] = ()
    """Networks of the proxies in front of the Key Manager, as its web server sees them."""
    proxy_log: ProxyLog = ProxyLog()
    """What the proxy's log shows."""
    backend_log: BackendLog = BackendLog()
    """How the log of the HSM or store behind it is read."""
    network: Network = Network()
    """From where, and how, requests are to come."""
    http: Http = Http()
    """Metrics, health and status."""
    timing: Timing = Timing()
    """How long to wait for what arrives out of order."""
    limits: Limits = Limits()
    """Bounds on memory and disk."""
    ledger: Ledger = Ledger()
    """The ledger of retrievals."""
    log: Log = Log()
    """kmwatch's own log."""

    @model_validator(mode="after")
    def _no_file_twice(self) -> Settings:
        """What is written must be nothing else that is read or written: alerts in a caller map destroy it."""
        taken = {"callers": str(self.callers)}
        for key in ("file", "users", "projects", "roles"):
            path = None if self.identities is None else getattr(self.identities, key)
            if path is not None:
                taken[f"identities.{key}"] = str(path)
        if self.inventory is not None and self.inventory.file is not None:
            taken["inventory.file"] = str(self.inventory.file)
        for number, source in enumerate(self.sources):
            for index, path in enumerate(source.file.paths if source.file is not None else ()):
                taken[f"sources[{number}].file.paths[{index}]"] = str(path)
        written = []
        if self.store.sqlite is not None:
            store = str(self.store.sqlite.path)
            written = [("store.sqlite.path", store)]
            taken |= {f"store.sqlite.path ({suffix})": f"{store}{suffix}" for suffix in ("-wal", "-shm")}
        written += [(f'the sink "{s.name}"', str(s.file.path)) for s in self.sinks if s.file is not None]
        for what, path in written:
            for other, known in taken.items():
                if normpath(known) == normpath(path):
                    raise ValueError(f"{what} would write to the file of {other}; give each its own file")
            taken[what] = path
        return self
