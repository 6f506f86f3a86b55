"""`kmwatch inventory --journal`: what the inventory told a daemon, so that a replay knows what the day knew."""

from __future__ import annotations

from pathlib import Path

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.model import Micros
from kmwatch.output import output


async def export(loaded: Loaded, out: Path, since: Micros | None) -> int:
    """Write the journal that the configured store has kept.

    Args:
        loaded: the configuration.
        out: where to; `-` is standard output.
        since: event time from which on it is wanted; it begins with what was known then. None: all that is kept.

    Returns:
        How many lines it has.

    Raises:
        StoreError: the store cannot be read.
        OSError: the output cannot be written.
    """
    history, lines = assembly.history(loaded.settings), 0
    try:
        with output(out) as file:
            async for page in history.journal(0 if since is None else since):
                file.writelines(line + b"\n" for line in page)
                lines += len(page)
    finally:
        await history.close()
    return lines
