"""Where an answer comes from: the store of a daemon, running or not, or recordings that are replayed for it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.step import Engine
from kmwatch.pipeline import Bounds, Pipeline, Router
from kmwatch.ports import History, Source
from kmwatch.replay import Recorder, StillClock
from kmwatch.sources.file import FileSource
from kmwatch.store.history import SqliteHistory
from kmwatch.store.sqlite import SqliteStore
from kmwatch.wire.escape import visible


@asynccontextmanager
async def opened(
    loaded: Loaded,
    paths: Sequence[str],
    *,
    made: Callable[[Engine], None] | None = None,
    observer: Callable[[Path], Recorder] | None = None,
    progress: TextIO | None = None,
) -> AsyncIterator[History]:
    """Open what is to be asked.

    Args:
        loaded: the configuration.
        paths: recordings to replay, on a throw-away store; none: the configured store as it is.
        made: told of the engine that replays, before it begins.
        observer: makes who observes the replay, given a folder for what it spools.
        progress: where a person waits, if one does.

    Raises:
        SourceError: the recordings cannot be read.
        StoreError: the store cannot be read.
    """
    if not paths:
        found = assembly.history(loaded.settings)
        try:
            yield found
        finally:
            await found.close()
        return
    with TemporaryDirectory(prefix="kmwatch-asked-") as folder:
        path = Path(folder) / "state.db"
        watching = observer or (lambda place: Recorder(place, events=False, alerts=False, progress=progress))
        await _replay(loaded, assembly.files(paths, StillClock(), loaded.settings), path, watching(Path(folder)), made)
        replayed = SqliteHistory(path)
        try:
            yield replayed
        finally:
            await replayed.close()


async def _replay(
    loaded: Loaded, source: Source, path: Path, observer: Recorder, made: Callable[[Engine], None] | None
) -> None:
    """The production path over recordings, into a store that is kept until it has been asked."""
    store = SqliteStore(path, "asked", StillClock().now, reads_kept=sys.maxsize)

    def engine() -> Engine:
        new = assembly.engine(loaded.settings, loaded.declarations)
        if made is not None:
            made(new)
        return new

    pipeline = Pipeline(source, store, engine, Router({}), observer, bounds=Bounds(), committed=lambda: None)
    try:
        await pipeline.run()
    finally:
        observer.close()
        await source.close()
        await store.close()
    if isinstance(source, FileSource):
        for left in source.left_alone:
            sys.stderr.write(f"left alone: {visible(left)} (in no form that this release reads)\n")
