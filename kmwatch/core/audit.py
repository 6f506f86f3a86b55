"""What the audit event alone says of a request: the best of its halves, and whether they agree."""

from __future__ import annotations

from kmwatch.core.mask import MASK, agree, agree_on_who, is_masked_copy
from kmwatch.core.model import Failure, Outcome
from kmwatch.core.record import AuditRecord, Slot

_FAILURES = {401: Failure.UNAUTHENTICATED, 403: Failure.DENIED, 404: Failure.NOT_FOUND}
_BOTH = Slot.CADF_REQUEST | Slot.CADF_RESPONSE
_SUCCESS = Outcome.SUCCESS  # looking a member up in its enum costs more than using it
_REQUEST, _RESPONSE = Slot.CADF_REQUEST, Slot.CADF_RESPONSE


def best_of(records: list[AuditRecord]) -> tuple[AuditRecord, list[str]]:
    """The record whose word counts, and what contradicts what.

    The response's word counts before the request's; of contradicting copies one that tells of success, else the least
    in a fixed order, so that the order of arrival decides nothing. The common case, one request and one response that
    agree, goes without the ordering of the general one.
    """
    if len(records) == 2 and records[0].slot + records[1].slot == _BOTH:  # noqa: PLR2004
        request, response = records if records[0].slot == _REQUEST else records[::-1]
        return response, [] if _agree(response, request) else ["phases_disagree"]
    if len(records) > 1:
        records = sorted(records, key=_preference)
    best, slots, clashes = records[0], records[0].slot, set[str]()
    for other in records[1:]:
        if other.slot & slots:
            if not any(is_masked_copy(known, other) for known in records if known is not other):
                clashes.add("conflicting_duplicate")
        elif not _agree(best, other):
            clashes.add("phases_disagree")
        slots |= other.slot
    return best, sorted(clashes)


def outcome_of(record: AuditRecord) -> tuple[int | None, Outcome, Failure | None]:
    """Status, outcome and failure as one audit record tells them."""
    status = record.status
    if not record.slot & _RESPONSE:
        return None, Outcome.UNKNOWN, None
    if status is None:
        failed = record.outcome == "failure"
        known = failed or record.outcome == "success"
        return None, Outcome(record.outcome) if known else Outcome.UNKNOWN, None
    return status, *outcome_for(status)


def outcome_for(status: int | None) -> tuple[Outcome, Failure | None]:
    """What a status means."""
    if status is None:
        return Outcome.UNKNOWN, None
    if status < 400:  # noqa: PLR2004
        return _SUCCESS, None
    failure = Failure.SERVER_ERROR if status >= 500 else Failure.CLIENT_ERROR  # noqa: PLR2004
    return Outcome.FAILURE, _FAILURES.get(status, failure)


def _preference(record: AuditRecord) -> tuple[int, bool, bool, str]:
    """Of contradicting copies one that tells of success counts: a forged refusal must not hide a read."""
    return -record.slot, outcome_of(record)[1] is not _SUCCESS, MASK in record.path_raw, repr(record)


def _agree(response: AuditRecord, request: AuditRecord) -> bool:
    return (
        (response.path_raw == request.path_raw or agree(response.path_raw, request.path_raw))
        and (response.initiator == request.initiator or agree_on_who(response.initiator, request.initiator))
        and response.action == request.action
    )
