"""The outbox port in memory: what delivery and the store's own contract tests are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmwatch.core.model import Finding
from kmwatch.ports import Pending


class MemoryOutbox:
    """Findings x sinks, each pending, delivered or dead."""

    def __init__(self, sinks: Iterable[str]) -> None:
        self._rows: list[Finding] = []
        self._pending: dict[str, list[int]] = {sink: [] for sink in sinks}
        self.acknowledged: dict[str, list[str]] = {sink: [] for sink in self._pending}
        self.buried: dict[str, list[tuple[str, str]]] = {sink: [] for sink in self._pending}
        self.attempts: dict[str, dict[int, int]] = {sink: {} for sink in self._pending}
        self.errors: dict[str, list[str]] = {sink: [] for sink in self._pending}
        self.reads = 0

    def put(self, *findings: Finding) -> None:
        """Commit findings for every sink."""
        for finding in findings:
            self._rows.append(finding)
            for pending in self._pending.values():
                pending.append(len(self._rows))

    def waiting(self, sink: str) -> list[str]:
        """Line ids that a sink still has to get."""
        return [self._rows[seq - 1].line_uid for seq in self._pending[sink]]

    async def pending(self, sink: str, limit: int) -> list[Pending]:
        self.reads += 1
        return [
            Pending(seq, self._rows[seq - 1], self.attempts[sink].get(seq, 0)) for seq in self._pending[sink][:limit]
        ]

    async def delivered(self, sink: str, seqs: Sequence[int]) -> None:
        self.acknowledged[sink] += [self._rows[seq - 1].line_uid for seq in self._take(sink, seqs)]

    async def failed(self, sink: str, seqs: Sequence[int], error: str) -> None:
        self.errors[sink].append(error)
        for seq in seqs:
            self.attempts[sink][seq] = self.attempts[sink].get(seq, 0) + 1

    async def dead(self, sink: str, seqs: Sequence[int], error: str) -> None:
        self.buried[sink] += [(self._rows[seq - 1].line_uid, error) for seq in self._take(sink, seqs)]

    def _take(self, sink: str, seqs: Sequence[int]) -> list[int]:
        taken = [seq for seq in seqs if seq in self._pending[sink]]
        self._pending[sink] = [seq for seq in self._pending[sink] if seq not in taken]
        return taken
