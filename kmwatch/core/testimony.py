"""All witnesses of one request heard together: who is to be believed in what, and where they contradict each other."""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeVar

from kmwatch.core.audit import best_of, outcome_for, outcome_of
from kmwatch.core.expected import AUDITED, SLOTS, Expected
from kmwatch.core.mask import MASK, agree
from kmwatch.core.model import (
    SECOND,
    AddressSource,
    AuditEvent,
    Evidence,
    Failure,
    Flag,
    Initiator,
    Kind,
    Micros,
    Outcome,
    Witness,
)
from kmwatch.core.path import server_path
from kmwatch.core.record import AccessRecord, AuditRecord, Note, ServiceRecord, Sighting, Slot
from kmwatch.core.request import own_words
from kmwatch.core.way import Way, way

_NOT_ALLOWED, _UNAUTHENTICATED = 405, 401
_JSON = frozenset({"", "application/json", "*/*"})  # Accept headers for which SecretController.on_get shows metadata
_UNAUDITED = frozenset({"/", "/healthcheck"})  # answered outside the pipeline that holds the audit middleware
_LIKELY: Micros = SECOND  # a request that only the service log tells of began about this long before
_MISSING = {
    Witness.SERVICE_LOG: Flag.SERVICE_LOG_MISSING,
    Witness.ACCESS_LOG: Flag.ACCESS_LOG_MISSING,
    Witness.PROXY_LOG: Flag.PROXY_LOG_MISSING,
}


_CLASHES = frozenset(
    {
        Flag.CONFLICTING_DUPLICATE,
        Flag.PHASES_DISAGREE,
        Flag.STATUS_DISAGREES,
        Flag.PATH_DISAGREES,
        Flag.IDENTITY_DISAGREES,
    }
)

T = TypeVar("T", ServiceRecord, AccessRecord)


class Testimony:
    """What was seen of a request, by witness."""

    def __init__(self, records: list[Sighting], slots: int, expected: Expected, *, ambiguous: bool) -> None:
        """Sort the records out; of several service or proxy lines of one request the first in time counts."""
        self._expected = expected
        self._slots = slots
        self._ambiguous = ambiguous
        audits = [r for r in records if isinstance(r, AuditRecord)]
        served = [r for r in records if isinstance(r, ServiceRecord)]
        lines = [r for r in records if isinstance(r, AccessRecord)]
        self._audit: AuditRecord | None = None
        self._clashes: list[str] = []
        if audits:
            self._audit, self._clashes = best_of(audits)
        self._end = _first([r for r in served if r.slot == Slot.SERVICE_END])
        self._notes = [r for r in served if r.slot == Slot.SERVICE_NOTE]
        self._service = self._end or _first(self._notes)
        self._proxy = _first([r for r in lines if r.slot == Slot.PROXY])
        self._access = _first([r for r in lines if r.slot == Slot.ACCESS])
        self._asked = next((r for r in audits if r.slot & Slot.CADF_REQUEST), None)

    def event(self, now: Micros, *, late: bool, early: bool) -> AuditEvent:
        """The event; see `event.audit_event`."""
        status, outcome, failure = self._outcome()
        path = self._path()
        found = way(path, self._action(), served=outcome is Outcome.SUCCESS)
        flags = set(self._clashes)
        kind = self._kind(found, status, outcome, flags)
        self._contradictions(flags)
        clashes = not _CLASHES.isdisjoint(flags)
        initiator = self._initiator(flags, early=early)
        self._gaps(flags, status, path, early=early)
        if late:
            flags.add(Flag.LATE)
        for record in (self._audit, self._service, self._proxy, self._access):
            if record is not None:
                flags.update(record.flags)
        if found.flag == Flag.UNROUTED_SUCCESS:
            flags.add(found.flag)
        audit, service = self._audit, self._service
        told = audit or service or next((line for line in (self._proxy, self._access) if line and line.key), None)
        return AuditEvent(
            f"api:{told.key}" if told is not None else self._own_id(),
            self._event_time(),
            kind,
            outcome,
            failure,
            status,
            found.method or None,
            found.path,
            path,
            told.request_id if told is not None else None,
            told.global_request_id if told is not None else None,
            initiator,
            found.target,
            self._evidence(contradicted=clashes),
            self._seen_in(),
            tuple(sorted(flags)),
            now,
            self._policy(),
            *self._span(),
        )

    def _outcome(self) -> tuple[int | None, Outcome, Failure | None]:
        if self._audit is not None and self._audit.slot & Slot.CADF_RESPONSE:
            return outcome_of(self._audit)
        status = self._status()
        return status, *outcome_for(status)

    def _status(self) -> int | None:
        for record in (self._end, self._access, self._proxy):
            if record is not None:
                return record.status
        return None

    def _path(self) -> str:
        """The request target; raw where a web server or an uncut proxy line shows it, for that is what was sent."""
        told = [
            record.path_raw
            for record in (self._audit, self._end, self._access, self._proxy)
            if record is not None and record.path_raw
        ]
        if told and MASK in told[0] and len(told) > 1 and agree(told[0], told[1]):
            return told[1]
        return told[0] if told else ""

    def _action(self) -> str:
        for record in (self._end, self._access, self._proxy):
            if record is not None and record.method and not (record is not self._end and self._ambiguous):
                return record.method
        return self._audit.action if self._audit is not None else ""

    def _kind(self, found: Way, status: int | None, outcome: Outcome, flags: set[str]) -> Kind:
        if status == _NOT_ALLOWED:
            return Kind.OTHER
        notes = {note.note for note in self._notes}
        if Note.PAYLOAD in notes:
            return Kind.RETRIEVAL
        if found.flag != Flag.ACCEPT_UNKNOWN:
            return found.kind
        accept = self._proxy.accept if self._proxy is not None and not self._ambiguous else None
        denied = any(note.note is Note.DENIED and note.detail == "secret:decrypt" for note in self._notes)
        if Note.LEGACY in notes or denied or (accept is not None and accept.strip() not in _JSON):
            if outcome is Outcome.SUCCESS:
                flags.add(Flag.LEGACY_READ)
            return Kind.RETRIEVAL
        if self._end is None and accept is None:
            flags.add(Flag.ACCEPT_UNKNOWN)
        return found.kind

    def _contradictions(self, flags: set[str]) -> None:
        audit, service = self._audit, self._service
        told = [self._end, *([] if self._ambiguous else [self._access, self._proxy])]
        statuses = {record.status for record in told if record is not None and record.status is not None}
        if audit is not None and audit.slot & Slot.CADF_RESPONSE and audit.status is not None:
            statuses.add(audit.status)
        if len(statuses) > 1:
            flags.add(Flag.STATUS_DISAGREES)
        if audit is None:
            return
        path = self._end.path_raw if self._end is not None else None
        if path is not None and not agree(server_path(audit.path_raw), server_path(path)):
            flags.add(Flag.PATH_DISAGREES)
        known, user = audit.initiator.user_id, service.user_id if service is not None else None
        if known and user and known != user:
            flags.add(Flag.IDENTITY_DISAGREES)

    def _initiator(self, flags: set[str], *, early: bool) -> Initiator:
        address, source = (None, AddressSource.NONE) if early else self._address(flags)
        audit, service = self._audit, self._service
        agent = self._proxy.agent if self._proxy is not None and not self._ambiguous else None
        if audit is not None:
            who = audit.initiator
            same = service is not None and service.user_id == who.user_id
            return Initiator(
                who.user_id,
                who.user_name or (service.user_name if service is not None and same else None),
                who.project_id,
                who.project_name or (service.project_name if service is not None and same else None),
                who.roles or (service.roles if service is not None and same else ()),
                address,
                source,
                who.agent or agent,
            )
        if service is None:
            return Initiator(address=address, address_source=source, agent=agent or self._access_agent())
        return Initiator(
            service.user_id,
            service.user_name,
            service.project_id,
            service.project_name,
            service.roles,
            address,
            source,
            agent or self._access_agent(),
        )

    def _access_agent(self) -> str | None:
        return self._access.agent if self._access is not None and not self._ambiguous else None

    def _address(self, flags: set[str]) -> tuple[str | None, AddressSource]:
        """The best address there is, and whether the audit event was lied to."""
        expected, proxy, access = self._expected, self._proxy, self._access
        claimed = self._audit.initiator.address if self._audit is not None else None
        found: tuple[str | None, AddressSource] = (None, AddressSource.NONE)
        if self._ambiguous:
            flags.add(Flag.JOIN_AMBIGUOUS)
        elif proxy is not None:
            found = proxy.peer, AddressSource.PROXY
            if proxy.tls is False:
                flags.add(Flag.PLAIN_HTTP)
        elif access is not None and not expected.is_proxy(access.peer):
            found = access.peer, AddressSource.ACCESS
            if expected.proxies or expected.slots & Slot.PROXY:
                flags.add(Flag.PAST_PROXY)
        if found[0] is not None:
            if claimed is not None and claimed != found[0] and not (expected.proxies and expected.is_proxy(claimed)):
                flags.add(Flag.ADDRESS_FORGED)
            return found
        if claimed is None:
            return None, AddressSource.NONE
        if expected.slots & Slot.PROXY:
            flags.add(Flag.ADDRESS_UNPROVEN)
        return claimed, AddressSource.AUDIT

    def _gaps(self, flags: set[str], status: int | None, path: str, *, early: bool) -> None:
        """Which expected witness is silent, where it could have spoken."""
        if early:
            return
        expected, slots = self._expected.slots, self._slots
        audited = expected & AUDITED
        if audited and slots & AUDITED and slots & AUDITED != AUDITED:
            flags.add(Flag.REQUEST_MISSING if slots & Slot.CADF_RESPONSE else Flag.RESPONSE_MISSING)
        elif audited and not slots & AUDITED and self._auditable(status, path):
            flags.add(Flag.AUDIT_MISSING)
        reached = slots & (AUDITED | Slot.SERVICE_END) or self._auditable(status, path)
        for witness, flag in _MISSING.items():
            slot = SLOTS[witness]
            if expected & slot and not slots & slot and reached:
                flags.add(flag)
        if Flag.PAST_PROXY in flags:
            flags.discard(Flag.PROXY_LOG_MISSING)

    def _auditable(self, status: int | None, path: str) -> bool:
        """Whether the audit middleware can have seen it: it sits behind authentication, version checks and CORS.

        The CORS filter answers a browser's OPTIONS itself; one that it lets pass is refused for its lack of a token.
        """
        if self._end is not None or self._notes:
            return True
        lines = [line for line in (self._proxy, self._access) if line is not None]
        if any(not line.served or line.method == "OPTIONS" for line in lines):
            return False
        if status is None or status == _UNAUTHENTICATED:
            return False
        clean = server_path(path)
        return clean not in _UNAUDITED and "/v1/" in clean + "/" and clean.strip("/") != "v1"

    def _event_time(self) -> Micros:
        if self._asked is not None:
            return self._asked.event_time
        for line in (self._proxy, self._access):
            if line is not None and not self._ambiguous:
                return line.event_time
        if self._service is not None:
            return self._service.observed_time
        first = self._audit or self._proxy or self._access
        return first.event_time if first is not None else 0

    def _span(self) -> tuple[Micros, Micros]:
        """From the first sign that the Key Manager had the request to its answer; 0 where none was seen."""
        audit, service = self._audit, self._end or self._service
        begins = [audit.event_time] if audit is not None else []
        ends = [audit.observed_time] if audit is not None and audit.slot & Slot.CADF_RESPONSE else []
        if self._end is not None:
            ends.append(self._end.observed_time)
        for line in (self._proxy, self._access):
            if line is not None and not self._ambiguous and not begins:
                begins.append(line.began - line.precision)
                ends.append(line.ended + line.precision)
        if not begins and service is not None:
            begins.append(service.observed_time - _LIKELY)
        return min(begins, default=0), max(ends, default=0)

    def _evidence(self, *, contradicted: bool) -> Evidence:
        if contradicted:
            return Evidence.CONTRADICTORY
        wanted = self._expected.slots
        if self._access is not None and not self._expected.is_proxy(self._access.peer):
            wanted &= ~Slot.PROXY
        return Evidence.COMPLETE if self._slots & wanted == wanted else Evidence.PARTIAL

    def _seen_in(self) -> tuple[Witness, ...]:
        seen = {
            Witness.CADF: self._audit,
            Witness.SERVICE_LOG: self._service,
            Witness.ACCESS_LOG: self._access,
            Witness.PROXY_LOG: self._proxy,
        }
        return tuple(witness for witness, record in seen.items() if record is not None)

    def _policy(self) -> str | None:
        return next((note.detail for note in self._notes if note.note is Note.DENIED), None)

    def _own_id(self) -> str:
        """An id for what only a line shows: of its content, never of where it stood."""
        line = self._proxy or self._access
        told = "" if line is None else own_words(line)
        return "line:" + blake2b(told.encode("utf-8", "replace"), digest_size=12).hexdigest()


def _first(records: list[T]) -> T | None:
    """The first in time; ties by content."""
    if len(records) == 1:
        return records[0]
    return min(records, key=lambda record: (record.observed_time, repr(record)), default=None)
