"""`kmwatch replay`: the production path over recorded input, to its end, on a throw-away store.

No wall clock is read, nothing goes to the configured sinks, and the same input and configuration give the same
bytes: what comes out is sorted, by (event_time, event_id) and by (time, metadata.uid).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from msgspec import json

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.model import Finding
from kmwatch.core.step import Engine, Output
from kmwatch.output import STDOUT, output, require_stdout
from kmwatch.pipeline import Bounds, Pipeline, Router
from kmwatch.ports import Source
from kmwatch.sources.file import FileSource
from kmwatch.store.sqlite import SqliteStore
from kmwatch.telemetry.status import Totals, totals
from kmwatch.wire.escape import json_line
from kmwatch.wire.event import to_json
from kmwatch.wire.ocsf import to_ocsf


class StillClock:
    """Time stands still: nothing of a replay may depend on it."""

    def now(self) -> float:
        """The beginning of 1970."""
        return 0.0

    def monotonic(self) -> float:
        """No time passes."""
        return 0.0


class _Spool:
    """Lines on disk until the end, when they are read back in order."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;"
            "CREATE TABLE line (at INTEGER, id TEXT, body BLOB, PRIMARY KEY (id)) WITHOUT ROWID;"
        )

    def put(self, lines: Sequence[tuple[int, str, bytes]]) -> None:
        """Keep lines; one with an id that is there replaces it."""
        self._db.executemany("INSERT OR REPLACE INTO line VALUES (?, ?, ?)", lines)

    def write(self, to: Path) -> None:
        """Write all lines, sorted."""
        with output(to) as out:
            for (body,) in self._db.execute("SELECT body FROM line ORDER BY at, id"):
                out.write(body + b"\n")

    def close(self) -> None:
        self._db.close()


class Recorder:
    """See `pipeline.Observer`: keeps what a replay is to show."""

    def __init__(self, folder: Path, *, events: bool, alerts: bool, progress: TextIO | None = None) -> None:
        """Keep events and alerts if wanted; `progress` is a terminal where a person waits."""
        self.events = _Spool(folder / "events.db") if events else None
        self.alerts = _Spool(folder / "alerts.db") if alerts else None
        self.also: Callable[[Sequence[Finding]], None] | None = None  # told of the lines of findings
        self._progress = progress
        self._told = 0

    def began(self, engine: Engine) -> None:
        """The store is new: there is nothing yet."""

    def stepped(self, out: Output, engine: Engine) -> None:
        """Keep what a batch made."""
        if self.events is not None:
            self.events.put([(j.event.event_time, j.event.event_id, json_line(to_json(j))) for j in out.judged])
        if self.alerts is not None:
            self.alerts.put([(f.time, f.line_uid, to_ocsf(f)) for f in out.findings])
        if self.also is not None and out.findings:
            self.also(out.findings)
        consumed = sum(stream.consumed for stream in engine.account.streams.values())
        if self._progress is not None and consumed - self._told >= 1000:  # noqa: PLR2004
            self._told = consumed
            self._progress.write(f"\r{consumed:,} records")
            self._progress.flush()

    def committed(self, engine: Engine) -> None:
        """Nothing to do."""

    def lost(self, why: str) -> None:
        """Cannot happen: the store is ours alone."""

    def store_failed(self, error: str) -> None:
        """Say why it takes so long."""
        sys.stderr.write(f"kmwatch replay: {error}\n")

    def gaps(self, gaps: Mapping[str, int]) -> None:
        """Files have no gaps."""

    def crowded(self, waiting: int) -> None:
        """Nothing is routed, so nothing waits."""

    def close(self) -> None:
        """Let go of the spools."""
        for spool in (self.events, self.alerts):
            if spool is not None:
                spool.close()
        if self._progress is not None and self._told:
            self._progress.write("\n")


class Summary(Totals, kw_only=True):
    """`--summary`: the account, and the files of directories that are in no known form."""

    left_alone: list[str]


async def replay(
    loaded: Loaded,
    paths: Sequence[str],
    *,
    events: Path | None = None,
    alerts: Path | None = None,
    summary: Path | None = None,
    progress: TextIO | None = None,
    also: Callable[[Sequence[Finding]], None] | None = None,
) -> Summary:
    """Replay recordings.

    Args:
        loaded: the configuration.
        paths: what to read instead of the configured sources, if any.
        events: where to write the events, one line a request.
        alerts: where to write the alerts, one line a transition.
        summary: where to write the account.
        progress: where to show it, if a person waits.
        also: told of the lines of findings as they are made.

    Returns:
        The account.

    Raises:
        SourceError: the input cannot be read.
        OSError: an output cannot be written.
    """
    _check_outputs([path for path in (events, alerts, summary) if path is not None])
    clock = StillClock()
    source: Source = assembly.files(paths, clock, loaded.settings) if paths else assembly.source(loaded.settings, clock)
    with TemporaryDirectory(prefix="kmwatch-replay-") as folder:
        recorder = Recorder(Path(folder), events=events is not None, alerts=alerts is not None, progress=progress)
        recorder.also = also
        store = SqliteStore(Path(folder) / "state.db", "replay", clock.now)
        pipeline = Pipeline(
            source,
            store,
            lambda: assembly.engine(loaded.settings, loaded.declarations),
            Router({}),
            recorder,
            bounds=Bounds(),
            committed=lambda: None,
        )
        try:
            await pipeline.run()
            if recorder.events is not None and events is not None:
                recorder.events.write(events)
            if recorder.alerts is not None and alerts is not None:
                recorder.alerts.write(alerts)
        finally:
            recorder.close()
            await source.close()
            await store.close()
    found = _summary(pipeline.engine, source)
    if summary is not None:
        with output(summary) as out:
            out.write(json.format(json.encode(found), indent=1) + b"\n")
    return found


def _summary(engine: Engine, source: Source) -> Summary:
    account = totals(engine)
    left = source.left_alone if isinstance(source, FileSource) else []
    values = {name: getattr(account, name) for name in account.__struct_fields__}
    return Summary(**values, left_alone=left)


def _check_outputs(paths: Sequence[Path]) -> None:
    """Refuse what cannot be written before hours are spent, and what would overwrite another output."""
    files = [path.resolve() for path in paths if str(path) != STDOUT]
    for path in paths:
        if str(path) == STDOUT:
            require_stdout()
        elif files.count(path.resolve()) > 1:
            raise OSError(f"{path} is named for two outputs; give each its own file")
        else:
            there = path.exists()
            try:
                path.open("ab").close()
                if not there:  # a run that fails later leaves nothing that looks like its output
                    path.unlink()
            except OSError as error:
                raise OSError(f"cannot write {path}: {error.strerror or error}") from error
