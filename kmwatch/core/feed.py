"""What is known of the feed itself: how much came of each stream, what could not be read, which logs speak.

Whole minutes of event time cut it into pulses. A record counts in the minute of its own place in time, so that the
cut of batches and the order of arrival decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from kmwatch.core.account import count
from kmwatch.core.expected import witness_of
from kmwatch.core.model import HOUR, MINUTE, Micros, Witness
from kmwatch.core.pulse import Expectation, Pulse

_LONGEST: Micros = 6 * HOUR  # of a gap that is pulsed minute by minute: all windows of the rules that watch are shorter
_NEVER: Micros = 2**62
_SKEWED = "clock_skewed"


class Feed(Struct):
    """Counts since the last pulse, and when each witness last told of anything."""

    pulsed: Micros | None = None  # the minute of the last pulse; None until the first record
    records: dict[str, int] = field(default_factory=dict)  # by stream, of the records that tell of a request
    skewed: dict[str, int] = field(default_factory=dict)
    rejected: dict[Micros, dict[str, int]] = field(default_factory=dict)  # by minute, then stream
    heard: dict[int, Micros] = field(default_factory=dict)  # by slot

    @property
    def next_minute(self) -> Micros:
        """When the next pulse is due; at once if there was none."""
        return -_NEVER if self.pulsed is None else self.pulsed + MINUTE

    def reject(self, stream: str, at: Micros) -> None:
        """Note a record that could not be read, and about when it was written."""
        minute = at // MINUTE * MINUTE
        if self.pulsed is not None and minute < self.pulsed:
            minute = self.pulsed
        count(self.rejected.setdefault(minute, {}), stream)

    def skew(self, stream: str, flags: tuple[str, ...]) -> None:
        """Note the flags of a record that has some."""
        if _SKEWED in flags:
            count(self.skewed, stream)

    def due(self, now: Micros) -> Iterator[Micros]:
        """The whole minutes that have passed, up to and including `now`. Take each pulse before asking for the next."""
        latest = now // MINUTE * MINUTE
        if self.pulsed is None:
            self.pulsed = latest
        if latest - self.pulsed > _LONGEST:
            yield self.pulsed + MINUTE
            self.pulsed = latest - _LONGEST
        while self.pulsed < latest:
            yield self.pulsed + MINUTE

    def pulse(self, now: Micros, expected: dict[Witness, Expectation]) -> Pulse:
        """The pulse of a whole minute; what it tells is told."""
        rejected: dict[str, int] = {}
        for minute in [minute for minute in self.rejected if minute < now]:
            for stream, n in self.rejected.pop(minute).items():
                count(rejected, stream, n)
        records = self.records
        for stream, n in rejected.items():
            count(records, stream, n)
        skewed, self.records, self.skewed, self.pulsed = self.skewed, {}, {}, now
        return Pulse(now, records, rejected, skewed, self.last_seen(), expected)

    def last_seen(self) -> dict[Witness, Micros]:
        """When each witness last told of anything, in event time."""
        out: dict[Witness, Micros] = {}
        for slot, at in self.heard.items():
            witness = witness_of(slot)
            out[witness] = max(at, out.get(witness, at))
        return out
