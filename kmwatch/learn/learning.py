"""`kmwatch learn`: a caller map proposed from history, or what differs between history and the declared map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from kmwatch.config.load import Loaded
from kmwatch.core.learn.history import History
from kmwatch.core.learn.propose import Proposal, propose
from kmwatch.core.learn.usage import Usage
from kmwatch.learn.diff import difference
from kmwatch.learn.recall import Period, recall
from kmwatch.learn.render import moment, render
from kmwatch.learn.watching import Watcher, watch


async def learn(
    loaded: Loaded,
    paths: Sequence[str],
    *,
    sparse: int,
    progress: TextIO | None = None,
    period: Period = (None, None),
) -> str:
    """Propose a whole caller map.

    Args:
        loaded: the configuration; its declared map counts for nothing here.
        paths: the history, as `--from` takes it; none: what the configured store has kept.
        sparse: how few acts are an anecdote, and flagged.
        progress: where to show it, if a person waits.
        period: of event time, of what the store has kept.

    Returns:
        A valid callers file with what each entry rests on.

    Raises:
        SourceError, StoreError: the history cannot be read.
    """
    history = History(loaded.declarations)
    await _show(loaded, paths, [history], progress, period)
    proposal = propose(history, sparse=sparse)
    title = _title(history, proposal)
    if not paths:
        title.append("The store keeps reads alone: whoever grants or deletes is to be learned from recordings.")
    return render(proposal, title)


async def compare(
    loaded: Loaded,
    paths: Sequence[str],
    *,
    sparse: int,
    progress: TextIO | None = None,
    period: Period = (None, None),
) -> str:
    """What of the declared map is not used, what is used and not declared, what is wider than its use."""
    history = History(loaded.declarations)
    usage = Usage(loaded.declarations, proxy_expected=loaded.settings.witnesses.proxy_log != "absent")
    await _show(loaded, paths, [history, usage], progress, period)
    return difference(loaded.map, usage, history, sparse=sparse)


async def _show(
    loaded: Loaded, paths: Sequence[str], watchers: Sequence[Watcher], progress: TextIO | None, period: Period
) -> None:
    if paths:
        await watch(loaded, paths, watchers, progress)
    else:
        await recall(loaded, watchers, period)


def _title(history: History, proposal: Proposal) -> list[str]:
    entries = proposal.entries
    aside = sum(bool(entry.doubts) for entry in entries)
    lines = [
        "Proposed by kmwatch learn, and applied by nobody: it says what was done, not what should be.",
        "Give each caller an owner, and ask of each entry whether it is meant. Names of secrets are chosen by whoever",
        "creates them; the user agent that a service is called after is a claim.",
    ]
    if entries:
        first, last = min(e.support.first for e in entries), max(e.support.last for e in entries)
        span = f"{moment(first)} to {moment(last)}"
        lines.append(f"From {history.requests} requests, {span}: {len(entries) - aside} entries, {aside} set aside.")
    if proposal.left:
        lines.append(f"{proposal.left} grants and deletions of others' secrets are proposed to nobody.")
    if history.left_out:
        lines.append(f"{history.left_out} requests are left out: there are too many different ones.")
    return lines
