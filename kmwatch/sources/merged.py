"""Several sources as one: whichever has records first is heard first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from kmwatch.core.model import Micros
from kmwatch.ports import Batch, Begun, Source


class MergedSource:
    """See `ports.Source`. Streams of different sources have different names by their make."""

    def __init__(self, sources: Sequence[Source]) -> None:
        """Read all of them."""
        self._sources = list(sources)
        self._streams: list[list[str]] = []
        self._reads: dict[int, asyncio.Task[Batch]] = {}
        self._last: dict[int, Batch] = {}

    def claimed(self, number: int) -> None:
        """Tell each."""
        for source in self._sources:
            source.claimed(number)

    async def assigned(self) -> list[str]:
        """Wait for all of them."""
        await self._cancel()
        self._last = {}
        self._streams = [await source.assigned() for source in self._sources]
        return [stream for streams in self._streams for stream in streams]

    async def seek(self, positions: Mapping[str, int]) -> Begun:
        """Each takes what it knows."""
        out = Begun()
        for source in self._sources:
            begun = await source.seek(positions)
            out.starts |= begun.starts
            out.gaps |= begun.gaps
        return out

    async def read(self, progress: Mapping[str, Micros | None]) -> Batch:
        """The next batch of any source, with the ends of all."""
        for number, source in enumerate(self._sources):
            over = number in self._last and self._last[number].ended
            if number not in self._reads and not over:
                self._reads[number] = asyncio.ensure_future(source.read(progress))
        if self._reads:
            await asyncio.wait(self._reads.values(), return_when=asyncio.FIRST_COMPLETED)
        done = next((n for n, read in self._reads.items() if read.done()), None)
        if done is None:
            return Batch([], self._at_end(), ended=True)
        batch = self._last[done] = await self._reads.pop(done)
        ended = len(self._last) == len(self._sources) and all(last.ended for last in self._last.values())
        quiet = len(self._at_end()) == sum(map(len, self._streams))
        elapsed = min(last.elapsed for last in self._last.values()) if quiet else 0
        return Batch(batch.records, self._at_end(), elapsed, ended, batch.decode)

    async def hold(self, seconds: float) -> None:
        """Hold each, once what is under way has come."""
        if self._reads:
            await asyncio.wait(self._reads.values())
        await asyncio.gather(*(source.hold(seconds) for source in self._sources))

    async def committed(self, positions: Mapping[str, int]) -> None:
        """Tell each what is its own."""
        for source, streams in zip(self._sources, self._streams, strict=False):
            await source.committed({stream: positions[stream] for stream in streams if stream in positions})

    def lag(self) -> Mapping[str, int]:
        """Of all."""
        return {stream: lag for source in self._sources for stream, lag in source.lag().items()}

    async def close(self) -> None:
        """Close each."""
        await self._cancel()
        for source in self._sources:
            await source.close()

    def _at_end(self) -> frozenset[str]:
        return frozenset().union(*(last.at_end for last in self._last.values()))

    async def _cancel(self) -> None:
        for read in self._reads.values():
            read.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await read
        self._reads = {}
