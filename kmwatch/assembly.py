"""Configuration -> parts: the only place that knows which class serves which key."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC
from hashlib import blake2b
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from kmwatch.clock import Clock
from kmwatch.config.backend_log import Hsm
from kmwatch.config.lint_backend import shows_reads
from kmwatch.config.maps import after
from kmwatch.config.settings import Settings
from kmwatch.config.silences import Silence as SilenceSettings
from kmwatch.config.sources import Form, Kafka
from kmwatch.config.stores import Postgres
from kmwatch.core.account import Account
from kmwatch.core.constraint import ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.declared import declared
from kmwatch.core.detect import Detector
from kmwatch.core.expected import SLOTS, Expected
from kmwatch.core.join import Join
from kmwatch.core.model import SECOND, Mode, Severity, Witness
from kmwatch.core.order import Order
from kmwatch.core.pulse import Expectation
from kmwatch.core.record import Deed
from kmwatch.core.rules.base import Settings as RuleSettings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.unexpected_network import Network
from kmwatch.core.silence import Silence, Silences
from kmwatch.core.step import BackendClock, Engine
from kmwatch.core.stocked import Patience
from kmwatch.core.watermark import Watermark
from kmwatch.kafka.security import arguments
from kmwatch.pipeline import Bounds, Router, Wants
from kmwatch.ports import Decode, History, Source, SourceError, Store
from kmwatch.sources.elected import ElectedKafkaSource
from kmwatch.sources.file import FileSource
from kmwatch.sources.kafka import KafkaSource
from kmwatch.sources.merged import MergedSource
from kmwatch.store.history import SqliteHistory
from kmwatch.store.sqlite import SqliteStore
from kmwatch.wire.decode import Options, Reader
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.hsm import BUILT_IN
from kmwatch.wire.hsm import Mapping as HsmMapping

if TYPE_CHECKING:
    from kmwatch.store.postgres.connection import Target

_WAITING_MAX = 200_000  # events held back for their order; a partition that stalls must not fill the memory


def engine(settings: Settings, declarations: Declarations) -> Engine:
    """An engine without memory."""
    account = Account()
    told = settings.witnesses
    # A request is told early, before its address is known, wherever another witness than the audit event is expected.
    others = told.proxy_log != "absent" or told.access_log != "absent" or told.service_log != "absent"
    limits, inventory = settings.limits, settings.inventory
    if inventory is not None:  # which this engine then changes
        declarations = declarations.apart()
    return Engine(
        Join(expected(settings), limits.open_joins),
        Order(_WAITING_MAX),
        Watermark(settings.timing.lateness),
        Detector(
            declarations,
            rule_settings(settings),
            limits.keys_per_rule,
            account,
            proxy_expected=others,
            given=surroundings(settings, declarations),
            silences=silences(settings),
        ),
        account,
        witnesses(settings),
        BackendClock(settings.backend_log.clock_error, settings.backend_log.delay, shows_reads(settings)),
        None if inventory is None else Patience(inventory.patience, limits.parked),
    )


def witnesses(settings: Settings) -> dict[Witness, Expectation]:
    """The logs there are, with what their silence means."""
    given = ((witness, getattr(settings.witnesses, witness.value)) for witness in Witness)
    return {witness: expectation for witness, expectation in given if expectation != "absent"}


def expected(settings: Settings) -> Expected:
    """The witnesses that a request is to have before it has been told in full."""
    slots = 0
    for witness, filled in SLOTS.items():
        if getattr(settings.witnesses, witness.value) != "absent":
            slots |= filled
    return Expected(
        slots, ranges(settings.proxies), settings.timing.settle, trusted_ids=settings.proxy_log.overwrites_request_id
    )


def network(settings: Settings) -> Network:
    """From where, and how, requests are to come."""
    given = settings.network
    zones = tuple((name, ranges(networks)) for name, networks in given.zones.items())
    return Network(ranges(given.management), given.plain_http == "alert", given.past_proxy == "alert", zones)


def surroundings(settings: Settings, declarations: Declarations) -> Surroundings:
    """What rules must know of where they run."""
    goes_by = declared(declarations.caller_map, rule_settings(settings), silences(settings).all)
    return Surroundings(network(settings), settings.learning, goes_by)


def silences(settings: Settings) -> Silences:
    """The silences in the core's form."""
    proven = settings.witnesses.proxy_log != "absent" or settings.witnesses.access_log != "absent"
    return Silences((_silence(given) for given in settings.silences), proven=proven)


def _silence(given: SilenceSettings) -> Silence:
    def names(values: tuple[str, ...] | None) -> frozenset[str] | None:
        return None if values is None else frozenset(values)

    return Silence(
        given.id,
        after(given.expires),
        names(given.detections),
        names(given.callers),
        names(given.secrets),
        None if given.networks is None else ranges(given.networks),
        blake2b(given.model_dump_json().encode(), digest_size=16).hexdigest(),
    )


def rule_settings(settings: Settings) -> Mapping[str, RuleSettings]:
    """The catalogue's defaults with the configuration's words on top."""
    out = {}
    for meta in CATALOGUE:
        given, default = settings.detections.get(meta.id), meta.defaults
        if given is not None:
            default = RuleSettings(
                given.threshold or default.threshold,
                given.window or default.window,
                default.severity if given.severity is None else Severity(given.severity),
                default.mode if given.mode is None else Mode(given.mode),
                given.rollup or default.rollup,
            )
        out[meta.id] = replace(default, runbook=settings.runbooks.replace("{rule}", meta.id))
    return out


def router(settings: Settings) -> Router:
    """What each sink wants, by its name."""
    return Router(
        {
            sink.name: Wants(
                Severity(sink.min_severity),
                None if sink.detections is None else frozenset(sink.detections),
                frozenset(sink.without),
            )
            for sink in settings.sinks
        }
    )


def bounds(settings: Settings) -> Bounds:
    """How much may wait for sinks."""
    return Bounds(settings.limits.outbox, settings.limits.outbox_bytes)


def store(settings: Settings, clock: Clock) -> Store:
    """The configured store; raises StoreError."""
    owner = f"{socket.gethostname()}:{os.getpid()}"
    names = {sink.name for sink in settings.sinks}
    if settings.store.postgres is not None:
        from kmwatch.store.postgres.store import PostgresStore  # noqa: PLC0415  (libpq is for those who use it)

        given = settings.store.postgres
        seconds, kept = given.lease / SECOND, settings.ledger.rows
        return PostgresStore(target(given), owner, clock.now, sinks=names, lease=seconds, reads_kept=kept)
    if settings.store.sqlite is None:
        raise ValueError(settings.store)  # the settings hold exactly one kind
    return SqliteStore(settings.store.sqlite.path, owner, clock.now, sinks=names, reads_kept=settings.ledger.rows)


def history(settings: Settings) -> History:
    """What the configured store has kept; raises StoreError."""
    if settings.store.postgres is not None:
        from kmwatch.store.postgres.history import PostgresHistory  # noqa: PLC0415  (libpq is for those who use it)

        return PostgresHistory(target(settings.store.postgres))
    if settings.store.sqlite is None:
        raise ValueError(settings.store)  # the settings hold exactly one kind
    return SqliteHistory(settings.store.sqlite.path)


def target(given: Postgres, *, url: str | None = None) -> Target:
    """Where a PostgreSQL store is, and as whom to speak to it: another role brings a password of its own."""
    from kmwatch.store.postgres.connection import Target  # noqa: PLC0415

    password = None if given.password is None else given.password.get_secret_value()
    if url is not None:
        password = None
    return Target(url or given.url, given.schema_name, password, given.tls, given.ca, given.cert, given.key)


def source(settings: Settings, clock: Clock) -> Source:
    """The configured sources as one."""
    return merged(sources(settings, clock))


def merged(parts: Sequence[Source]) -> Source:
    """Several sources as one."""
    return parts[0] if len(parts) == 1 else MergedSource(parts)


def sources(settings: Settings, clock: Clock, *, accept_gap: bool = False) -> list[Source]:
    """The configured sources, unconnected, in their order."""
    elected = settings.store.postgres is not None
    parts: list[Source] = []
    for given in settings.sources:
        decode = reader(settings, given.form, given.zone).decode
        if given.kafka is not None:
            parts.append(_kafka(given.kafka, clock, decode, accept_gap=accept_gap, elected=elected))
        elif given.file is not None:
            parts.append(FileSource(given.file.paths, clock=clock, follow=given.file.follow, decode=decode))
    return parts


def files(paths: Sequence[str], clock: Clock, settings: Settings) -> FileSource:
    """A source of recordings that ends; their lines are of the zone of the configured sources, if all have one."""
    zones = {given.zone for given in settings.sources}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    return FileSource(paths, clock=clock, decode=reader(settings, None, zone, journal=True).decode)


def hsm_mapping(given: Hsm) -> HsmMapping:
    """What the fields of an HSM's records mean, as the decoder takes it."""
    fields, operations = given.fields, given.operations
    if fields is None or operations is None:
        return BUILT_IN[given.form or "pkcs11"]
    return HsmMapping(
        **fields.model_dump(),
        ok=given.ok or (),
        refused=given.refused or (),
        privileged=given.privileged or (),
        deeds=tuple((name, Deed(deed)) for deed, names in operations for name in names or ()),
        decrypts=operations.read is not None,
    )


def reader(settings: Settings, form: Form | None, zone: str, *, journal: bool = False) -> Reader:
    """Reads the records of one source; an inventory's journal only where a person has named the file."""
    captures = [
        tuple(name.lower() for name in names)
        for names in (settings.proxy_log.request_captures, settings.proxy_log.response_captures)
    ]
    hsm = settings.backend_log.hsm
    mapping = None if hsm is None else hsm_mapping(hsm)
    return Reader(
        Options(form, UTC if zone == "UTC" else ZoneInfo(zone), Captures(*captures), mapping, journal=journal)
    )


def _kafka(given: Kafka, clock: Clock, decode: Decode, *, accept_gap: bool, elected: bool) -> KafkaSource:
    """Where the store elects the active instance, Kafka's group has nothing to say."""
    try:
        security = arguments(given.security)
    except OSError as error:
        raise SourceError(f"sources.kafka.security: cannot load ca, cert or key: {error}") from error
    make = ElectedKafkaSource if elected else KafkaSource
    return make(
        bootstrap=list(given.bootstrap),
        topics=list(given.topics),
        group=given.group,
        start=given.start,
        clock=clock,
        session_timeout=given.session_timeout,
        security=security,
        accept_gap=accept_gap,
        decode=decode,
    )
