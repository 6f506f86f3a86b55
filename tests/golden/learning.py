"""Learning from one recording, judging another: what a learned map explains, and what it does not.

    python -m tests.golden.learning     prints the figures of docs/measurements.md

History is the bundled recording without its intruder's reads. What is judged is the recording again as of another
day: the same people and places, every secret another one (ids and the numbers in names), the intruder included.
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

from kmwatch.config.load import load
from kmwatch.learn.learning import learn
from kmwatch.replay import replay
from tests.golden import labelled
from tests.golden.replaying import GOLDEN, lines
from tests.support.audit import RECORDING, recorded_lines

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


def ordinary(folder: Path) -> Path:
    """The recording without what its intruder read, and without whoever touched the decoy."""
    bad = {request for request, expected in labels().items() if expected == UNFAMILIAR}
    texts = [(line, line.decode()) for line in recorded_lines()]
    kept = [line for line, text in texts if not bad.intersection(_REQUEST.findall(text)) and _DECOY not in text]
    path = folder / "ordinary.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(kept), compresslevel=1))
    return path


def another_day(folder: Path) -> Path:
    """A folder with configuration, inventory and recording in which every secret is another one."""
    inventory = (RECORDING / "inventory.jsonl").read_text(encoding="utf-8")
    secrets = set(_UUID.findall(inventory))

    def other(found: re.Match[str]) -> str:
        return _other(found[0]) if found[0] in secrets else found[0]

    shutil.copytree(RECORDING, folder / "other")
    renamed = _NUMBER.sub(lambda found: str(int(_other(found[0])[:8], 16)), _UUID.sub(other, inventory))
    (folder / "other" / "inventory.jsonl").write_text(renamed, encoding="utf-8")
    records = b"".join(recorded_lines()).decode()
    (folder / "other" / "cadf.jsonl.gz").write_bytes(gzip.compress(_UUID.sub(other, records).encode(), compresslevel=1))
    return folder / "other"


def _other(text: str) -> str:
    digits = hashlib.sha256(f"another day {text}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


async def judge(folder: Path) -> tuple[str, Told]:
    """Learn, apply, and hold every read against its label; returns the map too."""
    learned = await learn(load(RECORDING / "kmwatch.yaml", {}), [str(ordinary(folder))], sparse=3)
    day = another_day(folder)
    (day / "callers.yaml").write_text(learned, encoding="utf-8")
    loaded = load(day / "kmwatch.yaml", {})
    events = folder / "events.jsonl"
    await replay(loaded, [str(day / "cadf.jsonl.gz")], events=events)
    expected, told = labels(), Told()
    for event in lines(events.read_bytes()):
        right = expected.get(event["request_id"])
        if right is not None and event["verdict"] is not None:
            told[right, event["verdict"]["explained"]] += 1
    return learned, told


def main() -> None:
    """Print the figures."""
    with TemporaryDirectory() as folder:
        learned, told = asyncio.run(judge(Path(folder)))
    allow = sum(line.startswith("  - {id:") for line in learned.splitlines())
    figures = {f"{right}: explained {said}": count for (right, said), count in sorted(told.items(), key=str)}
    print(json.dumps({"entries": allow, **figures}, indent=1))  # noqa: T201  (what it is for)


if __name__ == "__main__":
    main()
