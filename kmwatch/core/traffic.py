"""How many requests there were of each class: what shares are shares of.

Rules that ask "how many of all" do not look at each request; they ask here. A class is all that decides which rules
an event concerns, so that counting one costs the detector a single addition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import msgpack

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import SECOND, AuditEvent, Failure, Kind, Micros, Outcome, Witness

_STEPS = 60  # a span's counts are exact to a sixtieth of the longest
_MOST = 2048  # classes counted apart; flags are a closed set, so that more is somebody's play


class EventClass(NamedTuple):
    """All that decides which rules an event concerns."""

    kind: Kind
    outcome: Outcome
    failure: Failure | None
    seen_in: tuple[Witness, ...]
    flags: tuple[str, ...]


def class_of(event: AuditEvent) -> EventClass:
    """The class of an event."""
    return EventClass(event.kind, event.outcome, event.failure, event.seen_in, event.flags)


def _place(counted: tuple[EventClass, int]) -> bytes:
    """A class's place in a row: by its bytes, for what was restored may show itself otherwise than what was not."""
    return msgpack.encode(counted[0])


class Counter:
    """The events of one class in the current step."""

    __slots__ = ("count", "of")

    def __init__(self, of: EventClass) -> None:
        """Count from 0."""
        self.of = of
        self.count = 0


Wanted = Callable[[EventClass], bool]
_Step = list[tuple[EventClass, int]]


class Traffic:
    """Counts of the latest steps, in the order in which events are told."""

    def __init__(self) -> None:
        """Keep nothing until somebody says for how long."""
        self.turn: Micros = -(2**62)  # when the current step ends; whoever counts later calls `fold` first
        self.began: Keyed[Micros] = Keyed("traffic/began", int, len(Witness))
        self._steps: Keyed[_Step] = Keyed("traffic/steps", _Step, 2 * _STEPS)
        self._now: dict[EventClass, Counter] = {}
        self._summed: dict[tuple[object, ...], tuple[int, list[int]]] = {}  # a cache: by span and wanted
        self._step: Micros = SECOND
        self._number = 0
        self._kept = 0

    def keep(self, span: Micros) -> None:
        """Be able to tell of this span; called before anything is counted."""
        self._step = max(self._step, span // _STEPS)
        self._kept = max(self._kept, -(-span // self._step))

    def counter(self, of: EventClass, event_time: Micros) -> Counter:
        """The counter of a class; add to its `count`.

        Args:
            of: the class.
            event_time: of its first event, from which each witness's word counts.
        """
        for witness in of.seen_in:
            if self.began.get(witness) is None:
                self.began.put(witness, event_time)
        known = self._now.get(of)
        if known is None:
            if len(self._now) >= _MOST:
                of = of._replace(flags=())
            known = self._now.setdefault(of, Counter(of))
        return known

    def fold(self, at: Micros) -> None:
        """Begin the step that this time lies in."""
        self._write()
        for counter in self._now.values():
            counter.count = 0
        self._number = at // self._step
        self.turn = (self._number + 1) * self._step
        for key in [key for key, _ in self._steps.items() if int(key) < self._number - self._kept]:
            self._steps.pop(key)

    def move(self, before: AuditEvent, now: AuditEvent) -> None:
        """An event that was counted is told again: it counts as what it is now, where it was."""
        key = str(before.observed_time // self._step)
        if int(key) == self._number:
            self.counter(class_of(before), before.event_time).count -= 1
            self.counter(class_of(now), now.event_time).count += 1
        elif (step := self._steps.get(key)) is not None:
            counts = dict(step)
            for of, more in ((class_of(before), -1), (class_of(now), 1)):
                counts[of] = counts.get(of, 0) + more
            self._steps.put(key, sorted(((of, count) for of, count in counts.items() if count), key=_place))
            self._summed.clear()

    def within(self, span: Micros, at: Micros, wanted: Sequence[Wanted]) -> list[int]:
        """How many events of the wanted classes there were in the span that ends at this time.

        Args:
            span: at most what `keep` was told.
            at: not before what was counted last.
            wanted: functions of a module, always the same: what they say is remembered by step.
        """
        key = span, *wanted
        known = self._summed.get(key)
        if known is None or known[0] != self._number:
            known = self._summed[key] = self._number, self._past(span, at, wanted)
        present = [(counter.of, counter.count) for counter in self._now.values() if counter.count]
        return [past + sum(n for of, n in present if test(of)) for past, test in zip(known[1], wanted, strict=True)]

    def _past(self, span: Micros, at: Micros, wanted: Sequence[Wanted]) -> list[int]:
        """The sums of the steps of a span that are over."""
        since, current, counts = (at - span) // self._step, str(self._number), dict[EventClass, int]()
        for key, step in self._steps.items():
            if key != current and int(key) > since:
                for of, count in step:
                    counts[of] = counts.get(of, 0) + count
        return [sum(n for of, n in counts.items() if test(of)) for test in wanted]

    def states(self) -> Iterable[Keyed[object]]:
        """The counts, and when each witness first told of anything; the current step included."""
        self._write()
        return (self._steps, self.began)  # type: ignore[return-value]  # read by name and bytes only

    def restored(self) -> None:
        """Go on in the step of the last commit."""
        latest = max((int(key) for key, _ in self._steps.items()), default=None)
        if latest is not None:
            self._number, self.turn = latest, (latest + 1) * self._step
            for of, count in self._steps.get(str(latest)) or ():
                self._now.setdefault(of, Counter(of)).count = count

    def _write(self) -> None:
        counted = sorted(  # counters outlive their step, but no restart: their own order would tell of it
            ((counter.of, counter.count) for counter in self._now.values() if counter.count), key=_place
        )
        if counted and counted != self._steps.get(str(self._number)):
            self._steps.put(str(self._number), counted)
