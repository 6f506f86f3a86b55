"""History as a daemon's store has kept it: the ledger of retrievals, and what detections said of them.

It reaches back a year where logs are long gone, and costs no replay. What it does not hold is what was no read: grants
and deletions, and the addresses that only refused requests came from.
"""

from __future__ import annotations

from collections.abc import Sequence

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.learn.history import History
from kmwatch.core.ledger import Query, Read
from kmwatch.core.match import match
from kmwatch.core.model import AuditEvent, Initiator, Kind, Micros, Outcome, Target
from kmwatch.learn.watching import Watcher
from kmwatch.wire.common import split_operation

_OK = 200
Period = tuple[Micros | None, Micros | None]  # [since, until) of event time


async def recall(loaded: Loaded, watchers: Sequence[Watcher], period: Period = (None, None)) -> int:
    """Show the retrievals that the configured store has kept, each held against the map as it is now.

    Args:
        loaded: the configuration.
        watchers: who is shown every retrieval, and, if a history, what detections said of it.
        period: of event time.

    Returns:
        How many there were.

    Raises:
        StoreError: the store cannot be read.
    """
    proxied = loaded.settings.witnesses.proxy_log != "absent"
    kept, shown = assembly.history(loaded.settings), 0
    try:
        async for page in kept.reads(Query(since=period[0], until=period[1])):
            for read in page:
                event = event_of(read)
                held = match(loaded.declarations, event, address_expected_from_proxy=proxied)
                for watcher in watchers:
                    watcher.observe(event, held)
            shown += len(page)
        async for findings in kept.findings():
            for watcher in watchers:
                if isinstance(watcher, History):
                    watcher.blame(findings)
    finally:
        await kept.close()
    return shown


def event_of(read: Read) -> AuditEvent:
    """The request of a row, as far as a row tells."""
    more = read.more
    method, path = split_operation(more.operation)
    who = Initiator(
        read.user_id,
        read.user_name,
        read.project_id,
        more.project_name,
        more.roles,
        read.address,
        more.address_source,
        read.agent,
    )
    return AuditEvent(
        event_id=read.event_id,
        event_time=read.event_time,
        kind=Kind.RETRIEVAL,
        outcome=Outcome.SUCCESS,
        failure=None,
        status=_OK,
        method=method,
        path=path,
        path_raw=path,
        request_id=read.request_id,
        global_request_id=None,
        initiator=who,
        target=Target("secret", read.secret_id, path),
        evidence=more.evidence,
        seen_in=more.seen_in,
        flags=more.flags,
        observed_time=read.event_time,
    )
