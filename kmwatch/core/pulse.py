"""What a rule can know that no event tells: which records came at all, and which logs have fallen silent."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from kmwatch.core.model import Micros, Witness

Expectation = Literal["required", "expected"]  # a witness that is absent by configuration has none


class Pulse(Struct, frozen=True):
    """The state of the feed at a whole minute of event time, in order with the events.

    Counts are since the last pulse, by stream; a stream without records may be left out.
    """

    now: Micros
    records: dict[str, int] = field(default_factory=dict)  # all that were consumed, whatever became of them
    rejected: dict[str, int] = field(default_factory=dict)  # of those, the ones that could not be read
    skewed: dict[str, int] = field(default_factory=dict)  # and the ones whose time could not be believed
    last_seen: dict[Witness, Micros] = field(default_factory=dict)  # when each witness last told of anything
    expected: dict[Witness, Expectation] = field(default_factory=dict)
