"""Audit records and events to feed the core with, and an engine of real parts."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from kmwatch.core.account import Account
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, SecretGroup, UserSelector
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.expected import Expected
from kmwatch.core.join import Join
from kmwatch.core.model import (
    SECOND,
    AddressSource,
    AuditEvent,
    Evidence,
    Failure,
    Initiator,
    Kind,
    Match,
    Micros,
    Mode,
    Outcome,
    Reason,
    Secret,
    Severity,
    Target,
    Witness,
)
from kmwatch.core.order import Order
from kmwatch.core.record import AuditRecord, Decoded, Slot
from kmwatch.core.rules.base import Case, Settings
from kmwatch.core.rules.catalogue import CATALOGUE
from kmwatch.core.step import Engine, Output
from kmwatch.core.stocked import Patience
from kmwatch.core.watermark import Watermark
from kmwatch.telemetry.status import waiting_streams

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "config" / "recording"
START: Micros = 1_795_466_871_000_000  # 2026-11-23T20:47:51Z
SECRET = "c87aa996-611b-402c-b6b3-ea85285d55bb"
DECOY = "dec0dec0-611b-402c-b6b3-ea85285d55bb"
TOKEN = "gAAAAABrBKZ0Tlk3fTp6N03 xxxxxxxx D1FDYcm5Tz_SB-OWW-RqRSA"
BOTH = Slot.CADF_REQUEST | Slot.CADF_RESPONSE
REQUEST, RESPONSE = "audit.http.request", "audit.http.response"

Json = dict[str, object]


def cadf(event_type: str = RESPONSE, **changes: object) -> Json:
    """A notification as keystonemiddleware makes it; `changes` replace fields of the CADF event, None removes."""
    event: Json = {
        "typeURI": "http://schemas.dmtf.org/cloud/audit/1.0/event",
        "eventType": "activity",
        "id": "bd627c1a-8f68-5ac1-9331-6e8dd0e876df",
        "eventTime": "2026-11-23T20:47:51.500000+0000",
        "action": "read",
        "outcome": "pending" if event_type == REQUEST else "success",
        "observer": {"id": "target"},
        "initiator": {
            "id": "user-1",
            "name": "alice",
            "credential": {"token": TOKEN, "identity_status": "Confirmed"},
            "host": {"address": "10.0.0.1", "agent": "curl/8"},
            "project_id": "project-1",
            "request_id": "req-1",
        },
        "target": {"id": "barbican", "typeURI": "service/security/keymanager/secrets"},
        "requestPath": f"/v1/secrets/{SECRET}/payload",
    }
    if event_type == RESPONSE:
        event["reason"] = {"reasonType": "HTTP", "reasonCode": "200"}
        event["reporterchain"] = [{"role": "modifier", "reporterTime": "2026-11-23T20:47:51.600000+0000"}]
    event |= changes
    event = {key: value for key, value in event.items() if value is not None}
    return {"message_id": "m", "publisher_id": "uwsgi", "event_type": event_type, "payload": event}


def envelope(message: object) -> bytes:
    """The oslo.messaging 2.0 envelope: JSON in JSON."""
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def who(user: str | None = "user-1", address: str | None = "10.0.0.1") -> Initiator:
    """A caller of project-1."""
    source = AddressSource.NONE if address is None else AddressSource.AUDIT
    return Initiator(user, user, "project-1", None, (), address, source, "curl/8")


def record(  # noqa: PLR0913  (every field that tests vary)
    number: int = 1,
    slot: int = BOTH,
    *,
    at: Micros = START,
    took: Micros = 100_000,
    path: str = f"/v1/secrets/{SECRET}/payload",
    action: str = "read",
    status: int = 200,
    user: str | None = "user-1",
    address: str | None = "10.0.0.1",
) -> AuditRecord:
    """What one half (or both) of request `number` says; `took` is how long the request lasted."""
    answered = bool(slot & Slot.CADF_RESPONSE)
    return AuditRecord(
        slot=slot,
        key=f"req-{number}",
        event_time=at,
        observed_time=at + took if answered else at,
        action=action,
        outcome=("success" if status < 400 else "failure") if answered else "pending",
        status=status if answered else None,
        path_raw=path,
        request_id=f"req-{number}",
        global_request_id=None,
        initiator=who(user, address),
    )


def halves(number: int = 1, **fields: object) -> tuple[AuditRecord, AuditRecord]:
    """The request and the response of one request."""
    make: Mapping[str, object] = fields
    return (
        record(number, Slot.CADF_REQUEST, **make),  # type: ignore[arg-type]
        record(number, Slot.CADF_RESPONSE, **make),  # type: ignore[arg-type]
    )


def event(  # noqa: PLR0913  (every field that tests vary)
    number: int = 1,
    kind: Kind = Kind.RETRIEVAL,
    *,
    at: Micros = START,
    secret: str | None = SECRET,
    failure: Failure | None = None,
    user: str | None = "user-1",
    address: str | None = "10.0.0.1",
    method: str | None = "GET",
    target_type: str = "secret",
) -> AuditEvent:
    """A request; it succeeded unless `failure` says otherwise."""
    status = {None: 200, Failure.DENIED: 403, Failure.NOT_FOUND: 404}.get(failure, 500)
    path = f"/v1/{target_type}s/{secret}"
    return AuditEvent(
        event_id=f"api:req-{number}",
        event_time=at,
        kind=kind,
        outcome=Outcome.SUCCESS if failure is None else Outcome.FAILURE,
        failure=failure,
        status=status,
        method=method,
        path=path,
        path_raw=path,
        request_id=f"req-{number}",
        global_request_id=None,
        initiator=who(user, address),
        target=Target(target_type, secret, path),
        evidence=Evidence.COMPLETE,
        seen_in=(Witness.CADF,),
        observed_time=at,
    )


EXPLAINED = Match(explained=True, reason=Reason.DECLARED, declaration="own", caller="alice")
UNEXPLAINED = Match(explained=False, reason=Reason.NO_DECLARATION)


def declared(*, inventory: Sequence[Secret] = ()) -> Declarations:
    """A map with one caller (user-1), whom one entry lets read any secret whose id begins with none, and a decoy."""
    return Declarations(
        CallerMap(
            callers=(CallerEntry("alice", users=(UserSelector(id="user-1"),)),),
            groups=(SecretGroup("own", ids=("own-1", "own-2")),),
            allow=(AllowEntry("own", callers=("alice",), groups=("own",)),),
            decoys=(Decoy(DECOY, "bait"),),
        ),
        Identities(),
        inventory,
    )


def case(happened: AuditEvent, match: Match | None = None, declarations: Declarations | None = None) -> Case:
    """An event as rules see it."""
    return Case(happened, match, declared() if declarations is None else declarations)


def defaults(rule: str) -> Settings:
    """The catalogue's defaults of a rule."""
    return next(meta.defaults for meta in CATALOGUE if meta.id == rule)


def settings(threshold: int = 3, window: Micros = 60 * SECOND, rollup: Micros = 600 * SECOND) -> Settings:
    """Small numbers, so that a test shows all of what it counts."""
    return Settings(threshold, window, Severity.HIGH, Mode.ENFORCE, rollup)


def engine(  # noqa: PLR0913  (every part that tests vary)
    declarations: Declarations | None = None,
    *,
    lateness: Micros = 10 * SECOND,
    settle: Micros = 30 * SECOND,
    expected: Expected | None = None,
    open_joins: int = 1000,
    waiting: int = 100_000,
    keys: int = 1000,
    rules: Mapping[str, Settings] | None = None,
    patience: Patience | None = None,
) -> Engine:
    """An engine without memory."""
    account = Account()
    detector = Detector(declarations or declared(), rules or {}, keys, account, proxy_expected=False)
    join = Join(Expected(BOTH, settle=settle) if expected is None else expected, open_joins)
    return Engine(join, Order(waiting), Watermark(lateness), detector, account, patience=patience)


def step(of: Engine, records: Sequence[tuple[str, Decoded]], at_end: Collection[str] = ()) -> Output:
    """One batch through an engine: (stream, what was decoded), in the order of each stream."""
    for stream, same in groupby(records, key=itemgetter(0)):
        of.take(stream, [record for _, record in same])
    of.advance(at_end)
    return of.work(sys.maxsize)[0]


def merge(outputs: Sequence[Output]) -> Output:
    """Several steps' outputs as one."""
    return Output(
        [judged for out in outputs for judged in out.judged],
        [finding for out in outputs for finding in out.findings],
    )


def balances(of: Engine) -> bool:
    """Whether the account of records and events holds, with what waits counted where it waits."""
    open_by_stream: dict[str, int] = {}
    for stream in waiting_streams(of):
        open_by_stream[stream] = open_by_stream.get(stream, 0) + 1
    parked = 0 if of.stocked is None else of.stocked.parking.fresh()
    return of.account.events_made == of.account.events_evaluated + parked and all(
        stream.waiting == open_by_stream.get(name, 0) for name, stream in of.account.streams.items()
    )


@cache
def recorded_lines() -> tuple[bytes, ...]:
    """The lines of the bundled recording."""
    with gzip.open(RECORDING / "cadf.jsonl.gz") as file:
        return tuple(file)
