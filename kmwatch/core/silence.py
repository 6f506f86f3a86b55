"""Silences: what a person has decided not to hear of for a while, because they know why it happens.

A silenced finding is made, recorded and counted like any other, with the silence's id; it is only not sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kmwatch.core.constraint import Range, inside, parse_address
from kmwatch.core.declaration import Declarations
from kmwatch.core.model import AddressSource, Citation, Initiator, Micros
from kmwatch.core.rules.base import Hit


class Silence(Struct, frozen=True):
    """Keys are ANDed, values of a key ORed; None restricts nothing. It ends by itself."""

    id: str
    expires: Micros  # the first moment at which it no longer holds
    rules: frozenset[str] | None = None
    callers: frozenset[str] | None = None  # names of the caller map, or user ids
    secrets: frozenset[str] | None = None  # ids
    networks: tuple[Range, ...] | None = None
    digest: str = ""  # of all that was written, owner and reason too


class Silences:
    """All silences, by rule. `proven` says that addresses which only the audit event shows silence nothing."""

    def __init__(self, silences: Iterable[Silence] = (), *, proven: bool = False) -> None:
        """Take them in file order; the first that fits counts."""
        self.all = tuple(silences)
        self._proven = proven

    def of(self, rule: str, hit: Hit, time: Micros, declarations: Declarations) -> str | None:
        """The id of the silence that covers a hit entirely, or None.

        Every request it cites must be covered: a finding that tells of anything else must be heard.
        """
        for silence in self.all:
            if time < silence.expires and (silence.rules is None or rule in silence.rules):
                scoped = silence.callers is not None or silence.secrets is not None or silence.networks is not None
                if not scoped or (hit.citations and all(self._covers(silence, c, declarations) for c in hit.citations)):
                    return silence.id
        return None

    def _covers(self, silence: Silence, cited: Citation, declarations: Declarations) -> bool:
        if silence.secrets is not None and cited.target_id not in silence.secrets:
            return False
        if silence.networks is not None:
            forgeable = self._proven and cited.address_source is AddressSource.AUDIT
            if forgeable or not inside(parse_address(cited.address), silence.networks):
                return False
        if silence.callers is None or cited.user_id in silence.callers:
            return True
        who = Initiator(cited.user_id, cited.user_name, cited.project_id)
        return declarations.declared_caller(who, None) in silence.callers
