"""History through the production path, for whoever wants to learn from it: a replay that keeps what it is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TextIO

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.learn.history import History
from kmwatch.core.model import AuditEvent, Finding, Match
from kmwatch.core.step import Engine, Output
from kmwatch.pipeline import Bounds, Pipeline, Router
from kmwatch.replay import Recorder, StillClock
from kmwatch.sources.file import FileSource
from kmwatch.store.sqlite import SqliteStore
from kmwatch.wire.escape import visible


class Watcher(Protocol):
    """Who is shown every request."""

    def observe(self, event: AuditEvent, match: Match | None) -> None:
        """Take a request in, with its match where it was held against the map."""


class _Recorder(Recorder):
    """Shows watchers what a replay makes, and a history what detections said of it."""

    def __init__(self, folder: Path, watchers: Sequence[Watcher], progress: TextIO | None) -> None:
        super().__init__(folder, events=False, alerts=False, progress=progress)
        self._watchers = watchers
        self._seen: set[str] = set()

    def stepped(self, out: Output, engine: Engine) -> None:
        """Show a batch."""
        super().stepped(out, engine)
        for judged in out.judged:
            if judged.event.event_id in self._seen:  # evidence came late: it counts once
                continue
            self._seen.add(judged.event.event_id)
            for watcher in self._watchers:
                watcher.observe(judged.event, judged.match)
        self._blame(out.findings)

    def _blame(self, findings: Iterable[Finding]) -> None:
        for watcher in self._watchers:
            if isinstance(watcher, History):
                watcher.blame(findings)


async def watch(
    loaded: Loaded, paths: Sequence[str], watchers: Sequence[Watcher], progress: TextIO | None = None
) -> int:
    """Replay recordings to their end.

    Args:
        loaded: the configuration.
        paths: files, directories or patterns, as `--from` takes them.
        watchers: who is shown every request.
        progress: where to show it, if a person waits.

    Returns:
        How many records were read.

    Raises:
        SourceError: the recordings cannot be read.
    """
    clock = StillClock()
    source = assembly.files(paths, clock, loaded.settings)
    with TemporaryDirectory(prefix="kmwatch-learn-") as folder:
        recorder = _Recorder(Path(folder), watchers, progress)
        store = SqliteStore(Path(folder) / "state.db", "learn", clock.now)

        def engine() -> Engine:
            return assembly.engine(loaded.settings, loaded.declarations)

        pipeline = Pipeline(source, store, engine, Router({}), recorder, bounds=Bounds(), committed=lambda: None)
        try:
            await pipeline.run()
        finally:
            recorder.close()
            await source.close()
            await store.close()
    if isinstance(source, FileSource):
        for left in source.left_alone:
            sys.stderr.write(f"left alone: {visible(left)} (in no form that this release reads)\n")
    return sum(stream.consumed for stream in pipeline.engine.account.streams.values())
