"""Per-key state that an attacker may inflate: bounded, least recently used goes first, changes are known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from msgspec import msgpack

V = TypeVar("V")


class Keyed(Generic[V]):
    """A bounded map from key to state, with the keys that changed since the last commit.

    `name` is stable: persistent rows carry it. Values are msgspec types; `decode` reads one back.
    """

    def __init__(self, name: str, type_: type[V], limit: int, on_evict: Callable[[str, V], None] | None = None) -> None:
        """Hold at most `limit` keys; `on_evict` hears of each that had to go."""
        self.name = name
        self.evicted = 0
        self.changed: dict[str, None] = {}  # in the order of the latest change, which a restore must keep
        self._items: OrderedDict[str, V] = OrderedDict()
        # The state of a key, without touching it. The map's own, for rules ask more often than anything else is done.
        self.get: Callable[[str], V | None] = self._items.get
        self._limit = limit
        self._on_evict = on_evict
        self._decoder = msgpack.Decoder(type_)

    def __len__(self) -> int:
        """How many keys have state."""
        return len(self._items)

    def items(self) -> Iterator[tuple[str, V]]:
        """Keys and values, least recently used first."""
        return iter(self._items.items())

    def put(self, key: str, value: V) -> None:
        """Set the state of a key and make it the most recent."""
        items, changed = self._items, self.changed
        items[key] = value
        items.move_to_end(key)
        if key in changed:
            del changed[key]
        changed[key] = None
        while len(items) > self._limit:  # more than one too many where a restart lowered the limit
            oldest, state = self._items.popitem(last=False)
            self._change(oldest)
            self.evicted += 1
            if self._on_evict is not None:
                self._on_evict(oldest, state)

    def pop(self, key: str) -> V | None:
        """Forget a key."""
        self._change(key)
        return self._items.pop(key, None)

    def forget_while(self, over: Callable[[V], bool]) -> None:
        """Forget the least recently used for as long as `over` holds for them."""
        while self._items:
            key = next(iter(self._items))
            if not over(self._items[key]):
                return
            self.pop(key)

    def restore(self, key: str, packed: bytes) -> None:
        """Take back a row of an earlier commit."""
        self._items[key] = self._decoder.decode(packed)

    def take_changes(self) -> Iterator[tuple[str, bytes | None]]:
        """The rows to write (None: delete) since the last call, in the order in which they were last used."""
        changed, self.changed = self.changed, {}
        for key in changed:
            value = self._items.get(key)
            yield key, None if value is None else msgpack.encode(value)

    def _change(self, key: str) -> None:
        self.changed.pop(key, None)
        self.changed[key] = None
