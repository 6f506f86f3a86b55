"""What several rules remember of a secret: who read it last, and how its ACL was changed. Kept once, shared.

Each rule notes what it is shown before it asks, and noting a request twice changes nothing: so it does not matter which
of the rules are on.
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Citation, Kind, Micros
from kmwatch.core.rules.base import Case, brief

_CHANGES = 8  # of one ACL
_GRAIN: Micros = HOUR  # how exactly the time of a read by the same caller is kept
_KEPT: Micros = 100 * DAY


class LastRead(Struct, frozen=True, gc=False):
    """The latest read of a secret, and who read it."""

    at: Micros
    by: str
    other: Micros = 0  # the latest read by somebody else than `by`


class Reads:
    """The latest read of each secret."""

    def __init__(self, limit: int) -> None:
        """Remember at most `limit` secrets."""
        self.state: Keyed[LastRead] = Keyed("reads", LastRead, limit)
        self._noted: Case | None = None

    def note(self, case: Case) -> None:
        """Remember a successful read; cheap where other rules have, or where the same caller reads again and again."""
        if case is self._noted:
            return
        self._noted = case
        event = case.event
        target, at = event.target, event.event_time
        if target.type != "secret" or target.id is None:
            return
        last, by = self.state.get(target.id), case.caller
        if last is None:
            self.state.put(brief(target.id), LastRead(at, by))
        elif last.by == by:
            if at - last.at >= _GRAIN:
                self.state.put(target.id, LastRead(at, by, last.other))
        elif at >= last.at:
            self.state.put(target.id, LastRead(at, by, last.at))
        elif at > last.other:
            self.state.put(target.id, LastRead(last.at, last.by, at))

    def last(self, secret: str) -> LastRead | None:
        """The latest read, exact to an hour."""
        return self.state.get(secret)

    def forget(self, now: Micros) -> None:
        """Let go of secrets that nobody has read for long."""
        self.state.forget_while(lambda read: read.at < now - _KEPT)


class Change(Struct, frozen=True, gc=False):
    """A successful change of an ACL; what it says is in no log."""

    citation: Citation
    declared: bool  # by a declared granter
    removed: bool


class AclHistory:
    """The latest changes of each secret's ACL."""

    def __init__(self, limit: int) -> None:
        """Remember at most `limit` secrets."""
        self.state: Keyed[list[Change]] = Keyed("acl-history", list[Change], limit)
        self._noted: Case | None = None

    def note(self, case: Case) -> None:
        """Remember a successful change, once."""
        if case is self._noted:
            return
        self._noted = case
        event, match = case.event, case.match
        if event.kind is not Kind.ACL_CHANGE or event.target.type != "secret" or event.target.id is None:
            return
        key = brief(event.target.id)
        known = [c for c in self.state.get(key) or () if c.citation.event_id != event.event_id]
        declared = match is not None and match.explained is True
        change = Change(case.citation, declared, event.method == "DELETE")
        known.append(change)
        known.sort(key=lambda c: (c.citation.event_time, c.citation.event_id))
        self.state.put(key, known[-_CHANGES:])

    def before(self, secret: str | None, at: Micros, span: Micros) -> list[Change]:
        """The changes within the span that ends at this time, in order."""
        known = None if secret is None else self.state.get(secret)
        return [] if known is None else [c for c in known if at - span < c.citation.event_time <= at]

    def is_known(self, secret: str) -> bool:
        """Whether its ACL was ever seen to change, so that an inventory may be out of date."""
        return self.state.get(secret) is not None

    def forget(self, now: Micros) -> None:
        """Let go of secrets whose ACL has not changed for long."""
        self.state.forget_while(lambda changes: changes[-1].citation.event_time < now - _KEPT)
