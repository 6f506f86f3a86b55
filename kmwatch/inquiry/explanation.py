"""One request explained: what was seen of it, what the caller map says, and why the Key Manager permitted it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Judged
from kmwatch.core.entitlement import Ground, entitlement, known_roles
from kmwatch.core.ledger import Read
from kmwatch.core.match import match as hold
from kmwatch.core.model import (
    AuditEvent,
    Citation,
    Finding,
    Initiator,
    Kind,
    Match,
    Nearest,
    Outcome,
    Secret,
    Severity,
    Witness,
)
from kmwatch.core.record import Sighting, Slot
from kmwatch.wire.event import iso

_PARTS = (
    (Slot.CADF_REQUEST | Slot.CADF_RESPONSE, Witness.CADF, "request and response"),
    (Slot.CADF_REQUEST, Witness.CADF, "request"),
    (Slot.CADF_RESPONSE, Witness.CADF, "response"),
    (Slot.SERVICE_NOTE, Witness.SERVICE_LOG, "controller"),
    (Slot.SERVICE_END, Witness.SERVICE_LOG, "answer"),
    (Slot.ACCESS, Witness.ACCESS_LOG, "request"),
    (Slot.PROXY, Witness.PROXY_LOG, "request"),
)
_PLUMBING = {"slot", "key", "type", "observed_time", "event_time", "began", "ended", "precision", "served", "cut"}
_OF_A_READ = "only a retrieval that succeeded has a verdict; this is what the caller map says of the request"


class Said(Struct, frozen=True):
    """What one record of a witness says. `facts` are in the words of the record, empty where only a name is kept."""

    witness: str
    part: str | None
    time: str | None
    facts: dict[str, str]


class Verdict(Struct, frozen=True):
    """What the caller map says."""

    explained: bool | None
    reason: str
    declaration: str | None
    caller: str | None
    nearest: Nearest | None
    note: str | None = None


class Permitted(Struct, frozen=True):
    """Why the Key Manager's own policy let it happen, by what is known now."""

    permitted: bool | None
    by: tuple[str, ...]
    left: tuple[str, ...]  # not ruled out, where none is known to be open
    grounds: tuple[Ground, ...]


class Cited(Struct, frozen=True):
    """A finding that cites the request."""

    uid: str
    rule: str
    title: str
    severity: str


class Explanation(Struct, frozen=True):
    """The answer for one request. `source`: history (replayed), ledger, finding, or record (nothing else is known)."""

    event_id: str
    event_time: str
    request_id: str | None
    kind: str
    outcome: str | None
    operation: str
    status: int | None
    initiator: Initiator
    secret: Secret | None
    target: str | None
    verdict: Verdict | None
    permitted: Permitted | None
    evidence: str | None
    flags: tuple[str, ...]
    witnesses: tuple[Said, ...]
    findings: tuple[Cited, ...]
    source: str


def of_event(judged: Judged, records: Sequence[Sighting], declarations: Declarations, source: str) -> Explanation:
    """Explain an event with the records that made it."""
    event = judged.event
    return Explanation(
        event.event_id,
        iso(event.event_time),
        event.request_id,
        event.kind,
        event.outcome,
        f"{event.method or '-'} {event.path}",
        event.status,
        event.initiator,
        _secret(declarations, event.target.type, event.target.id),
        event.target.id,
        _verdict(judged, declarations),
        _permitted(event.kind, event.initiator, event.target.type, event.target.id, declarations),
        event.evidence,
        event.flags,
        tuple(map(said, sorted(records, key=lambda record: record.observed_time))),
        (),
        source,
    )


def of_read(read: Read, declarations: Declarations) -> Explanation:
    """Explain a row of the ledger: what each witness said is no longer known, only which they were."""
    more = read.more
    who = Initiator(
        read.user_id, read.user_name, read.project_id, more.project_name, more.roles, read.address,
        more.address_source, read.agent,
    )  # fmt: skip
    return Explanation(
        read.event_id,
        iso(read.event_time),
        read.request_id,
        Kind.RETRIEVAL,
        Outcome.SUCCESS,
        more.operation,
        200,
        who,
        _secret(declarations, "secret", read.secret_id),
        read.secret_id,
        Verdict(read.explained, more.reason, read.declaration, more.caller, more.nearest),
        _permitted(Kind.RETRIEVAL, who, "secret", read.secret_id, declarations),
        more.evidence,
        more.flags,
        tuple(Said(witness, None, None, {}) for witness in more.seen_in),
        (),
        "ledger",
    )


def of_citation(cited: Citation, finding: Finding, declarations: Declarations) -> Explanation:
    """Explain a request that only a finding tells of."""
    who = Initiator(
        cited.user_id, cited.user_name, cited.project_id, None, (), cited.address, cited.address_source, cited.agent
    )
    told = finding.reason is not None
    return Explanation(
        cited.event_id,
        iso(cited.event_time),
        cited.request_id,
        cited.kind,
        None,
        cited.operation,
        cited.status,
        who,
        _secret(declarations, cited.target_type, cited.target_id),
        cited.target_id,
        Verdict(None, str(finding.reason), finding.declaration, finding.caller, finding.nearest) if told else None,
        _permitted(cited.kind, who, cited.target_type, cited.target_id, declarations),
        None,
        cited.flags,
        (),
        (),
        "finding",
    )


def citing(one: Explanation, findings: Sequence[Finding]) -> Explanation:
    """With the findings that cite it."""
    cited = {
        finding.uid: Cited(finding.uid, finding.rule, finding.title, Severity(finding.severity).name.lower())
        for finding in findings
        if one.event_id in finding.event_ids
    }
    return replace(one, findings=tuple(cited.values()))


def said(record: Sighting) -> Said:
    """A record in its own words, without what only the join needs."""
    witness, part = next((who, part) for slot, who, part in _PARTS if record.slot & slot == slot)
    told = {name: getattr(record, name) for name in record.__struct_fields__ if name not in _PLUMBING}
    facts = dict[str, str]()
    for name, value in told.items():
        plain = to_builtins(value)
        inner = plain if isinstance(plain, dict) else {name: plain}
        facts |= {key: _text(item) for key, item in inner.items() if item not in (None, "", [], (), False)}
    return Said(witness, part, iso(record.observed_time), facts)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _verdict(judged: Judged, declarations: Declarations) -> Verdict | None:
    match, event = judged.match, judged.event
    if match is not None:
        return _told(match)
    if event.kind not in {Kind.RETRIEVAL, Kind.ACL_CHANGE, Kind.DELETE, Kind.ADMINISTRATION}:
        return None
    return replace(_told(hold(declarations, event)), note=_OF_A_READ)


def _told(match: Match) -> Verdict:
    return Verdict(match.explained, match.reason, match.declaration, match.caller, match.nearest)


def _secret(declarations: Declarations, target_type: str, target_id: str | None) -> Secret | None:
    return None if target_type != "secret" or target_id is None else declarations.secret(target_id)


def _permitted(
    kind: str, who: Initiator, target_type: str, target_id: str | None, declarations: Declarations
) -> Permitted | None:
    if kind != Kind.RETRIEVAL:  # by value: a finding's citation has it as text
        return None
    secret = _secret(declarations, target_type, target_id)
    found = entitlement(who, secret, known_roles(who, declarations))
    return Permitted(found.permitted, found.by, found.left, found.grounds)


def is_of(event: AuditEvent, ids: frozenset[str]) -> bool:
    """Whether an event is meant by one of these ids."""
    return event.event_id in ids or (event.request_id is not None and event.request_id in ids)
