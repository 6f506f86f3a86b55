"""The account: what became of every record and of everything that was found. Nothing vanishes.

For each stream: consumed = ignored + rejected + duplicate + joined + waiting in an open join.
For events: made = evaluated + waiting in order. Every hit of a rule made a line or is suppressed; a finding's
closing line may come from time alone.
"""

from __future__ import annotations

from msgspec import Struct, field


class StreamAccount(Struct):
    """What became of the records of one stream."""

    consumed: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    duplicate: int = 0
    joined: int = 0

    @property
    def waiting(self) -> int:
        """Records that are in neither of the other states, and so must be in an open join."""
        done = self.duplicate + self.joined + sum(self.ignored.values()) + sum(self.rejected.values())
        return self.consumed - done


class Account(Struct):
    """Totals since the store was made."""

    streams: dict[str, StreamAccount] = field(default_factory=dict)
    events_made: int = 0
    events_evaluated: int = 0
    hits: dict[str, int] = field(default_factory=dict)  # by rule: what rules said
    lines: dict[str, int] = field(default_factory=dict)  # by rule: transitions that became a line
    suppressed: dict[str, int] = field(default_factory=dict)  # by rule: told by an earlier or a later line
    behind: dict[str, int] = field(default_factory=dict)  # by witness: what was evaluated of the logs behind the API
    shadow: dict[str, int] = field(default_factory=dict)  # by rule: lines that are routed nowhere, by configuration
    silenced: dict[str, int] = field(default_factory=dict)  # by rule: hits that a silence covers

    def stream(self, name: str) -> StreamAccount:
        """The account of a stream, opened at its first record."""
        account = self.streams.get(name)
        if account is None:
            account = self.streams[name] = StreamAccount()
        return account


def count(into: dict[str, int], key: str, more: int = 1) -> None:
    """Add to one counter of an account."""
    into[key] = into.get(key, 0) + more


Taken = tuple[str, int, str]  # stream, slot, what the join made of it (join.Joined)


class Tally(Struct):
    """What one step did, for the metrics."""

    taken: dict[Taken, int] = field(default_factory=dict)  # records that were handed to the join
    timed_out: int = 0
    late: int = 0
    unanswered: int = 0  # requests whose response never came
