"""The heartbeat: a record of kmwatch's own health, told through the same sinks and forms as a finding.

It is a `Finding` so that every sink can carry it unchanged, and a type of its own so that no form mistakes it for an
alert. It never enters the outbox: of heartbeats only the latest is worth sending.
"""

from __future__ import annotations

from msgspec import Struct, structs

from kmwatch.core.itself import about_itself
from kmwatch.core.model import Finding, Micros

RULE = "KMW-000"
TITLE = "heartbeat"


class WitnessSeen(Struct, frozen=True, gc=False):
    """When a witness was last heard."""

    name: str
    last_seen: Micros | None  # event time


class Report(Struct, frozen=True, gc=False):
    """What a heartbeat tells. Counts are those of the account since the store was made."""

    build: str  # version
    ready: bool
    last_event: Micros | None  # event time reached
    lag: int  # records behind the end of all streams
    consumed: int
    ignored: int
    rejected: int
    duplicate: int
    joined: int
    waiting: int
    balanced: bool  # every record and finding is accounted for
    pending: int  # lines x sinks
    dead: int
    witnesses: tuple[WitnessSeen, ...]
    problems: tuple[str, ...] = ()  # as /readyz has them; may hold a receiver's text


class Health(Finding, frozen=True, kw_only=True):
    """A finding about nothing but kmwatch itself."""

    report: Report


def heartbeat(report: Report, time: Micros, instance: str) -> Health:
    """The heartbeat of a moment.

    Args:
        report: what it tells.
        time: the wall clock, since it tells of now and not of an event.
        instance: who tells: ids of two instances never meet.
    """
    missing = f"; {'; '.join(report.problems)}" if report.problems else ""
    said = about_itself(
        uid=f"{TITLE}:{instance}",
        line_uid=f"{TITLE}:{instance}:{time}",
        rule=RULE,
        title=TITLE,
        time=time,
        message=f"kmwatch {report.build} {'is at work' if report.ready else 'needs help'}: lag {report.lag}, "
        f"{report.consumed} records consumed, {report.pending} lines pending, {report.dead} dead{missing}",
        reason="ready" if report.ready else "not_ready",
        subject=instance,
    )
    return Health(**structs.asdict(said), report=report)
