"""The benchmark's records: the bundled recording's requests again and again, each time with ids of its own."""

from __future__ import annotations

import gzip
import random
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

RECORDING = Path(__file__).parents[2] / "config" / "recording"
SEED = 7
PER_SECOND = 40  # requests a second of event time: the recording's own density
ATTACKS = 0.01  # share of requests that a detection of the recording cites
_STAMP = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{6}")
_EVENT_ID = re.compile(rb'payload\\": \{\\"typeURI\\".*?\\"id\\": \\"([0-9a-f-]{36})')
_REQUEST_ID = re.compile(rb"req-[0-9a-f-]{36}")
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def templates(cited: frozenset[str]) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """The values of the recording by request, in two lists: requests that no finding cites, and those cited."""
    requests: dict[str, list[bytes]] = {}
    with gzip.open(RECORDING / "cadf.jsonl.gz") as file:
        for line in file:
            value = orjson.loads(line)["value"].encode()
            found = _REQUEST_ID.search(value)
            assert found is not None
            requests.setdefault(found[0].decode(), []).append(value)
    ordinary = [values for rid, values in requests.items() if rid not in cited]
    return ordinary, [values for rid, values in requests.items() if rid in cited]


def records(count: int, cited: frozenset[str]) -> Iterator[tuple[int, bytes]]:
    """Partition and value of each record, in the order of production. The same count gives the same records."""
    rng = random.Random(SEED)  # noqa: S311  (reproducible on purpose)
    ordinary, attacks = templates(cited)
    for number in range(count // 2):
        values = rng.choice(attacks if rng.random() < ATTACKS else ordinary)
        began = _BEGIN + timedelta(seconds=number / PER_SECOND)
        ids = [str(uuid.UUID(int=rng.getrandbits(128))).encode() for _ in range(2)]
        for value in values:
            yield rng.randrange(4), _renewed(value, began, ids)


def _renewed(value: bytes, began: datetime, ids: list[bytes]) -> bytes:
    stamp = began.strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
    value = _STAMP.sub(stamp, value)
    found = _EVENT_ID.search(value)
    assert found is not None
    return _REQUEST_ID.sub(b"req-" + ids[0], value.replace(found[1], ids[1]))
