"""The nearest declaration in words: what it asks for, and what the request showed instead."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from kmwatch.core.callermap import ALL_DAYS, AllowEntry, Hours
from kmwatch.core.clause import Clause
from kmwatch.core.model import DAY, SECOND, AuditEvent, Kind, Micros, Nearest, Reason
from kmwatch.core.selector import Truth

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHOWN = 5
_FIELDS = {
    Reason.EXPIRED: "expires",
    Reason.ACTION: "actions",
    Reason.NETWORK: "networks",
    Reason.AGENT: "agents",
    Reason.HOURS: "hours",
}


def describe(
    clause: Clause, identity: Truth, secret: Truth, broken: tuple[Reason, ...], event: AuditEvent, kind: Kind
) -> Nearest:
    """Say which field failed first, in the order caller, secret, then constraints as `broken` has them.

    `actual` may hold text of an attacker (agent, address, user name): whoever prints it must sanitise it.
    """
    entry, who = clause.entry, event.initiator
    if identity is not True:
        return Nearest(entry.id, "caller", ", ".join(entry.callers), who.user_name or who.user_id)
    if secret is not True:
        return Nearest(entry.id, "secret", _secrets(entry), event.target.id)
    field = _FIELDS[broken[0]] if broken else "networks"
    if field == "expires":
        return Nearest(entry.id, field, _last_day(entry.expires or 0), _moment(event.event_time)[:10])
    if field == "actions":
        return Nearest(entry.id, field, _some(sorted(entry.actions)), kind.value)
    if field == "networks":
        return Nearest(entry.id, field, _some(clause.caller.entry.networks or ()), who.address)
    if field == "agents":
        return Nearest(entry.id, field, _some(clause.caller.entry.agents or ()), who.agent)
    return Nearest(entry.id, field, _hours(entry.hours or Hours()), _moment(event.event_time))


def _secrets(entry: AllowEntry) -> str:
    return "created by the caller" if entry.created_by_caller else _some(entry.groups or ("any",))


def _some(values: Iterable[str]) -> str:
    listed = list(values)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _hours(hours: Hours) -> str:
    days = "" if hours.days == ALL_DAYS else ",".join(_DAYS[day] for day in hours.days) + " "
    return f"{days}{_clock(hours.start)}-{_clock(hours.end)} {hours.timezone}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _last_day(expires: Micros) -> str:
    return _moment(expires - DAY)[:10]


def _moment(time: Micros) -> str:
    """RFC 3339 in UTC to the second; a moment outside the calendar in seconds since 1970."""
    try:
        return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time // SECOND} s"
