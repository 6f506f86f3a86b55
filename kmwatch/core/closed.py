"""The memory of closed requests, so that a record delivered twice is counted once.

Bounded by two generations: when the younger is full it becomes the older, and the older is forgotten. At least
`GENERATION` requests are remembered. 16-byte digests keep it small; their addition is append-only, so persisting
it costs one row a commit.
"""

from __future__ import annotations

from binascii import unhexlify
from hashlib import blake2b

GENERATION = 131_072
_DIGEST = 16
_REQUEST_ID = 40  # characters of "req-" and a UUID
_EVERYTHING = b"\xff"  # packed form of -1: every slot was seen


class ClosedKeys:
    """Digest -> slots seen, for requests that are closed."""

    def __init__(self, generation: int = GENERATION) -> None:
        """Remember at least `generation` keys."""
        self._generation = generation
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self.fresh = bytearray()  # what was added since the last commit, packed
        self.turned = False  # a generation was forgotten since the last commit

    def add(self, digest: bytes, slots: int) -> None:
        """Remember a closed request, by the digest of its key, and what was seen of it (-1: everything)."""
        self.fresh += digest
        self.fresh += _EVERYTHING if slots < 0 else slots.to_bytes(1)
        self._put(digest, slots)

    def complete(self, digest: bytes) -> None:
        """Remember a request of which everything was seen."""
        self.fresh += digest + _EVERYTHING
        young = self._young
        young[digest] = -1
        if len(young) >= self._generation:
            self._turn()

    def slots(self, digest: bytes) -> int:
        """The slots seen of a closed request: 0 if it is not known, all bits if it was complete."""
        return self._young.get(digest, 0) or self._old.get(digest, 0)

    def restore(self, packed: bytes) -> None:
        """Take back what `fresh` held in an earlier commit; call in the order of commits."""
        step = _DIGEST + 1
        for at in range(0, len(packed), step):
            slots = packed[at + _DIGEST]
            self._put(packed[at : at + _DIGEST], -1 if slots == _EVERYTHING[0] else slots)

    def _put(self, digest: bytes, slots: int) -> None:
        young = self._young
        young[digest] = slots if slots < 0 else young.get(digest, 0) | slots
        if len(young) >= self._generation:
            self._turn()

    def _turn(self) -> None:
        self._old, self._young, self.turned = self._young, {}, True


def digest_of(key: str) -> bytes:
    """16 bytes for a join key: the UUID's own of a request id as oslo.middleware makes it, else a hash."""
    if len(key) == _REQUEST_ID and key[:4] == "req-":
        try:
            digest = unhexlify(key[4:].replace("-", ""))
        except ValueError:
            digest = b""
        if len(digest) == _DIGEST:
            return digest
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
