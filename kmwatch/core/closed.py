"""The memory of closed requests, so that a record delivered twice is counted once.

Bounded by two generations: when the younger is full it becomes the older, and the older is forgotten. At least
`GENERATION` requests are remembered. 16-byte digests keep it small; their addition is append-only, so persisting
it costs one row a commit.
"""

from __future__ import annotations

from hashlib import blake2b

GENERATION = 131_072
_DIGEST = 16
_COMPLETE = -1  # every slot


class ClosedKeys:
    """Digest -> slots seen, for requests that are closed."""

    def __init__(self, generation: int = GENERATION) -> None:
        """Remember at least `generation` keys."""
        self._generation = generation
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self.fresh = bytearray()  # what was added since the last commit, packed
        self.turned = False  # a generation was forgotten since the last commit

    def add(self, key: str, slots: int, *, complete: bool) -> None:
        """Remember a closed request and what was seen of it."""
        self._put(_digest(key), _COMPLETE if complete else slots, fresh=True)

    def slots(self, key: str) -> int:
        """The slots seen of a closed request: 0 if it is not known, all bits if it was complete."""
        digest = _digest(key)
        return self._young.get(digest, 0) or self._old.get(digest, 0)

    def restore(self, packed: bytes) -> None:
        """Take back what `fresh` held in an earlier commit; call in the order of commits."""
        step = _DIGEST + 1
        for at in range(0, len(packed), step):
            self._put(
                packed[at : at + _DIGEST],
                int.from_bytes(packed[at + _DIGEST : at + step], signed=True),
                fresh=False,
            )

    def _put(self, digest: bytes, slots: int, *, fresh: bool) -> None:
        before = self._young.get(digest, 0)
        self._young[digest] = before | slots
        if fresh:
            self.fresh += digest + (slots if slots < 0 else slots & 0x7F).to_bytes(1, signed=True)
        if len(self._young) >= self._generation:
            self._old, self._young, self.turned = self._young, {}, True


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
