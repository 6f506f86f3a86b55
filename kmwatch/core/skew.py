"""How far the clock of another host is ahead of the Key Manager's, learned from requests that both have seen."""

from __future__ import annotations

from statistics import median_low

from msgspec import Struct, field

from kmwatch.core.model import Micros

ENOUGH = 5  # samples before an estimate is believed
_KEPT = 31
_HOSTS = 256  # whoever may write to a log topic may name hosts


class Skews(Struct):
    """By host, the latest differences. The median: a few slow answers, or forged lines, do not move it."""

    samples: dict[str, list[Micros]] = field(default_factory=dict)

    def learn(self, host: str, difference: Micros) -> None:
        """Note what a line's clock showed more than the Key Manager's did at the same moment."""
        known = self.samples.get(host)
        if known is None:
            if len(self.samples) >= _HOSTS:
                return
            known = self.samples[host] = []
        known.append(difference)
        del known[:-_KEPT]

    def of(self, host: str) -> Micros | None:
        """The estimate, or None while there are too few samples."""
        known = self.samples.get(host)
        return None if known is None or len(known) < ENOUGH else median_low(known)
