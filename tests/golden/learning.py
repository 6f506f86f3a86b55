"""Learning from one recording, judging another: what a learned map explains, and what it does not.

    python -m tests.golden.learning     prints the figures of docs/measurements.md

History is the bundled recording without its intruder's reads. What is judged is the recording again as of another
day: the same people and places, every secret another one (ids and the numbers in names), the intruder included. Or the
other way round: history is another day's. Judged is what CADF alone shows, or all four logs.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kmwatch.config.load import load
from kmwatch.learn.learning import learn
from kmwatch.replay import replay
from tests.golden import labelled
from tests.golden.replaying import GOLDEN, lines
from tests.support.audit import RECORDING

UNFAMILIAR, LEGIT = "retrieval/unfamiliar", "retrieval/legit"
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_NUMBER = re.compile(r"(?<=-)[0-9]{4,}(?=\", \"secret_type\")")  # of a name, and not the end of an id
_DECOY = "96480902-6688-4b08-b17d-9004e9374e82"
_REQUEST = re.compile(r"req-[0-9a-f-]{36}")

Told = Counter[tuple[str, bool | None]]  # (what the label says, what the map says)


def labels() -> dict[str, str]:
    """What is right to say of each read, by request id."""
    rows = labelled.read(GOLDEN / "labels.tsv.gz")
    return {row.request_id: row.expected for row in rows if row.expected in {UNFAMILIAR, LEGIT}}


class Pair(NamedTuple):
    """What is learned from, and what is judged: a day's salt ("" is the recorded one), and the configuration."""

    history: str
    judged: str
    config: str = "kmwatch.yaml"


PAIRS = (Pair("", "one"), Pair("two", ""), Pair("two", "three", "complete.yaml"))


def ordinary(folder: Path, day: Path) -> Path:
    """A day's audit events without what its intruder read, and without whoever touched the decoy."""
    bad = {request for request, expected in labels().items() if expected == UNFAMILIAR}
    decoy = _decoy(day)
    texts = [
        (line, line.decode())
        for line in gzip.decompress((day / "cadf.jsonl.gz").read_bytes()).splitlines(keepends=True)
    ]
    kept = [line for line, text in texts if not bad.intersection(_REQUEST.findall(text)) and decoy not in text]
    path = folder / "ordinary.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(kept), compresslevel=1))
    return path


def _decoy(day: Path) -> str:
    return (day / "decoy").read_text(encoding="utf-8")


def day(folder: Path, salt: str) -> Path:
    """A folder with configuration, inventory and logs in which every secret is another one; with no salt it is none."""
    inventory = (RECORDING / "inventory.jsonl").read_text(encoding="utf-8")
    secrets = set(_UUID.findall(inventory)) if salt else set[str]()

    def other(found: re.Match[str]) -> str:
        return _other(salt, found[0]) if found[0] in secrets else found[0]

    def renumbered(found: re.Match[str]) -> str:
        return str(int(_other(salt, found[0])[:8], 16)) if salt else found[0]

    made = folder / f"day-{salt}"
    shutil.copytree(RECORDING, made)
    (made / "inventory.jsonl").write_text(_NUMBER.sub(renumbered, _UUID.sub(other, inventory)), encoding="utf-8")
    for log in made.glob("*.gz"):
        text = gzip.decompress(log.read_bytes()).decode("latin-1")  # any bytes: clients wrote some of them
        log.write_bytes(gzip.compress(_UUID.sub(other, text).encode("latin-1"), compresslevel=1))
    (made / "decoy").write_text(_other(salt, _DECOY) if salt else _DECOY, encoding="utf-8")
    return made


def _other(salt: str, text: str) -> str:
    digits = hashlib.sha256(f"another day {salt} {text}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


async def judge(folder: Path, pair: Pair) -> tuple[str, Told]:
    """Learn, apply, and hold every read against its label; returns the map too."""
    history, judged = day(folder, pair.history), day(folder, pair.judged)
    learned = await learn(load(history / "kmwatch.yaml", {}), [str(ordinary(folder, history))], sparse=3)
    (judged / "callers.yaml").write_text(learned, encoding="utf-8")
    loaded = load(judged / pair.config, {})
    events = folder / "events.jsonl"
    await replay(loaded, (), events=events)
    expected, told = labels(), Told()
    for event in lines(events.read_bytes()):
        right = expected.get(event["request_id"])
        if right is not None and event["verdict"] is not None:
            told[right, event["verdict"]["explained"]] += 1
    return learned, told


def main() -> None:
    """Print the figures."""
    for pair in PAIRS:
        with TemporaryDirectory() as folder:
            learned, told = asyncio.run(judge(Path(folder), pair))
        allow = sum(line.startswith("  - {id:") for line in learned.splitlines())
        figures = {f"{right}: explained {said}": count for (right, said), count in sorted(told.items(), key=str)}
        print(json.dumps({"pair": pair, "entries": allow, **figures}, indent=1))  # noqa: T201  (what it is for)


if __name__ == "__main__":
    main()
