"""KMW-045: what kmwatch goes by was changed: the caller map, a detection, a silence.

Who changed it cannot be known here; what changed, by name and digest, can. Whoever is about to read a secret may first
declare that they may.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings

META = Meta(
    "KMW-045",
    1,
    "configuration-changed",
    ("T1685", "T1562.001"),
    Settings(1, 0, Severity.LOW, Mode.ENFORCE, HOUR),
    counts=False,
    early=False,
)
_LISTED = 20  # names of a message
_BEGUN = "\nbegun"  # no name has a line break


class ConfigurationChanged:
    """Compares the names and digests of now with those of the last run, once, at the first pulse after a start."""

    meta = META

    def __init__(self, limit: int, declared: Mapping[str, str]) -> None:
        """Take what is declared now: a digest by name, such as "allow/octavia-lb"."""
        self._declared = {name[:200]: digest for name, digest in list(declared.items())[: max(limit - 1, 1)]}
        self._known: Keyed[str] = Keyed("KMW-045/known", str, max(limit, 2))
        self._compared = False

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """No event."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing."""
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Hit if anything differs from what the last run knew; a first run only takes note."""
        if self._compared:
            return ()
        self._compared = True
        known = {name: digest for name, digest in self._known.items() if name != _BEGUN}
        first = self._known.get(_BEGUN) is None
        added = sorted(self._declared.keys() - known.keys())
        removed = sorted(known.keys() - self._declared.keys())
        changed = sorted(name for name in known.keys() & self._declared.keys() if known[name] != self._declared[name])
        for name in removed:
            self._known.pop(name)
        for name in (*added, *changed):
            self._known.put(name, self._declared[name])
        if first:
            self._known.put(_BEGUN, "")
        if first or not (added or removed or changed):
            return ()
        return (self._hit(pulse.now, {"added": added, "removed": removed, "changed": changed}),)

    def _hit(self, now: Micros, found: Mapping[str, list[str]]) -> Hit:
        told = [f"{what} {_names(names, self._declared)}" for what, names in found.items() if names]
        sections = sorted({name.partition("/")[0] for names in found.values() for name in names})
        message = f"the configuration was changed: {'; '.join(told)}"
        return Hit("configuration", (), message, None, "+".join(sections), None, now, "configuration")

    def states(self) -> Iterable[Keyed[Any]]:
        """What the last run knew."""
        return (self._known,)

    def forget(self, now: Micros) -> None:
        """Nothing: there is as much as is configured."""


def _names(names: list[str], digests: Mapping[str, str]) -> str:
    shown = [f"{name} ({digests[name][:8]})" if name in digests else name for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(shown) + more
