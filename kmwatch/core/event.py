"""The audit event of a request, made of what was seen of it when its join closed."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.model import AddressSource, AuditEvent, Evidence, Failure, Kind, Outcome, Target, Witness
from kmwatch.core.record import AuditRecord, Slot
from kmwatch.core.route import Verb, route

_VERBS = {"read": Verb.READ, "create": Verb.WRITE, "update": Verb.WRITE, "delete": Verb.DELETE}
_FAILURES = {401: Failure.UNAUTHENTICATED, 403: Failure.DENIED, 404: Failure.NOT_FOUND}
_POSTED = (Kind.CREATE, Kind.CONTAINER_CREATE, Kind.ORDER_CREATE)
_SEEN = (Witness.CADF,)
_NOT_ALLOWED = 405
_BOTH = Slot.CADF_REQUEST | Slot.CADF_RESPONSE
_OTHER, _SUCCESS = Kind.OTHER, Outcome.SUCCESS  # looking a member up in its enum costs more than using it
_REQUEST, _RESPONSE = Slot.CADF_REQUEST, Slot.CADF_RESPONSE
_EVIDENCE = {  # by: something contradicts, both halves were seen
    (True, True): Evidence.CONTRADICTORY,
    (True, False): Evidence.CONTRADICTORY,
    (False, True): Evidence.COMPLETE,
    (False, False): Evidence.PARTIAL,
}


class _Way(Struct, frozen=True, gc=False):
    """All that path, action and success decide of an event."""

    kind: Kind
    method: str | None
    path: str
    target: Target
    flag: str | None


_ROUTES: dict[tuple[str, str, bool], _Way] = {}  # a cache of a pure function
_ROUTES_MAX = 16_384
_ROUTE_LONGEST = 512  # longer paths are not worth their memory


def audit_event(records: list[AuditRecord], slots: int, *, proxy_expected: bool, late: bool) -> AuditEvent:
    """Make the event of a request.

    Args:
        records: what was seen of it, at least one; of each slot one, except where copies contradict each other.
        slots: the slots of all that was seen of it, of records that are no longer at hand too.
        proxy_expected: a proxy log should prove the address, so one that only the audit event shows is unproven.
        late: a record came later than the allowed lateness.

    Returns:
        The event. The response's word counts before the request's; of contradicting copies one that tells of
        success, else the least in a fixed order, so that the order of arrival decides nothing.
    """
    best, flags = _best(records)
    status, outcome, failure = _outcome(best)
    served = outcome is _SUCCESS
    action = best.action
    way = _ROUTES.get((best.path_raw, action, served)) or _way(best.path_raw, action, served)
    kind = _OTHER if status == _NOT_ALLOWED else way.kind
    evidence = _EVIDENCE[bool(flags), slots == _BOTH]
    if way.flag is not None:
        flags.append(way.flag)
    if slots != _BOTH:
        flags.append("request_missing" if slots & _RESPONSE else "response_missing")
    if proxy_expected and best.initiator.address_source is AddressSource.AUDIT:
        flags.append("address_unproven")
    if late:
        flags.append("late")
    if best.flags:
        flags.extend(best.flags)
    observed = best.observed_time
    for record in records:
        if record.observed_time < observed:  # noqa: PLR1730  (a call costs more)
            observed = record.observed_time
    return AuditEvent(
        event_id(best.key),
        best.event_time,
        kind,
        outcome,
        failure,
        status,
        way.method,
        way.path,
        best.path_raw,
        best.request_id,
        best.global_request_id,
        best.initiator,
        way.target,
        evidence,
        _SEEN,
        tuple(sorted(flags)) if flags else (),
        observed,
    )


def event_id(key: str) -> str:
    """The id of the event of a join key: no hash, so that an analyst can search for the request id in it."""
    return f"api:{key}"


def _best(records: list[AuditRecord]) -> tuple[AuditRecord, list[str]]:
    """The record whose word counts, and what contradicts what.

    The common case, one request and one response that agree, goes without the ordering of the general one.
    """
    if len(records) == 2 and records[0].slot + records[1].slot == _BOTH:  # noqa: PLR2004
        request, response = records if records[0].slot == _REQUEST else records[::-1]
        return response, [] if _agree(response, request) else ["phases_disagree"]
    if len(records) > 1:
        records = sorted(records, key=_preference)
    best, slots, clashes = records[0], records[0].slot, set[str]()
    for other in records[1:]:
        if other.slot & slots:
            clashes.add("conflicting_duplicate")
        elif not _agree(best, other):
            clashes.add("phases_disagree")
        slots |= other.slot
    return best, sorted(clashes)


def _preference(record: AuditRecord) -> tuple[int, bool, str]:
    """Of contradicting copies one that tells of success counts: a forged refusal must not hide a read."""
    return -record.slot, _outcome(record)[1] is not _SUCCESS, repr(record)


def _agree(response: AuditRecord, request: AuditRecord) -> bool:
    return (
        response.path_raw == request.path_raw
        and response.initiator == request.initiator
        and response.action == request.action
    )


def _outcome(record: AuditRecord) -> tuple[int | None, Outcome, Failure | None]:
    status = record.status
    if not record.slot & _RESPONSE:
        return None, Outcome.UNKNOWN, None
    if status is None:
        failed = record.outcome == "failure"
        known = failed or record.outcome == "success"
        return None, Outcome(record.outcome) if known else Outcome.UNKNOWN, None
    if status < 400:  # noqa: PLR2004
        return status, _SUCCESS, None
    failure = Failure.SERVER_ERROR if status >= 500 else Failure.CLIENT_ERROR  # noqa: PLR2004
    return status, Outcome.FAILURE, _FAILURES.get(status, failure)


def _method(action: str, verb: Verb, kind: Kind, *, served: bool) -> str | None:
    """The HTTP method where CADF's action leaves no doubt: GET and HEAD, and PUT, PATCH and POST, share one."""
    if action == "read/list" or (verb is Verb.READ and served):
        return "GET"
    if verb is Verb.DELETE:
        return "DELETE"
    if action == "create" or kind in _POSTED:
        return "POST"
    return "PUT" if kind is Kind.PAYLOAD_WRITE and served else None


def _way(path: str, action: str, served: bool) -> _Way:  # noqa: FBT001
    found = route(path, served=served)
    verb = _VERBS.get(action.partition("/")[0], Verb.UNKNOWN)
    kind = found.kind(verb)
    flag = None
    if kind is Kind.METADATA_READ and found.path.count("/") == 3:  # noqa: PLR2004  (/v1/secrets/{id})
        flag = "accept_unknown"
    elif served and not found.routed and found.target_type != "unknown":
        flag = "unrouted_success"
    target = Target(found.target_type, found.target_id, found.addressed)
    way = _Way(kind, _method(action, verb, kind, served=served), found.path, target, flag)
    if len(path) + len(action) <= _ROUTE_LONGEST:
        if len(_ROUTES) >= _ROUTES_MAX:
            _ROUTES.clear()
        _ROUTES[path, action, served] = way
    return way
