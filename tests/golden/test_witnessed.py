"""Five witnesses of one stretch of time: a restart anywhere changes no finding and no byte of state."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path

import pytest
from msgspec import json

from kmwatch import assembly
from kmwatch.config.load import Loaded, load
from kmwatch.core.record import Decoded
from kmwatch.core.state import Memory
from kmwatch.wire.decode import Reader
from tests.support.audit import balances, step
from tests.support.daemon import file_sink
from tests.support.laws import Rows
from tests.support.witnessed import PARTITIONS, records, settings, spread

BATCH = 40
Item = tuple[str, Decoded]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("witnessed")
    config = settings(folder, {"file": {"paths": ["none.jsonl"]}}, [file_sink(folder)])
    (folder / "kmwatch.yaml").write_bytes(json.encode(config))
    return load(Path(folder / "kmwatch.yaml"), {})


@pytest.fixture(scope="module")
def items() -> list[Item]:
    read = Reader().decode
    return [(f"p{one.partition}", read(one.value, None)) for one in spread(records())]


def run(loaded: Loaded, items: list[Item], restarts: Collection[int]) -> tuple[set[str], dict[tuple[str, str], object]]:
    """Ids of the lines it tells, and what its store holds."""
    made, rows, told = assembly.engine(loaded.settings, loaded.declarations), Rows(), set[str]()
    memory = Memory(made)
    for number, at in enumerate(range(0, len(items), BATCH)):
        told |= {line.line_uid for line in step(made, items[at : at + BATCH], ()).findings}
        rows.write(memory.changes())
        if number in restarts:
            made = assembly.engine(loaded.settings, loaded.declarations)
            memory = Memory(made)
            memory.restore(rows.read())
    told |= {line.line_uid for line in step(made, [], [f"p{number}" for number in range(PARTITIONS)]).findings}
    rows.write(memory.changes())
    assert balances(made)
    return told, {(row.kind, row.key): row.value for row in rows.read() if row.kind not in ("meta", "closed")}


@pytest.mark.parametrize("seed", range(4))
def test_restarts_change_no_finding_and_no_byte_of_state(loaded: Loaded, items: list[Item], seed: int) -> None:
    batches = range(len(items) // BATCH)
    told, held = run(loaded, items, random.Random(seed).sample(batches, 3))  # noqa: S311
    assert (told, held) == run(loaded, items, ())
    assert len(told) > 30
