"""What each witness says of a request: the service log, the web server and the proxy beside the audit event."""

from __future__ import annotations

from kmwatch.core.constraint import ranges
from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, Note, ServiceRecord, Sighting, Slot
from kmwatch.core.skew import ENOUGH
from tests.support.audit import SECRET, START, halves
from tests.support.joining import Joining

PAYLOAD = f"/v1/secrets/{SECRET}/payload"
CLIENT, OTHER_CLIENT, PROXY = "198.51.100.7", "198.51.100.8", "10.0.0.9"
AUDIT_AND_PROXY = Expected(AUDITED | Slot.PROXY)
ALL = Expected(AUDITED | Slot.SERVICE_END | Slot.ACCESS | Slot.PROXY, proxies=ranges([f"{PROXY}/32"]))
WAY: Micros = 700  # an answer's way from the Key Manager to the proxy's timer


def note(number: int, at: Micros = START, what: Note = Note.PAYLOAD, detail: str | None = None) -> ServiceRecord:
    """A line of a controller about request `number`."""
    return ServiceRecord(
        Slot.SERVICE_NOTE, f"req-{number}", at, f"req-{number}", None, "user-1", "project-1", note=what, detail=detail
    )


def processed(
    number: int = 1,
    at: Micros = START,
    *,
    path: str = PAYLOAD,
    method: str = "GET",
    status: int = 200,
    user: str | None = "user-1",
    made: str | None = None,
) -> ServiceRecord:
    """The line "Processed request" of request `number`, written when it was answered."""
    return ServiceRecord(
        Slot.SERVICE_END, f"req-{number}", at, f"req-{number}", made, user, "project-1", method, path, status
    )


def line(  # noqa: PLR0913  (every field that tests vary)
    answered: Micros = START,
    slot: int = Slot.PROXY,
    *,
    took: Micros = 0,
    path: str = PAYLOAD,
    method: str = "GET",
    status: int | None = 200,
    peer: str | None = CLIENT,
    key: str = "",
    serial: str | None = None,
    host: str | None = "lb1",
    made: str | None = None,
    ahead: Micros = 0,
    accept: str | None = None,
    agent: str | None = None,
    cut: bool = False,
    served: bool = True,
) -> AccessRecord:
    """The proxy's line of a request that the Key Manager answered at `answered`; its clock is `ahead`."""
    ended = answered + WAY + ahead
    began = ended - took - 2 * WAY
    return AccessRecord(
        slot,
        key,
        ended,
        began,
        began,
        ended,
        2000,
        method,
        path,
        status,
        peer,
        cut,
        key or None,
        accept,
        agent,
        served=served,
        host=host,
        global_request_id=made,
        serial=serial,
    )


def web(
    answered: Micros = START,
    *,
    took: Micros = 0,
    path: str = PAYLOAD,
    method: str = "GET",
    status: int | None = 200,
    peer: str | None = PROXY,
    serial: str | None = None,
) -> AccessRecord:
    """The web server's line of a request: it shows whole seconds, on the Key Manager's own host."""
    began = (answered - took) // SECOND * SECOND
    return AccessRecord(
        Slot.ACCESS,
        "",
        began + took + SECOND,
        began,
        began,
        began + took,
        SECOND + 1000,
        method,
        path,
        status,
        peer,
        serial=serial,
    )


def acquainted(expected: Expected = AUDIT_AND_PROXY, *, ahead: Micros = 0, limit: int = 1000) -> Joining:
    """A join that has learned how far the proxy's clock is ahead, from requests of an hour before START."""
    parts = Joining(expected, limit)
    parts.now = begin = START - 3600 * SECOND
    for number in range(ENOUGH):
        at, path = begin + 10 * number * SECOND, f"/v1/containers/{number}"
        records: list[Sighting] = [
            *halves(9000 + number, at=at, took=0, path=path),
            processed(9000 + number, at, path=path),
            web(at, path=path),
            line(at, path=path, ahead=ahead),
        ]
        wanted = [one for one in records if one.slot & expected.slots]
        for one in sorted(wanted, key=lambda one: one.observed_time):
            parts.add(one)
    parts.due(START)
    assert parts.join.skews.of("lb1") is not None
    assert all(told.event.evidence == "complete" for told in parts.told if not told.early)
    parts.told.clear()
    return parts
