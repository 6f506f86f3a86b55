"""KMW-015: one caller, or several from one address, ask for many ids that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, MINUTE, Failure, Kind, Micros, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, brief, person
from kmwatch.core.window import Sliding

META = Meta(
    "KMW-015",
    1,
    "secret-id-probing",
    ("T1580",),
    Settings(10, 10 * MINUTE, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=True,
)
_DELETES = frozenset({Kind.DELETE, Kind.CONTAINER_DELETE, Kind.ORDER_DELETE})


class IdProbing:
    """Ids that are known to have existed are no guesses: those of the inventory, and those seen deleted.

    By address it speaks only where one address used several identities, so that one caller makes one finding.
    """

    meta = META

    def __init__(self, settings: Settings, limit: int) -> None:
        """Take threshold and window; remember at most `limit` callers, addresses and deleted ids."""
        self._callers = Sliding("KMW-015/callers", settings.threshold, settings.window, limit)
        self._addresses = Sliding("KMW-015/addresses", settings.threshold, settings.window, limit)
        self._deleted: Keyed[int] = Keyed("KMW-015/deleted", int, limit)

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Whatever was not found, and deletions to learn from."""
        return failure is Failure.NOT_FOUND or (kind in _DELETES and outcome is Outcome.SUCCESS)

    def observe(self, case: Case) -> Iterable[Hit]:
        """Count the distinct unknown ids of this caller and of this address."""
        event = case.event
        if event.target.id is None:
            return ()
        target = brief(event.target.id)
        if event.failure is not Failure.NOT_FOUND:
            self._deleted.put(target, event.event_time)
            return ()
        if self._deleted.get(target) is not None or case.declarations.secret(target) is not None:
            return ()
        return self._count(case, target)

    def _count(self, case: Case, target: str) -> list[Hit]:
        out = []
        probes = self._callers.add(case.caller, target, case.citation)
        if probes:
            message = f"{person(case.event)} asked for at least {len(probes)} ids that do not exist"
            out.append(Hit(case.caller, probes, message, reason=Failure.NOT_FOUND))
        address = case.citation.address
        if address is not None:
            probes = self._addresses.add(address, target, case.citation)
            users = {probe.user_id for probe in probes}
            if len(users) > 1:
                message = f"{len(users)} callers from {address} asked for at least {len(probes)} ids that do not exist"
                out.append(Hit(f"address:{address}", probes, message, reason=Failure.NOT_FOUND))
        return out

    def states(self) -> Iterable[Keyed[Any]]:
        """The windows of callers and addresses, and the ids seen deleted."""
        return (self._callers.state, self._addresses.state, self._deleted)

    def forget(self, now: Micros) -> None:
        """Let go of quiet callers and addresses; deleted ids stay until there are too many."""
        self._callers.forget(now)
        self._addresses.forget(now)
