"""What the rules about the backend share: an operation held against what is declared, and how findings cite it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, runtime_checkable

from kmwatch.core.backend.client import Clients, Identity
from kmwatch.core.backend.ledger import Verdict
from kmwatch.core.behind import Behind, Window
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import AddressSource, Citation, Severity
from kmwatch.core.record import BackendRecord, Deed, Result
from kmwatch.core.rules.base import Hit, Meta, brief
from kmwatch.core.rules.hosted import MAINTENANCE

BACKEND: Final = "backend"
_ENTITLED: Final = frozenset({Deed.READ, Deed.WRITE, Deed.DELETE, Deed.UNWRAP, Deed.LOGIN})
SET_UP: Final = "set_up"
MOST_SHOWN: Final = 5  # API requests that a message names


class BackendCase:
    """One operation as rules see it."""

    __slots__ = ("barred", "identity", "ours", "record", "secret", "set_up", "window")

    def __init__(
        self, record: BackendRecord, clients: Clients, behind: Behind, *, ours: bool, secret: str | None = None
    ) -> None:
        """Hold an operation against what is declared; `ours`: it is about the Key Manager's payloads or its HSM."""
        self.record = record
        self.secret = secret  # that it is about, where the inventory tells
        self.ours = ours
        self.set_up = False  # part of a store's set-up, before it keeps anything
        self.identity: Identity = clients.identify(record)
        self.window: Window | None = next((w for w in behind.windows if _covers(w, record, self.identity)), None)
        if record.result is Result.REFUSED:  # the Key Manager is never its security officer
            self.barred = ours and (self.identity.stranger or record.privileged)
        else:
            self.barred = ours and record.deed in _ENTITLED and self._is_barred(clients)

    @property
    def control(self) -> bool:
        """Whether it is about who may do what on a store, which concerns whoever keeps payloads there."""
        return self.record.control

    def _is_barred(self, clients: Clients) -> bool:
        """Whether it is certainly no client that may do this, so that no API request is its excuse."""
        identity, mount = self.identity, self.record.mount
        if identity.stranger:
            return True
        if not identity.fitting:
            return False
        on_store = mount is not None and self.record.deed is not Deed.LOGIN and not mount.startswith("auth/")
        if on_store and not clients.may_use(identity, mount or ""):
            return True
        return not any(client.login for client in identity.fitting)


@runtime_checkable
class BackendRule(Protocol):
    """A detection over the backend's log."""

    meta: Meta

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:
        """Look at one operation, in the order of time."""

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:
        """Look at what the account says; the case is of the verdict's record."""

    def states(self) -> Iterable[Keyed[Any]]:
        """The rule's memory, for commit and restore."""


class Silent:
    """Halves of a backend rule that have nothing to say."""

    def on_backend(self, case: BackendCase) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()

    def on_account(self, verdict: Verdict, case: BackendCase | None) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()


def hit(
    case: BackendCase,
    what: str,
    reason: str,
    severity: Severity | None = None,
    cited: Iterable[BackendRecord] = (),
    each: str = "",
) -> Hit:
    """What a rule says of an operation. Announced work is said too, as information: listed, and no alarm.

    `each` is what is to be known of each record that is cited.
    """
    window, who = case.window, person(case.record)
    citations = tuple(cite(record, each) for record in cited or (case.record,))
    secrets = () if case.secret is None else (case.secret,)
    if window is not None:
        ticket = f" ({window.ticket})" if window.ticket else ""
        message = f"{who} {what}, within the announced work {window.id}{ticket}"
        return Hit(
            f"{MAINTENANCE} {window.id}", citations, message, None, MAINTENANCE, Severity.INFORMATIONAL,
            case.record.observed_time,
        )  # fmt: skip
    if case.set_up:
        message = f"{who} {what}, while the store was set up: its log had just begun, and it keeps no payload yet"
        return Hit(SET_UP, citations, message, None, SET_UP, Severity.INFORMATIONAL, case.record.observed_time)
    return Hit(
        f"{reason} {who}",
        citations,
        f"{who} {what}",
        None,
        reason,
        severity,
        case.record.observed_time,
        secrets=secrets,
    )


def person(record: BackendRecord) -> str:
    """A client as a reader knows it: what the backend itself vouches for."""
    shown = " ".join(held for held in (record.name, record.role and f"role {record.role}") if held)
    place = record.address or record.host
    if not shown:
        return brief(f"a client at {place}") if place else "a client that the log does not name"
    return brief(f"{shown} at {place}" if place else shown)


def cite(record: BackendRecord, each: str = "") -> Citation:
    """A record as a finding cites it."""
    return Citation(
        record.event_id,
        record.observed_time,
        BACKEND,
        brief(f"{record.deed} {record.detail}{each}"),
        None,
        None,
        None,
        brief(record.name) if record.name else None,
        None,
        brief(record.address) if record.address else None,
        AddressSource.NONE,
        None,
        BACKEND,
        None if record.path is None else brief(record.path),
        record.flags,
    )


def _covers(window: Window, record: BackendRecord, identity: Identity) -> bool:
    if any(window.covers_client(client.id, record.observed_time) for client in identity.fitting):
        return True
    if record.role is not None and window.covers_client(record.role, record.observed_time):
        return True
    return window.covers_client(record.name, record.observed_time)
