"""What a stream sends again after its connection broke, and how much of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple


class WindowLimits(NamedTuple):
    """How much is sent again: every bound holds."""

    messages: int = 4096
    octets: int = 8 * 1024 * 1024
    seconds: float = 600.0  # before the connection broke; older frames have been read by any working receiver


class Window:
    """The most recent frames, oldest first."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._frames: deque[tuple[float, bytes]] = deque()
        self._octets = 0

    def add(self, now: float, frames: Sequence[bytes]) -> None:
        """Remember frames written at `now`, forgetting the oldest beyond the limits."""
        for item in frames:
            self._frames.append((now, item))
            self._octets += len(item)
        self.prune(now)

    def prune(self, now: float) -> None:
        """Forget what the limits no longer hold at `now`."""
        limits, frames = self._limits, self._frames
        while frames and (
            len(frames) > limits.messages or self._octets > limits.octets or frames[0][0] < now - limits.seconds
        ):
            self._octets -= len(frames.popleft()[1])

    def frames(self) -> list[bytes]:
        """What to send again."""
        return [item for _, item in self._frames]

    def restamp(self, now: float) -> None:
        """All of it was sent again at `now`."""
        self._frames = deque((now, item) for _, item in self._frames)
