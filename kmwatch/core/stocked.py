"""The inventory as an input: what its journal says changes what is known, and judges what waited for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from kmwatch.core.detect import Detector
from kmwatch.core.join import Ready
from kmwatch.core.keyed import Keyed
from kmwatch.core.model import Kind, Micros, Outcome, Secret
from kmwatch.core.order import Waiting
from kmwatch.core.parking import Parking
from kmwatch.core.record import StockRecord

_RETRIEVAL, _SUCCESS = Kind.RETRIEVAL, Outcome.SUCCESS  # looking a member up in its enum costs more than using it


class Patience(Struct, frozen=True):
    """How long reads wait for an inventory that does not know their secret yet, and how many may."""

    span: Micros = 0  # 0: none waits
    limit: int = 10_000


class Stocked:
    """What an engine knows of secrets, as of its own time, and who waits for more of it."""

    def __init__(self, detector: Detector, patience: Patience, changed: Callable[[], None]) -> None:
        """Change the detector's declarations, which nobody else may use; `changed` is told of it."""
        self._declarations = detector.declarations
        self.holdings = detector.declarations.holdings
        self.parking = Parking(patience.span, patience.limit, detector.lacks_secret)
        detector.beside.append(self.parking.kept)
        self._known = self.holdings.get
        self._changed = changed
        self._waits = patience.span > 0
        self._open = False  # readings tell what is known: it makes sense to wait for one

    def concerns(self, told: Ready) -> bool:
        """Whether a request may have to wait, or waits. Asked of every one, and nearly always no."""
        if not self._open:
            return False
        event = told.event
        if event.kind == _RETRIEVAL and event.outcome == _SUCCESS:
            return self._known(event.target.id) is None  # type: ignore[arg-type]  # None is unknown
        return told.before is not None and self.parking.kept.get(event.event_id) is not None

    def begin(self, record: StockRecord) -> None:
        """Take a part of the base. The first of it replaces what the configuration named, a later base says nothing."""
        self.holdings.begin()
        self._declarations.learn(record.secrets)
        self._changed()
        self._open = self._waits

    def take(self, record: StockRecord, now: Micros) -> list[Ready]:
        """Take a line of the journal at its place in time; returns what can be judged by it."""
        if record.secrets or record.gone:
            self._declarations.learn(record.secrets, record.gone)
            self._changed()
        return self.parking.leave_for(record, now)

    def told(self, waiting: Iterable[Waiting]) -> dict[str, Secret]:
        """What will be known when lines of the journal that wait for their time have been taken."""
        found = {secret.id: secret for secret in self.holdings}
        lines = (item[5] for item in waiting)
        for line in sorted((line for line in lines if isinstance(line, StockRecord)), key=_place):
            for gone in line.gone:
                found.pop(gone, None)
            found.update((secret.id, secret) for secret in line.secrets)
        return found

    def states(self) -> Iterable[Keyed[Any]]:
        """What must outlive the process, but for what waits: the detector has that beside its own."""
        return self.holdings.states()

    def restored(self) -> None:
        """Rows were taken back."""
        self._declarations.restored()
        self._changed()
        self._open = self._waits and self.holdings.begun


def _place(line: StockRecord) -> tuple[Micros, str]:
    return line.observed_time, line.key
