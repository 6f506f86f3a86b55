"""The audit event of a request, made of what was seen of it when its join closed."""

from __future__ import annotations

from kmwatch.core.model import AddressSource, AuditEvent, Evidence, Failure, Kind, Outcome, Target, Witness
from kmwatch.core.record import AuditRecord, Slot
from kmwatch.core.route import Route, Verb, route

_VERBS = {"read": Verb.READ, "create": Verb.WRITE, "update": Verb.WRITE, "delete": Verb.DELETE}
_FAILURES = {401: Failure.UNAUTHENTICATED, 403: Failure.DENIED, 404: Failure.NOT_FOUND}
_POSTED = (Kind.CREATE, Kind.CONTAINER_CREATE, Kind.ORDER_CREATE)
_SEEN = (Witness.CADF,)
_NOT_ALLOWED = 405
_BOTH = Slot.CADF_REQUEST | Slot.CADF_RESPONSE
_ROUTES: dict[tuple[str, bool], Route] = {}  # a cache of a pure function
_ROUTES_MAX = 16_384
_ROUTE_LONGEST = 512  # longer paths are not worth their memory


def audit_event(records: list[AuditRecord], *, proxy_expected: bool, late: bool) -> AuditEvent:
    """Make the event of a request.

    Args:
        records: what was seen of it, at least one; of each slot one, except where copies contradict each other.
        proxy_expected: a proxy log should prove the address, so one that only the audit event shows is unproven.
        late: a record came later than the allowed lateness.

    Returns:
        The event. The response's word counts before the request's; of contradicting copies the least in a fixed
        order, so that the order of arrival decides nothing.
    """
    best, slots, clashes = _best(records)
    status, outcome, failure = _outcome(best)
    way = _route(best.path_raw, outcome is Outcome.SUCCESS)
    verb = _VERBS.get(best.action.partition("/")[0], Verb.UNKNOWN)
    kind = Kind.OTHER if status == _NOT_ALLOWED else way.kind(verb)
    flags = [*best.flags]
    if kind is Kind.METADATA_READ and way.path.count("/") == 3:  # noqa: PLR2004  (/v1/secrets/{id})
        flags.append("accept_unknown")
    if not way.routed and outcome is Outcome.SUCCESS and way.target_type != "unknown":
        flags.append("unrouted_success")
    if slots != _BOTH:
        flags.append("request_missing" if Slot.CADF_RESPONSE in slots else "response_missing")
    if proxy_expected and best.initiator.address_source is AddressSource.AUDIT:
        flags.append("address_unproven")
    if late:
        flags.append("late")
    flags.extend(clashes)
    evidence = Evidence.CONTRADICTORY if clashes else Evidence.COMPLETE if slots == _BOTH else Evidence.PARTIAL
    return AuditEvent(
        event_id(best.key),
        best.event_time,
        kind,
        outcome,
        failure,
        status,
        _method(best.action, verb, kind, outcome),
        way.path,
        best.path_raw,
        best.request_id,
        best.global_request_id,
        best.initiator,
        Target(way.target_type, way.target_id, way.addressed),
        evidence,
        _SEEN,
        tuple(sorted(flags)),
    )


def event_id(key: str) -> str:
    """The id of the event of a join key: no hash, so that an analyst can search for the request id in it."""
    return f"api:{key}"


def _best(records: list[AuditRecord]) -> tuple[AuditRecord, Slot, list[str]]:
    if len(records) == 2 and records[0].slot != records[1].slot:  # noqa: PLR2004  (the common case, without the reprs)
        records = records if records[0].slot > records[1].slot else records[::-1]
    elif len(records) > 1:
        records = sorted(records, key=_preference)
    best, slots, clashes = records[0], records[0].slot, []
    for other in records[1:]:
        if other.slot & slots:
            clashes.append("conflicting_duplicate")
        elif not _agree(best, other):
            clashes.append("phases_disagree")
        slots |= other.slot
    return best, slots, sorted(set(clashes))


def _preference(record: AuditRecord) -> tuple[int, str]:
    return -int(record.slot), repr(record)


def _agree(response: AuditRecord, request: AuditRecord) -> bool:
    return (
        response.path_raw == request.path_raw
        and response.initiator == request.initiator
        and response.action == request.action
    )


def _outcome(record: AuditRecord) -> tuple[int | None, Outcome, Failure | None]:
    status = record.status
    if Slot.CADF_RESPONSE not in record.slot:
        return None, Outcome.UNKNOWN, None
    if status is None:
        failed = record.outcome == "failure"
        known = failed or record.outcome == "success"
        return None, Outcome(record.outcome) if known else Outcome.UNKNOWN, None
    if status < 400:  # noqa: PLR2004
        return status, Outcome.SUCCESS, None
    failure = Failure.SERVER_ERROR if status >= 500 else Failure.CLIENT_ERROR  # noqa: PLR2004
    return status, Outcome.FAILURE, _FAILURES.get(status, failure)


def _method(action: str, verb: Verb, kind: Kind, outcome: Outcome) -> str | None:
    """The HTTP method where CADF's action leaves no doubt: GET and HEAD, and PUT, PATCH and POST, share one."""
    if action == "read/list" or (verb is Verb.READ and outcome is Outcome.SUCCESS):
        return "GET"
    if verb is Verb.DELETE:
        return "DELETE"
    if action == "create" or kind in _POSTED:
        return "POST"
    return "PUT" if kind is Kind.PAYLOAD_WRITE and outcome is Outcome.SUCCESS else None


def _route(path: str, served: bool) -> Route:  # noqa: FBT001
    key = path, served
    way = _ROUTES.get(key)
    if way is None:
        way = route(path, served=served)
        if len(path) <= _ROUTE_LONGEST:
            if len(_ROUTES) >= _ROUTES_MAX:
                _ROUTES.clear()
            _ROUTES[key] = way
    return way
