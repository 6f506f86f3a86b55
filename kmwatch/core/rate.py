"""Rates of declarations: the one condition of the caller map that needs memory."""

from __future__ import annotations

from msgspec.structs import replace

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import MINUTE, AuditEvent, Match, Micros, Nearest, Reason


class Rates:
    """Distinct secrets by declaration and caller, each within its declaration's window."""

    def __init__(self, limit: int) -> None:
        """Remember at most `limit` pairs of declaration and caller."""
        self.state: Keyed[dict[str, Micros]] = Keyed("rates", dict[str, Micros], limit)

    def hold(self, match: Match, event: AuditEvent) -> Match:
        """The match, or the broken rate if this read is one secret too many.

        Where several declarations with rates fit, each counts the read, and the first with room explains it; if none
        has room, but another declaration cannot be decided, neither can the read: so a declaration more never makes a
        read unexplained.

        Args:
            match: explained, by a declaration with a rate.
            event: the read; events come in the order of their time.
        """
        first = self._hold(match, event)
        if not match.others:
            return first
        others = [self._hold(other, event) for other in match.others]
        if first.explained:
            return first
        explained = next((held for held in others if held.explained), None)
        return explained or next((held for held in others if held.explained is None), first)

    def _hold(self, match: Match, event: AuditEvent) -> Match:
        rate = match.rate
        if rate is None:
            return match
        key = f"{match.declaration}\n{event.initiator.user_id}"
        reads = self.state.get(key)  # secret -> its latest read, in order of time
        if reads is None:
            reads = {}
        secret, at = event.target.id or event.path, event.event_time
        newest = next(reversed(reads.values()), at)
        if at >= newest:
            newest = at
            reads.pop(secret, None)
            reads[secret] = at
        elif at <= newest - rate.window:  # of another time: a host's clock is wrong, and this rate cannot tell
            return replace(match, rate=None)  # so the read counts as one without a rate does (KMW-005)
        elif reads.get(secret, 0) < at:  # late: the window ends at the newest read
            reads = dict(sorted({**reads, secret: at}.items(), key=lambda read: (read[1], read[0])))
        since = newest - rate.window
        while len(reads) > rate.limit + 1 or next(iter(reads.values())) <= since:
            del reads[next(iter(reads))]
        self.state.put(key, reads)
        if len(reads) <= rate.limit:
            return match
        expected = f"{rate.limit} distinct secrets in {rate.window / MINUTE:g} min"
        nearest = Nearest(match.declaration or "", "rate", expected, "more than that")
        return replace(match, explained=False, reason=Reason.RATE, nearest=nearest, others=())
