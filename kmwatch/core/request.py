"""A request as far as it has been told, while its join is open."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.mask import MASK
from kmwatch.core.model import AuditEvent, Micros
from kmwatch.core.path import server_path
from kmwatch.core.record import AccessRecord, AuditRecord, ServiceRecord, Sighting, Slot

_VERBS = {
    "GET": "r", "HEAD": "r", "PUT": "w", "PATCH": "w", "POST": "w", "DELETE": "d",
    "read": "r", "update": "w", "create": "w", "delete": "d",
}  # fmt: skip
_PATH_KEPT = 256  # characters of a path that tell requests apart well enough


class OpenRequest(Struct):
    """A request that still waits for records. `streams[i]` is where `records[i]` came from, for the account.

    Most requests are open with one record and close with their second, so the first needs no list.
    """

    key: str
    first: Sighting
    first_stream: str
    digest: bytes  # of the join key
    slots: int
    began: Micros  # when the first of its records was made
    late: bool = False
    others: tuple[Sighting, ...] = ()
    other_streams: tuple[str, ...] = ()
    answered: Micros = 0  # when the Key Manager was done with it, by the first witness that says so
    asked: Micros = 0  # when it began, by the audit event; 0: nobody has said so yet
    told: int = 0  # see Told
    ambiguous: bool = False  # its proxy or access line may as well be another request's
    before: AuditEvent | None = None  # how it was told last
    try_at: Micros = 0  # when its lines are looked for next; 0: nothing is planned
    place: str = ""  # where lines without a request id that tell of it stand, once it is answered

    @property
    def records(self) -> list[Sighting]:
        """All that was seen of it."""
        return [self.first, *self.others]

    @property
    def streams(self) -> tuple[str, ...]:
        """Where it was seen."""
        return self.first_stream, *self.other_streams


class Told:
    """How far a request was told to the detections."""

    NOT = 0
    EARLY = 1  # by identity alone, if that is known: something was still missing a moment after the answer
    FULLY = 2


def place_of_line(record: AccessRecord) -> str:
    """The place of a line: what it has in common with the request that it tells of."""
    return _place(record.method, record.status, server_path(record.path_raw))


def is_whole(place: str) -> bool:
    """Whether a place holds as much of the path as any does, so that a cut path's is the same as the whole one's."""
    return len(place) > _PATH_KEPT + place.index("\n")


def place_of_request(request: OpenRequest) -> str:
    """The place of an answered request; "" where its records do not tell a path."""
    method, status, path = "", None, None
    for record in request.records:
        if isinstance(record, ServiceRecord):
            method, status = record.method or method, record.status or status
            path = path or record.path_raw
        elif isinstance(record, AuditRecord):
            method = method or record.action.partition("/")[0]
            status = record.status or status
            if path is None or MASK not in record.path_raw:
                path = record.path_raw
    return "" if path is None else _place(method, status, server_path(path))


def _place(method: str, status: int | None, path: str) -> str:
    """An odd method (OPTIONS, TRACE) has no status: the web server may answer it otherwise than the Key Manager."""
    verb = _VERBS.get(method)
    return f"{verb} {status}\n{path[:_PATH_KEPT]}" if verb else f"?\n{path[:_PATH_KEPT]}"


def own_words(record: AccessRecord) -> str:
    """What a line says, without what its shippers add: the same line by two ways is one."""
    return (
        f"{record.slot} {record.serial} {record.event_time} {record.peer} {record.status} {record.size}"
        f" {record.entry} {record.method} {record.path_raw}"
    )


def is_answer(slot: int) -> bool:
    """Whether a record says that the Key Manager is done with the request."""
    return bool(slot & (Slot.CADF_RESPONSE | Slot.SERVICE_END))
