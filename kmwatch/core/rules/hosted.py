"""What the rules about the host share: an event of its audit log with what it touches, and how findings cite it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol, runtime_checkable

from kmwatch.core.behind import Behind, Window
from kmwatch.core.host.files import Touch
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import AddressSource, Citation, Failure, Kind, Micros, Outcome, Severity
from kmwatch.core.record import HostRecord, Process
from kmwatch.core.rules.base import Case, Hit, Meta, brief

HOST: Final = "host"
REFUSED, MAINTENANCE = "refused", "maintenance"


class HostCase:
    """One event as rules see it: with the Key Manager's files that it touches, and the announced work it is part of."""

    __slots__ = ("behind", "event", "touches", "window")

    def __init__(self, event: HostRecord, touches: tuple[Touch, ...], behind: Behind) -> None:
        """Hold an event against what is declared."""
        self.event = event
        self.touches = touches
        self.behind = behind
        self.window: Window | None = behind.window_of(event.process, event.observed_time) if behind.windows else None


@runtime_checkable
class HostRule(Protocol):
    """A detection over the host's audit log."""

    meta: Meta

    def on_host(self, case: HostCase) -> Iterable[Hit]:
        """Look at one event, in the order of time."""

    def states(self) -> Iterable[Keyed[Any]]:
        """The rule's memory, for commit and restore."""


class NoRequests:
    """A rule that no API request concerns."""

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing to see."""
        return ()

    def states(self) -> Iterable[Keyed[Any]]:
        """Nothing to keep."""
        return ()

    def forget(self, now: Micros) -> None:
        """Nothing to forget."""


def hit(case: HostCase, touch: Touch | None, what: str, reason: str, severity: Severity | None = None) -> Hit:
    """What a rule says of an event. Announced work is said too, as information: it is listed, and alarms nobody."""
    process, window = case.event.process, case.window
    who, cited = person(process), (cite(case.event, touch),)
    if window is not None:
        ticket = f" ({window.ticket})" if window.ticket else ""
        message = f"{who} {what}, within the announced work {window.id}{ticket}"
        return Hit(f"{MAINTENANCE} {window.id}", cited, message, None, MAINTENANCE, Severity.INFORMATIONAL)
    return Hit(f"{reason} {who}", cited, f"{who} {what}", None, reason, severity)


def person(process: Process | None) -> str:
    """Who did it, as a reader knows them: never by the program's name alone, which anybody may choose."""
    if process is None:
        return "an unknown process"
    user, login = _named(process.euid or process.uid), _named(process.login)
    came = "without a login" if login == "unset" else f"logged in as {login}"
    return brief(f"{user} ({came})") if process.euid or process.uid else brief(login)


def cite(event: HostRecord, touch: Touch | None) -> Citation:
    """An event as a finding cites it; it counts no secrets and no addresses."""
    process = event.process
    path = brief(touch.path) if touch is not None else None
    return Citation(
        event.event_id,
        event.observed_time,
        HOST,
        brief(f"{event.syscall or event.types[0]} {path or ' '.join(event.changes)}".rstrip()),
        None,
        None,
        None if process is None else _numbered(process.euid or process.uid or process.login),
        None if process is None else person(process),
        None,
        None,
        AddressSource.NONE,
        None if process is None or not process.exe else brief(process.exe),
        "file" if touch is not None else "audit",
        path,
        event.flags,
    )


def _named(user: tuple[str, ...]) -> str:
    return user[0] if user else "?"


def _numbered(user: tuple[str, ...]) -> str | None:
    return user[-1] if user else None
