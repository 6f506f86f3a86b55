"""The heartbeat's content: what /status knows, in a form that sinks carry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from kmwatch import __version__
from kmwatch.clock import Clock
from kmwatch.core.health import Health, Report, WitnessSeen
from kmwatch.core.model import SECOND, Micros
from kmwatch.ports import StateError, StoreError
from kmwatch.telemetry.status import Totals

_LOOK = 0.5  # seconds


def report(
    totals: Totals,
    *,
    lag: Mapping[str, int],
    last_event: Micros | None,
    witnesses: Mapping[str, Micros | None],
    problems: Sequence[str],
) -> Report:
    """Put it together.

    Args:
        totals: the account of records and findings.
        lag: records behind the end, by stream.
        last_event: event time reached.
        witnesses: when each was last heard.
        problems: what keeps us from being ready.
    """
    records = totals.records
    return Report(
        build=__version__,
        ready=not problems,
        last_event=last_event,
        lag=sum(lag.values()),
        consumed=records.consumed,
        ignored=sum(records.ignored.values()),
        rejected=sum(records.rejected.values()),
        duplicate=records.duplicate,
        joined=records.joined,
        waiting=records.waiting,
        balanced=totals.balanced,
        pending=sum(sink.pending for sink in totals.sinks.values()),
        dead=sum(sink.dead for sink in totals.sinks.values()),
        witnesses=tuple([WitnessSeen(name, seen) for name, seen in sorted(witnesses.items())]),
        problems=tuple(problems),
    )


async def beats(
    wanted: Callable[[], Mapping[str, Micros]],
    make: Callable[[], Awaitable[Health]],
    send: Callable[[str, Health | None], None],
    may: Callable[[], bool],
    clock: Clock,
) -> None:
    """Hand sinks a heartbeat, each in its own rhythm, the first one beat after it is wanted. Runs until cancelled.

    Of several instances the active one alone tells. One that is due in a standby is told when that takes over: so the
    SIEM hears at once who is at work now.

    Args:
        wanted: how often each sink wants one, by name; asked each time, since a reload may change it.
        make: makes one; may raise StoreError or StateError, and then there is none this time.
        send: hands it to a sink; None takes back what it has not sent yet.
        may: whether this instance is the active one.
        clock: counts the rhythm.
    """
    due: dict[str, float] = {}
    while True:
        await asyncio.sleep(_LOOK)
        now, rhythm = clock.monotonic(), wanted()
        due = {name: due.get(name, now + every / SECOND) for name, every in rhythm.items()}
        if not may():
            for name in due:
                send(name, None)
            continue
        for name in [name for name, at in due.items() if now >= at]:
            due[name] = now + rhythm[name] / SECOND
            with suppress(StoreError, StateError):
                send(name, await make())
