"""A heartbeat's numbers as the JSON formats show them: `unmapped.kmwatch` in OCSF, `kmwatch.health` in ECS."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.health import Report
from kmwatch.wire.common import iso


class Witness(Struct, frozen=True, gc=False):
    """When a witness was last heard, or null."""

    name: str
    last_seen: str | None


class Health(Struct, frozen=True, gc=False):
    """Every key is always present."""

    build: str
    ready: bool
    last_event: str | None
    lag: int
    consumed: int
    ignored: int
    rejected: int
    duplicate: int
    joined: int
    waiting: int
    balanced: bool
    pending: int
    dead: int
    witnesses: tuple[Witness, ...]
    problems: tuple[str, ...]


def health(r: Report) -> Health:
    """The numbers of a report."""
    return Health(
        build=r.build,
        ready=r.ready,
        last_event=None if r.last_event is None else iso(r.last_event),
        lag=r.lag,
        consumed=r.consumed,
        ignored=r.ignored,
        rejected=r.rejected,
        duplicate=r.duplicate,
        joined=r.joined,
        waiting=r.waiting,
        balanced=r.balanced,
        pending=r.pending,
        dead=r.dead,
        witnesses=tuple([Witness(w.name, None if w.last_seen is None else iso(w.last_seen)) for w in r.witnesses]),
        problems=r.problems,
    )
