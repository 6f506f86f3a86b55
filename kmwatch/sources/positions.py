"""Where to start reading: the store's word, checked against what the group and the broker know.

The store owns the offsets. Where it and Kafka disagree something is missing (a store from an old backup, a lost
volume, a topic made anew, retention faster than we were), and a guess would hide it: kmwatch refuses, and says
what is missing and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import TopicPartition
from msgspec import Struct

from kmwatch.ports import PositionError

_WAY_OUT = "or run once with --accept-gap: it starts there, counts what is missing in /status, and goes on"


class Known(Struct, frozen=True):
    """What is known of one partition; offsets are those that come next."""

    store: int | None
    group: int | None
    first: int
    end: int


def stream_of(part: TopicPartition) -> str:
    """A partition's name as a stream."""
    return f"{part.topic}/{part.partition}"


def partition_of(stream: str) -> TopicPartition:
    """The partition of a stream's name."""
    topic, _, number = stream.rpartition("/")
    return TopicPartition(topic, int(number))


def decide(known: Mapping[str, Known], policy: str, *, accept_gap: bool) -> tuple[dict[str, int], dict[str, int]]:
    """Where each stream starts.

    Args:
        known: by stream.
        policy: "earliest" or "latest", for topics the store has never seen. A new partition of a topic that it
            has seen starts at its beginning: its first records came while nobody knew of it.
        accept_gap: start at the nearest place there is instead of refusing.

    Returns:
        The start of each stream, and how many records are missing before it where any are.

    Raises:
        PositionError: something is missing; one message tells of all streams.
    """
    seen = {partition_of(stream).topic for stream, at in known.items() if at.store is not None}
    starts: dict[str, int] = {}
    gaps: dict[str, int] = {}
    wrong: list[str] = []
    for stream, at in sorted(known.items()):
        trouble = _trouble(stream, at)
        if trouble:
            wrong.append(trouble)
        if at.store is None:
            earliest = policy == "earliest" or accept_gap or partition_of(stream).topic in seen
            starts[stream] = at.first if earliest else at.end
        else:
            starts[stream] = at.store if at.first <= at.store <= at.end else at.first
            if starts[stream] != at.store:
                gaps[stream] = max(at.first - at.store, 0)
    if wrong and not accept_gap:
        raise PositionError("; ".join(wrong) + f". Restore the store that belongs to this group, {_WAY_OUT}")
    return starts, gaps


def _trouble(stream: str, at: Known) -> str | None:
    if at.store is None:
        if at.group is None:
            return None
        return f"{stream}: the group has committed offset {at.group}, but the store knows nothing of this partition"
    if at.store < at.first:
        return f"{stream}: records {at.store} to {at.first - 1} were removed from the topic before they were read"
    if at.store > at.end:
        return f"{stream}: the store is at offset {at.store}, but the topic ends at {at.end}; it was made anew or cut"
    if at.group is not None and at.group > at.store:
        return f"{stream}: the group has committed offset {at.group}, but the store is at {at.store}: it is an old one"
    return None
