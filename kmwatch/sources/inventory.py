"""The inventory as an input: readings become lines of a journal, and lines get their place in event time.

A reading is compared with what was told before; what is new, changed or gone is told, and then, if somebody waits for
it, that the reading is complete. The lines are the store's to keep, in the transaction that counts them, so that
neither a crash nor another instance can make them say something else; a replay over them is as the day was
(docs/adr/0013).

Whoever reads may take its time, on a thread; only `take` is called for each batch, and nearly always finds nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

from kmwatch.core.model import SECOND, Micros, Secret
from kmwatch.ports import News
from kmwatch.wire.stock import Line, bounded, entry, make, portions, record

_MOST = 20  # lines told at once, 256 KB each
_REBASE = 10_000  # lines after which everything is written anew, so that older ones can go
_SLACK: Micros = 5 * SECOND  # by how much what a database shows may lag behind what the Key Manager has answered


class _Changes(Struct):
    """What a reading found, as far as it is not told yet."""

    secrets: list[list[Secret]]  # in portions
    gone: list[str]
    read: Micros | None

    def empty(self) -> bool:
        """Whether it found what was known."""
        return not self.secrets and not self.gone


class _Telling(Struct):
    """What one claim on the store has told, and has yet to tell."""

    told: dict[str, Secret]
    begun: bool
    due: _Changes | None = None


class InventorySource:
    """One configured inventory, whatever it is read from. `take` and `began` are the pipeline's, the rest the app's."""

    def __init__(self) -> None:
        """Nothing has been read yet, so nothing is told."""
        self._latest: tuple[Secret, ...] | None = None
        self._telling: _Telling | None = None

    def began(self, told: Mapping[str, Secret], *, begun: bool) -> None:
        """A claim was taken: this is what the store will know, and whether readings or the configuration told it."""
        telling = self._telling = _Telling(dict(told), begun)
        if begun and self._latest is not None:
            telling.due = _changes(telling.told, self._latest, None)

    def give(self, secrets: Iterable[Secret] | None) -> None:
        """Take the reading of the start, or of a new configuration: a claim follows, and makes something of it.

        None: there is no inventory (any more), and nothing to tell.
        """
        self._latest = None if secrets is None else tuple(secrets)

    async def offer(self, secrets: Iterable[Secret], since: Micros | None) -> None:
        """Take a reading.

        Args:
            secrets: all of it.
            since: event time when it began: what was answered well before that is in it. None: nobody knows.
        """
        telling, latest = self._telling, tuple(secrets)
        self._latest = latest
        if telling is None or not telling.begun:
            return  # the base will be made of it
        telling.due = None  # what it still had to tell is in this one too, and `told` stands still meanwhile
        changes = await asyncio.to_thread(_changes, telling.told, latest, None if since is None else since - _SLACK)
        if telling is self._telling:
            telling.due = changes

    def take(self, moment: Micros | None, number: int, *, waited_for: bool) -> News:
        """What there is to tell now.

        Args:
            moment: its place in event time; None: there is none yet.
            number: of the next line.
            waited_for: somebody waits for what readings tell, so that one that tells nothing new matters too.
        """
        telling = self._telling
        if telling is None or (telling.begun and telling.due is None):
            return News([], [])
        if not telling.begun:
            return News([], []) if self._latest is None else self._base(telling, number)
        if moment is None:
            return News([], [])
        if telling.due is not None and telling.due.empty() and (not waited_for or telling.due.read is None):
            telling.due = None
        lines = list(islice(_lines(telling, moment, number), _MOST))
        kept = list(lines)
        after = number + len(lines)
        if telling.due is None and number // _REBASE != after // _REBASE:
            kept += _whole(telling.told.values(), after, moment)
        return News([record(line) for line in lines], [entry(line) for line in kept])

    def _base(self, telling: _Telling, number: int) -> News:
        """The first that a store hears: all there is."""
        telling.told, telling.begun = {secret.id: secret for secret in self._latest or ()}, True
        lines = _whole(telling.told.values(), number, None)
        return News([record(line) for line in lines], [entry(line) for line in lines])


def _whole(secrets: Iterable[Secret], number: int, at: Micros | None) -> list[Line]:
    """Everything that is known, as a base; of nothing it is one line."""
    parts = list(portions(list(secrets))) or [[]]
    return [make(number + index, at, part, base=True) for index, part in enumerate(parts)]


def _lines(telling: _Telling, at: Micros, number: int) -> Iterator[Line]:
    """The lines of what is due; each is told when it has been made."""
    while (due := telling.due) is not None:
        secrets = due.secrets.pop(0) if due.secrets else []
        gone, read = list[str](), None
        if not due.secrets:
            gone, read, telling.due = due.gone, due.read, None
        telling.told.update((secret.id, secret) for secret in secrets)
        for one in gone:
            telling.told.pop(one, None)
        yield make(number, at, secrets, gone, read)
        number += 1


def _changes(told: Mapping[str, Secret], latest: Sequence[Secret], read: Micros | None) -> _Changes:
    """What is in a reading that was not told, or not so, and what is not in it any more."""
    fresh = [secret for secret in latest if (known := told.get(secret.id)) != secret and known != bounded(secret)]
    here = {secret.id for secret in latest}
    return _Changes(list(portions(fresh)), [one for one in told if one not in here], read)
