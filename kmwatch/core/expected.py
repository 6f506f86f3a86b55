"""Which witnesses a deployment has, and so when a request has been told in full."""

from __future__ import annotations

from kmwatch.core.constraint import Range, inside, parse_address
from kmwatch.core.model import SECOND, Micros, Witness
from kmwatch.core.record import BEHIND, Slot

_REMEMBERED = 4096
AUDITED = Slot.CADF_REQUEST | Slot.CADF_RESPONSE
SLOTS: dict[Witness, int] = {
    Witness.CADF: AUDITED,
    Witness.SERVICE_LOG: Slot.SERVICE_END,  # a note alone, and nothing is complete
    Witness.ACCESS_LOG: Slot.ACCESS,
    Witness.PROXY_LOG: Slot.PROXY,
}


def witness_of(slot: int) -> Witness:
    """Whose word fills a slot."""
    if slot & AUDITED:
        return Witness.CADF
    if slot & (Slot.ACCESS | Slot.PROXY):
        return Witness.ACCESS_LOG if slot & Slot.ACCESS else Witness.PROXY_LOG
    if slot >= BEHIND:
        return Witness.HOST if slot == Slot.HOST else Witness.BACKEND
    return Witness.SERVICE_LOG


class Expected:
    """What the configuration says of witnesses."""

    def __init__(
        self,
        slots: int = AUDITED,
        proxies: tuple[Range, ...] = (),
        settle: Micros = 30 * SECOND,
        *,
        trusted_ids: bool = False,
    ) -> None:
        """Take what is declared.

        Args:
            slots: must be filled before a request has been told in full.
            proxies: addresses of the declared proxies, as the web server sees them; empty where none is declared.
            settle: how long a request waits for its witnesses.
            trusted_ids: a declared proxy overwrites X-Openstack-Request-Id.
        """
        self.slots = slots
        self.proxies = proxies
        self.settle = settle
        self.trusted_ids = trusted_ids
        self._known: dict[str | None, bool] = {}  # a cache: parsing an address costs more than all else about a line

    def is_proxy(self, peer: str | None) -> bool:
        """Whether who connected to the web server is a declared proxy; without a declaration all are, if any is."""
        if not self.proxies:
            return bool(self.slots & Slot.PROXY)
        known = self._known.get(peer)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[peer] = inside(parse_address(peer), self.proxies)
        return known
