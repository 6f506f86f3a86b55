"""The audit event of a request, made of what its witnesses say.

Each fact comes from the witness that can know it and that no client can talk over: identity from the audit event, else
the service log; the address from the proxy, else from the web server if the request came past the proxy, else from the
audit event, which believes X-Forwarded-For; whether a secret's payload was given out from the service log.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from kmwatch.core.audit import best_of, outcome_of
from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.model import AuditEvent, Evidence, Failure, Kind, Micros, Outcome, Target, Witness
from kmwatch.core.record import AccessRecord, AuditRecord, Sighting, Slot
from kmwatch.core.testimony import Testimony
from kmwatch.core.way import LONGEST, way

_SEEN = (Witness.CADF,)
_NOT_ALLOWED = 405
_OTHER, _SUCCESS = Kind.OTHER, Outcome.SUCCESS  # looking a member up in its enum costs more than using it
_COMPLETE = Evidence.COMPLETE
_RESPONSE = Slot.CADF_RESPONSE
_MOST_SHAPES = 8192
_EVIDENCE = {  # by: something contradicts, all was seen
    (True, True): Evidence.CONTRADICTORY,
    (True, False): Evidence.CONTRADICTORY,
    (False, True): Evidence.COMPLETE,
    (False, False): Evidence.PARTIAL,
}


class _Shape(Struct, frozen=True, gc=False):
    """All that path, action and outcome decide of an event."""

    kind: Kind
    outcome: Outcome
    failure: Failure | None
    method: str | None
    path: str
    target: Target
    flags: tuple[str, ...]


_shapes: dict[tuple[str, str, int | None, str], _Shape] = {}  # a cache of a pure function


def audit_event(
    records: list[Sighting],
    slots: int,
    expected: Expected,
    now: Micros,
    *,
    late: bool,
    early: bool = False,
    ambiguous: bool = False,
) -> AuditEvent:
    """Make the event of a request that has an id.

    Args:
        records: what was seen of it, at least one.
        slots: the slots of all that was seen of it, of records that are no longer at hand too.
        expected: the witnesses there are.
        now: its place in the order of time.
        late: a record came later than the allowed lateness.
        early: it is told before all witnesses were heard; its address is left open.
        ambiguous: its proxy or access line may be another request's.

    Returns:
        The event.
    """
    if slots & ~AUDITED or expected.slots & ~AUDITED:
        return Testimony(records, slots, expected, ambiguous=ambiguous).event(now, late=late, early=early)
    return _audited(records, slots, now, late=late)  # type: ignore[arg-type]  # the slots say what they are


def taken(event: AuditEvent) -> AuditEvent:
    """The event of a GET whose Accept header nobody shows, when the backend shows that it took the payload."""
    flags = tuple(sorted({*event.flags, "legacy_read"} - {"accept_unknown"}))
    return replace(event, kind=Kind.RETRIEVAL, flags=flags)


def event_of_lines(records: list[AccessRecord], expected: Expected, now: Micros) -> AuditEvent:
    """Make the event of a request that only proxy and web server tell of: nobody knows who asked."""
    slots = 0
    for record in records:
        slots |= record.slot
    return Testimony(list(records), slots, expected, ambiguous=False).event(now, late=False, early=False)


def _audited(records: list[AuditRecord], slots: int, now: Micros, *, late: bool) -> AuditEvent:
    """The event where only audit events were expected, and nothing else was seen."""
    best, flags = best_of(records)
    status, outcome, failure = outcome_of(best)
    found = way(best.path_raw, best.action, served=outcome is _SUCCESS)
    evidence = _EVIDENCE[bool(flags), slots == AUDITED]
    if found.flag is not None:
        flags.append(found.flag)
    if slots != AUDITED:
        flags.append("request_missing" if slots & _RESPONSE else "response_missing")
    if late:
        flags.append("late")
    if best.flags:
        flags.extend(best.flags)
    return AuditEvent(
        event_id(best.key),
        best.event_time,
        _OTHER if status == _NOT_ALLOWED else found.kind,
        outcome,
        failure,
        status,
        found.method,
        found.path,
        best.path_raw,
        best.request_id,
        best.global_request_id,
        best.initiator,
        found.target,
        evidence,
        _SEEN,
        tuple(sorted(flags)) if flags else (),
        now,
        None,
        best.event_time,
        best.observed_time if slots & _RESPONSE else 0,
    )


def pair_event(request: AuditRecord, response: AuditRecord, now: Micros, *, late: bool) -> AuditEvent:
    """The event of a request that both its audit events and nothing else tell of: the hot path.

    All but ids, times and the caller is a pure function of path, action and outcome, and remembered. Whatever is
    remarkable goes the general way.

    Args:
        request: of the two the first half.
        response: the second; its word counts.
        now: its place in the order of time.
        late: one of them came later than the allowed lateness.

    Returns:
        What `audit_event` would make of both.
    """
    path, action, who = response.path_raw, response.action, response.initiator
    if (
        late
        or response.flags
        or path != request.path_raw
        or action != request.action
        or (who is not request.initiator and who != request.initiator)
    ):
        return _audited([request, response], AUDITED, now, late=late)
    known = _shapes.get((path, action, response.status, response.outcome)) or _shape(response)
    return AuditEvent(
        f"api:{response.key}",
        response.event_time,
        known.kind,
        known.outcome,
        known.failure,
        response.status,
        known.method,
        known.path,
        path,
        response.request_id,
        response.global_request_id,
        who,
        known.target,
        _COMPLETE,
        _SEEN,
        known.flags,
        now,
        None,
        response.event_time,
        response.observed_time,
    )


def _shape(response: AuditRecord) -> _Shape:
    path, action = response.path_raw, response.action
    status, outcome, failure = outcome_of(response)
    found = way(path, action, served=outcome is _SUCCESS)
    kind = _OTHER if status == _NOT_ALLOWED else found.kind
    flags = () if found.flag is None else (found.flag,)
    made = _Shape(kind, outcome, failure, found.method, found.path, found.target, flags)
    if len(path) + len(action) <= LONGEST:
        if len(_shapes) >= _MOST_SHAPES:
            _shapes.clear()
        _shapes[path, action, response.status, response.outcome] = made
    return made


def event_id(key: str) -> str:
    """The id of the event of a join key: no hash, so that an analyst can search for the request id in it."""
    return f"api:{key}"
