"""`kmwatch explain`: one request, by its id, by an alert that cites it, or by a record of it that was pasted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import msgspec
from msgspec import Struct

from kmwatch import assembly
from kmwatch.config.load import Loaded
from kmwatch.core.detect import Judged
from kmwatch.core.ledger import Query
from kmwatch.core.model import AuditEvent, Finding
from kmwatch.core.record import AccessRecord, AuditRecord, Rejected, ServiceRecord, Sighting
from kmwatch.core.step import Engine, Output
from kmwatch.inquiry import asking
from kmwatch.inquiry.explanation import Explanation, citing, is_of, of_citation, of_event, of_read
from kmwatch.inquiry.history import opened
from kmwatch.inquiry.telling import tell
from kmwatch.ports import History, SourceError, StoreError
from kmwatch.replay import Recorder
from kmwatch.wire.decode import Reader
from kmwatch.wire.escape import json_line, visible
from kmwatch.wire.recorded import unwrap

_LARGEST = 4 << 20  # bytes of pasted records
_SIGHTINGS = (AuditRecord, ServiceRecord, AccessRecord)
_MOST = 10  # requests of a finding that are told in full to a person


class _Uid(Struct):
    uid: str | None = None


class _Pasted(Struct):
    """What may be pasted beside a record: a line of --events, or an alert as sinks get it."""

    event_id: str | None = None
    finding_info: _Uid = msgspec.field(default_factory=_Uid)


class Wanted:
    """What is asked for, and what a replay has shown of it."""

    def __init__(self, ids: frozenset[str], records: Sequence[Sighting] = ()) -> None:
        """Look for events with these ids, and for those that these records are part of."""
        self.ids, self._records = ids, records
        self._made_of: dict[str, list[Sighting]] = {}
        self.judged: dict[str, Judged] = {}

    def listen(self, engine: Engine) -> None:
        """Hear what every event is made of."""
        engine.join.heard = self._hear

    def take(self, out: Output) -> None:
        """Keep the events that are meant; one that is told again replaces what was told."""
        for judged in out.judged:
            if judged.event.event_id in self._made_of:
                self.judged[judged.event.event_id] = judged

    def explanations(self, loaded: Loaded, source: str) -> list[Explanation]:
        """What was found, in the order of time."""
        found = sorted(self.judged.values(), key=lambda one: (one.event.event_time, one.event.event_id))
        return [of_event(one, self._made_of[one.event.event_id], loaded.declarations, source) for one in found]

    def _hear(self, event: AuditEvent, records: Sequence[Sighting]) -> None:
        if is_of(event, self.ids) or any(record in self._records for record in records):
            self._made_of[event.event_id] = list(records)


class _Watching(Recorder):
    """Observes a replay for somebody."""

    def __init__(self, folder: Path, wanted: Wanted, progress: TextIO | None) -> None:
        super().__init__(folder, events=False, alerts=False, progress=progress)
        self._wanted = wanted

    def stepped(self, out: Output, engine: Engine) -> None:
        """Keep what is wanted."""
        super().stepped(out, engine)
        self._wanted.take(out)


async def explain(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
    """Answer the question of a command line.

    Raises:
        SourceError: nothing of that id is there, or the record or recording cannot be read.
        StoreError: the store cannot be read.
    """
    ids, records = frozenset(given.ids), list[Sighting]()
    if given.record is not None:
        content = sys.stdin.buffer.read(_LARGEST) if given.record == "-" else _content(Path(given.record))
        pasted, records = _read(content, assembly.reader(loaded.settings, None, "UTC"))
        ids |= pasted
    found = await _find(loaded, given.paths, ids, records)
    if not found and records:
        found = _alone(loaded, records)
    if not found:
        asked = visible(", ".join(sorted(ids)), 200)
        where = "in these recordings" if given.paths else (
            "in the store, which keeps retrievals and findings; for another request name recordings with --from"
        )  # fmt: skip
        raise SourceError(f"nothing is known of {asked} {where}")
    if given.output == "json":
        out.writelines(json_line(msgspec.json.encode(one)).decode() + "\n" for one in found)
    else:
        out.write("\n".join(tell(one, loaded.declarations) for one in found[:_MOST]))
        if len(found) > _MOST:
            out.write(f"\n... and {len(found) - _MOST} more requests; --output json tells of all\n")


async def _find(
    loaded: Loaded, paths: Sequence[str], ids: frozenset[str], records: list[Sighting]
) -> list[Explanation]:
    try:
        if paths:
            return await _replayed(loaded, paths, ids, records)
        async with opened(loaded, ()) as store:
            return await _stored(loaded, store, ids | {f"api:{record.key}" for record in records if record.key})
    except StoreError:
        if records and not paths:
            return []  # what was pasted can be told without a store
        raise


async def _replayed(
    loaded: Loaded, paths: Sequence[str], ids: frozenset[str], records: list[Sighting]
) -> list[Explanation]:
    """Replay recordings; once more for the requests of a finding, which is known only at the end."""
    keys = frozenset(f"api:{record.key}" for record in records if record.key)
    wanted = Wanted(ids | keys, records)
    findings = await _run(loaded, paths, wanted)
    cited = {event_id for one in findings if {one.uid, one.line_uid} & ids for event_id in one.event_ids}
    if not wanted.judged and cited:
        wanted = Wanted(frozenset(cited))
        await _run(loaded, paths, wanted)
    return [citing(one, findings) for one in wanted.explanations(loaded, "history")]


async def _run(loaded: Loaded, paths: Sequence[str], wanted: Wanted) -> list[Finding]:
    def observer(folder: Path) -> Recorder:
        return _Watching(folder, wanted, asking.waiting())

    async with opened(loaded, paths, made=wanted.listen, observer=observer) as replayed:
        return [finding async for page in replayed.findings() for finding in page]


async def _stored(loaded: Loaded, store: History, ids: frozenset[str]) -> list[Explanation]:
    found: dict[str, Explanation] = {}
    findings: list[Finding] = []
    for uid in sorted(ids):
        async for page in store.reads(Query(request=uid)):
            found |= {read.event_id: of_read(read, loaded.declarations) for read in page}
        findings += [finding async for lines in store.findings(uid) for finding in lines]
    for finding in findings:
        for cited in finding.citations:
            async for page in store.reads(Query(request=cited.event_id)):
                found |= {read.event_id: of_read(read, loaded.declarations) for read in page}
            found.setdefault(cited.event_id, of_citation(cited, finding, loaded.declarations))
    told = sorted(found.values(), key=lambda one: (one.event_time, one.event_id))
    return [citing(one, findings) for one in told]


def _alone(loaded: Loaded, records: list[Sighting]) -> list[Explanation]:
    """What the pasted records say by themselves, through the same join and match."""
    wanted = Wanted(frozenset(), records)
    engine = assembly.engine(loaded.settings, loaded.declarations)
    wanted.listen(engine)
    engine.take("pasted", records)
    engine.advance()
    wanted.take(engine.flush())
    return wanted.explanations(loaded, "record")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def _read(content: bytes, reader: Reader) -> tuple[frozenset[str], list[Sighting]]:
    """The records of pasted lines, and the ids of what is no record: an event's or an alert's own line.

    Raises:
        SourceError: none of it is anything that kmwatch knows.
    """
    ids, records, why = set[str](), list[Sighting](), "it is empty"
    for line in content.split(b"\n"):
        if not line.strip():
            continue
        known = _id_of(line)
        decoded = reader.decode(*unwrap(line)) if known is None else None
        if known is not None:
            ids.add(known)
        elif isinstance(decoded, _SIGHTINGS):
            records.append(decoded)
        else:
            why = f"{decoded.reason}: {decoded.detail}" if isinstance(decoded, Rejected) else f"it is {decoded}"
    if not ids and not records:
        raise SourceError(
            f"what was pasted tells of no request: {why}. Paste whole lines of a log, an event or an alert"
        )
    return frozenset(ids), records


def _id_of(line: bytes) -> str | None:
    try:
        pasted = msgspec.json.decode(line, type=_Pasted)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return pasted.event_id or pasted.finding_info.uid
