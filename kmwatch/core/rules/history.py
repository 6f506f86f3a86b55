"""What several rules remember of a secret: who read it last, and how its ACL was changed. Kept once, shared.

Each rule notes what it is shown before it asks, and noting a request twice changes nothing: so it does not matter which
of the rules are on.
"""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.keyed import Keyed
from kmwatch.core.model import DAY, HOUR, Citation, Failure, Kind, Micros, Outcome
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
    """The latest read of each secret.

    `before` is what was known of its secret before the event noted last.
    """

    def __init__(self, limit: int) -> None:
        """Remember at most `limit` secrets."""
        self.state: Keyed[LastRead] = Keyed("reads", LastRead, limit)
        self.before: LastRead | None = None

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful payload reads."""
        return kind is Kind.RETRIEVAL and outcome is Outcome.SUCCESS and failure is None

    def note(self, case: Case) -> None:
        """Remember a read; cheap where the same caller reads again and again."""
        self.before = None
        event = case.event
        target, at = event.target, event.event_time
        if target.type != "secret" or target.id is None:
            return
        last, by = self.state.get(target.id), case.caller
        self.before = last
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

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful changes."""
        return kind is Kind.ACL_CHANGE and outcome is Outcome.SUCCESS and failure is None

    def note(self, case: Case) -> None:
        """Remember a change, once."""
        event, match = case.event, case.match
        if event.target.type != "secret" or event.target.id is None:
            return
        key = brief(event.target.id)
        declared = match is not None and match.explained is True
        change = Change(case.citation, declared, event.method == "DELETE")
        known = [c for c in self.state.get(key) or () if c.citation.event_id != event.event_id]
        in_order = not known or known[-1].citation.event_time < event.event_time
        known.append(change)
        if not in_order:
            known.sort(key=lambda c: (c.citation.event_time, c.citation.event_id))
        self.state.put(key, known[-_CHANGES:])

    def before(self, secret: str | None, at: Micros, span: Micros) -> list[Change]:
        """The changes within the span that ends at this time, in order."""
        known = None if secret is None else self.state.get(secret)
        return [] if known is None else [c for c in known if at - span < c.citation.event_time <= at]

    def by_others(self, case: Case, span: Micros) -> list[Citation]:
        """The changes before a read that neither its caller made nor a declared granter, as `before` has them."""
        event = case.event
        known = None if event.target.id is None else self.state.get(brief(event.target.id))
        if known is None:
            return []
        at, who = event.event_time, event.initiator.user_id
        return [
            c.citation
            for c in known
            if not c.declared and at - span < c.citation.event_time <= at and c.citation.user_id != who
        ]

    def is_known(self, secret: str) -> bool:
        """Whether its ACL was ever seen to change, so that an inventory may be out of date."""
        return self.state.get(secret) is not None

    def forget(self, now: Micros) -> None:
        """Let go of secrets whose ACL has not changed for long."""
        self.state.forget_while(lambda changes: changes[-1].citation.event_time < now - _KEPT)
