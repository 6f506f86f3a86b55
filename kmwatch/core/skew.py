"""How far the clock of another host is ahead of the Key Manager's, learned from requests that both have seen."""

from __future__ import annotations

from msgspec import Struct, field

from kmwatch.core.model import SECOND, Micros

ENOUGH = 5  # samples before an estimate is believed
AGREED: Micros = SECOND // 2  # the middle half of them lies within this
_KEPT = 31
_HOSTS = 256  # whoever may write to a log topic may name hosts


class Skews(Struct):
    """By host, the latest differences. The median: a few slow answers, or forged lines, do not move it."""

    samples: dict[str, list[Micros]] = field(default_factory=dict)
    estimates: dict[str, Micros] = field(default_factory=dict)

    def learn(self, host: str, difference: Micros) -> None:
        """Note what a line's clock showed more than the Key Manager's did at the same moment."""
        known = self.samples.get(host)
        if known is None:
            if len(self.samples) >= _HOSTS:
                return
            known = self.samples[host] = []
        known.append(difference)
        del known[:-_KEPT]
        if len(known) >= ENOUGH:
            self._estimate(host, sorted(known))

    def of(self, host: str) -> Micros | None:
        """The estimate, or None while there are too few samples, or they do not agree."""
        return self.estimates.get(host)

    def _estimate(self, host: str, known: list[Micros]) -> None:
        quarter = len(known) // 4
        if known[-1 - quarter] - known[quarter] <= AGREED:
            self.estimates[host] = known[(len(known) - 1) // 2]
        else:
            self.estimates.pop(host, None)
