"""Whether a store is being set up: its log began in our sight, and it keeps nothing of the Key Manager's yet.

A log begins with the enabling of its own audit device. Whoever sets a store up goes on as root: mounts, policies,
roles, tokens. That is told as information, until somebody logs in for the Key Manager or touches a payload. Nobody can
bring that state back: once anything has been heard of a backend its log no longer begins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import HOUR, Micros
from kmwatch.core.record import BackendRecord, Deed, Result

_LONGEST: Final[Micros] = HOUR
_DEVICE: Final = "sys/audit/"
_PART_OF_IT: Final = (Deed.CHANGE, Deed.LOGIN, Deed.OTHER)


class Beginning(Struct):
    """When the log began; `over` once the store is in use, or its beginning was not seen."""

    at: Micros
    over: bool


class SetUp:
    """One small row of state."""

    def __init__(self) -> None:
        """Nothing was heard yet."""
        self._state: Keyed[Beginning] = Keyed("backend/set-up", Beginning, 1)

    def covers(self, record: BackendRecord, *, ours: bool) -> bool:
        """Whether an operation is part of a store's set-up; asked once for each, in the order of time."""
        began, at = self._state.get(""), record.observed_time
        if began is None:
            began = Beginning(at, over=not _begins(record))
            self._state.put("", began)
        if began.over:
            return False
        if at > began.at + _LONGEST or (ours and (record.deed is Deed.LOGIN or not record.control)):
            self._state.put("", Beginning(began.at, over=True))
            return False
        return record.control and record.deed in _PART_OF_IT and record.result is not Result.REFUSED

    def states(self) -> Iterable[Keyed[Any]]:
        """All memory, for commit and restore."""
        return (self._state,)


def _begins(record: BackendRecord) -> bool:
    enables = record.deed is Deed.CHANGE and record.detail.startswith("update ") and record.result is Result.OK
    return record.control and enables and (record.path or "").startswith(_DEVICE)
