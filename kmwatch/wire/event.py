"""An audit event as a JSON line (`--events`): the field names that users script against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct, json

from kmwatch.core.detect import Judged
from kmwatch.core.model import AuditEvent, Initiator, Match, Micros, Target

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Verdict(Struct):
    explained: bool | None
    reason: str
    declaration: str | None


class _Line(Struct):
    event_id: str
    event_time: str
    kind: str
    outcome: str
    failure: str | None
    status: int | None
    method: str | None
    path: str
    path_raw: str
    request_id: str | None
    global_request_id: str | None
    initiator: Initiator
    target: Target
    verdict: _Verdict | None
    evidence: str
    seen_in: tuple[str, ...]
    flags: tuple[str, ...]


def to_json(judged: Judged) -> bytes:
    """One line, without its newline."""
    event: AuditEvent = judged.event
    return json.encode(
        _Line(
            event.event_id,
            iso(event.event_time),
            event.kind,
            event.outcome,
            event.failure,
            event.status,
            event.method,
            event.path,
            event.path_raw,
            event.request_id,
            event.global_request_id,
            event.initiator,
            event.target,
            _verdict(judged.match),
            event.evidence,
            event.seen_in,
            event.flags,
        )
    )


def iso(at: Micros) -> str:
    """UTC with microseconds, as 2026-11-23T20:47:51.538673Z."""
    try:
        return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except OverflowError:
        return f"{at}us"


def _verdict(match: Match | None) -> _Verdict | None:
    return None if match is None else _Verdict(match.explained, match.reason, match.declaration)
