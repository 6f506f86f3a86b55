"""Dumps of topics. A consumer that writes all partitions into one file writes them as they come, not by time.

Read as one stream, the records of the partition that was written last would all be late. Read side by side, each
partition is what it was in Kafka: a stream in its own order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kmwatch.core.model import SECOND

_PARTITION = re.compile(rb'"partition": ?([0-9]{1,9})[,}]')
_STAMP = re.compile(rb'"(?:ts|timestamp_ms)": ?([0-9]{1,16})[,}]')
_HEAD = 500  # octets: what says where a record stood comes before what it says
_APART = 2 * SECOND  # less than that is one stream for all that follows


def partition_of(line: bytes) -> int | None:
    """The partition that a recorded Kafka record stood in, where its line begins with that.

    In a line that is no JSON object, a client may have written what looks like it: uWSGI quotes nothing.
    """
    found = _PARTITION.search(line, 0, _HEAD) if line[:2] == b'{"' else None
    return None if found is None else int(found[1])


def apart(lines: Iterable[bytes]) -> list[int | None]:
    """The partitions of a dump that cannot be read as one stream, since they do not keep step with each other.

    Returns:
        All that its lines name, None for lines that name none; empty where one stream will do.
    """
    reached: dict[int | None, int] = {}  # milliseconds, by partition
    latest, step = 0, _APART // 1000
    scattered = False
    for line in lines:
        partition = partition_of(line)
        stamp = _STAMP.search(line, 0, _HEAD)
        at = latest if stamp is None else int(stamp[1])
        scattered = scattered or (at + step < latest and at >= reached.get(partition, 0))
        reached[partition] = max(at, reached.get(partition, 0))
        latest = max(latest, at)
    if not scattered:
        return []
    return sorted(reached, key=lambda partition: -1 if partition is None else partition)
