"""KMW-031: a secret that callers still read expires soon, or has expired. The Key Manager itself tells nobody.

After its expiration the Key Manager answers 404, and whoever needs the secret fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kmwatch.core.declaration import Declarations
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, Failure, Kind, Micros, Mode, Outcome, Secret, Severity
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Meta, Settings
from kmwatch.core.rules.history import Reads

META = Meta(
    "KMW-031",
    1,
    "secret-expiring",
    (),
    Settings(1, 30 * DAY, Severity.MEDIUM, Mode.ENFORCE, DAY),
    counts=True,
    early=False,
)
STEPS: Final = (30, 7, 1, 0)  # days before; 0: it has expired
_LISTED = 200  # secrets of one hit
_LOOKED = "looked"


class SecretExpiring:
    """Looks once a day of event time; tells once at each step, by owning project, of secrets read within the window."""

    meta = META

    def __init__(self, settings: Settings, limit: int, declarations: Declarations, reads: Reads) -> None:
        """Take the window within which a read shows that a secret is in use."""
        self.shared = (reads,)
        self._window, self._reads, self._declarations = settings.window, reads, declarations
        self._told: Keyed[int] = Keyed("KMW-031/told", int, limit)
        self._day: Keyed[int] = Keyed("KMW-031/day", int, 1)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:  # noqa: ARG002
        """None: reads are remembered for several rules."""
        return False

    def observe(self, case: Case) -> Iterable[Hit]:  # noqa: ARG002
        """Nothing to look at."""
        return ()

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        """Look, once a day."""
        day = pulse.now // DAY
        if self._day.get(_LOOKED) == day:
            return ()
        self._day.put(_LOOKED, day)
        return self._look(pulse.now)

    def _look(self, now: Micros) -> Iterable[Hit]:
        due: dict[tuple[int, str], list[Secret]] = {}
        for secret in self._declarations.expiring(now - STEPS[0] * DAY, now + STEPS[0] * DAY):
            left = (secret.expires or now) - now
            step = 0 if left <= 0 else min(s for s in STEPS if s and left <= s * DAY)
            read, told = self._reads.last(secret.id), self._told.get(secret.id)
            in_use = read is not None and now - read.at <= self._window
            if in_use and (told is None or step < told):
                self._told.put(secret.id, step)
                due.setdefault((step, secret.project_id or "unknown"), []).append(secret)
        for (step, project), secrets in sorted(due.items()):
            yield _hit(step, project, secrets, now)

    def states(self) -> Iterable[Keyed[Any]]:
        """Reads by secret, and what was told."""
        return (self._reads.state, self._told, self._day)

    def forget(self, now: Micros) -> None:
        """Let go of what is old."""
        self._reads.forget(now)


def _hit(step: int, project: str, secrets: list[Secret], now: Micros) -> Hit:
    names = ", ".join(sorted(s.name or s.id for s in secrets)[:3])
    more = f" and {len(secrets) - 3} more" if len(secrets) > 3 else ""  # noqa: PLR2004
    when = "have expired" if step == 0 else f"expire within {step} day{'s' if step > 1 else ''}"
    message = f"secrets of project {project} that are still read {when}: {names}{more}"
    listed = tuple(sorted(s.id for s in secrets)[:_LISTED])
    reason = "expired" if step == 0 else f"expires_{step}d"
    return Hit(f"{reason} {project}", (), message, None, reason, None, now, project, secrets=listed)
