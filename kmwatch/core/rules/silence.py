"""Which witnesses have fallen silent, and whether that means anything (a part of KMW-025).

A log that shows nothing may have nothing to show: at night nobody reads. So a silent witness is told of gravely only
where others saw requests that it must have seen too; health checks, which a proxy logs all night, are none. Where
nobody saw anything, a silence is told if it is longer than those before it: nights are learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import MINUTE, Micros, Severity, Witness
from kmwatch.core.pulse import Expectation, Pulse
from kmwatch.core.rules.base import Case, Hit
from kmwatch.core.rules.counting import Recent

REASON: Final = "witness_silent"
LACKING = {  # flag of an event that a witness should have told of -> the witness
    "audit_missing": Witness.CADF,
    "service_log_missing": Witness.SERVICE_LOG,
    "access_log_missing": Witness.ACCESS_LOG,
    "proxy_log_missing": Witness.PROXY_LOG,
}
_CITED = 4  # requests that show the silence
_WITNESSES = len(Witness)


class Heard(Struct, frozen=True):
    """What is known of a witness: waited for since, whether its silence is told, and how long it is silent at times."""

    since: Micros
    told: bool = False
    quiet: Micros | None = None  # when it was last heard, while it is silent
    longest: Micros = 0  # of its silences that ended


class Silence:
    """The witnesses, and the latest requests that each lacks."""

    def __init__(self, severity: Severity, span: Micros) -> None:
        """Take the severity of a required witness's silence, and how long a silence must last."""
        self._severity = severity
        self._span = span
        self._heard: Keyed[Heard] = Keyed("KMW-025/witnesses", Heard, _WITNESSES)
        self._lacking = Recent("KMW-025/lacking", _CITED, span, _WITNESSES)

    def observe(self, case: Case) -> None:
        """Note what a request that has flags lacks."""
        for flag in case.event.flags:
            witness = LACKING.get(flag)
            if witness is not None:
                self._lacking.add(witness.value, case.event.observed_time, case.citation)

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Hits of the witnesses that are silent, and of those that speak again."""
        for witness in Witness:
            expectation = pulse.expected.get(witness)
            if expectation is not None:
                yield from self._look(witness, expectation, pulse)

    def _look(self, witness: Witness, expectation: Expectation, pulse: Pulse) -> Iterable[Hit]:
        key = f"silent:{witness}"
        heard = self._heard.get(witness) or Heard(pulse.now)
        last = pulse.last_seen.get(witness, heard.since)
        silent = pulse.now - last >= self._span
        lacking = self._lacking.within(witness, pulse.now) if silent else ()
        unusual = pulse.now - last >= heard.longest + max(heard.longest // 4, self._span)
        alone = expectation == "required" and unusual  # nobody else tells that anything is lacking
        if silent and (lacking or (alone and not heard.told)):
            least = self._severity if expectation == "required" and lacking else Severity.MEDIUM
            message = _message(witness, expectation, (pulse.now - last) // MINUTE, len(lacking))
            severity = min(least, self._severity)
            yield Hit(key, lacking, message, None, REASON, severity, pulse.now, witness.value)
        elif heard.told and not silent:
            message = f"the {expectation} witness {witness} is heard again"
            yield Hit(key, (), message, None, REASON, time=pulse.now, subject=witness.value, closes=True)
        told = silent and (heard.told or bool(lacking) or alone)
        longest = heard.longest if silent or heard.quiet is None else max(heard.longest, last - heard.quiet)
        known = Heard(heard.since, told, last if silent else None, longest)
        if known != self._heard.get(witness):
            self._heard.put(witness.value, known)

    def states(self) -> Iterable[Keyed[Any]]:
        """Since when each witness is waited for, and what it lacks."""
        return (self._heard, self._lacking.state)


def _message(witness: Witness, expectation: Expectation, minutes: int, lacking: int) -> str:
    told = f"the {expectation} witness {witness} has told of nothing for {minutes} min"
    if lacking:
        return f"{told}, while others told of requests that it must have seen"
    return f"{told}: all is quiet, or its log does not arrive"
