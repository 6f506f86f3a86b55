"""KMW-030: records of a stream cannot be read, or their time not believed: what they tell is lost to the rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief
from kmwatch.core.rules.counting import Buckets

META = Meta(
    "KMW-030",
    1,
    "unparsed-records",
    (),
    Settings(1, 15 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=True,
    early=False,
)
TOLERATED: Final = 1000  # one record in so many may be unreadable: 0.1 %
_ALL, _REJECTED, _SKEWED = range(3)


class UnparsedRecords:
    """One finding a stream."""

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; watch at most `limit` streams."""
        self._threshold, self._minutes = settings.threshold, settings.window / MINUTE
        self._records = Buckets("KMW-030/records", 3, settings.window, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """No event: what could not be read became none."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Hit for each stream that had such records since the last pulse, and too many in the window."""
        for stream in sorted({*pulse.records, *pulse.rejected, *pulse.skewed}):
            key = brief(stream)
            rejected, skewed = pulse.rejected.get(stream, 0), pulse.skewed.get(stream, 0)
            for column, count in ((_ALL, pulse.records.get(stream, 0)), (_REJECTED, rejected), (_SKEWED, skewed)):
                if count:
                    self._records.add(key, pulse.now, column, count)
            if rejected or skewed:
                yield from self._judge(key, pulse.now)

    def _judge(self, stream: str, now: Micros) -> Iterable[Hit]:
        records, rejected, skewed = self._records.sums(stream, now)
        if rejected + skewed < self._threshold or (rejected + skewed) * TOLERATED <= records:
            return
        told = [f"{rejected} cannot be read"] if rejected else []
        told += [f"{skewed} tell a time that cannot be"] if skewed else []
        message = f"of {records} records of {stream} within {self._minutes:g} min {' and '.join(told)}"
        reason = "rejected" if rejected else "clock_skewed"
        yield Hit(stream, (), message, None, reason, None, now, stream)

    def states(self) -> Iterable[Keyed[Any]]:
        """The counts of streams."""
        return (self._records.state,)

    def forget(self, now: Micros) -> None:
        """Let go of quiet streams."""
        self._records.forget(now)
