"""Which witnesses a deployment has, and so when a request has been told in full."""

from __future__ import annotations

from msgspec import Struct

from kmwatch.core.constraint import Range, inside, parse_address
from kmwatch.core.model import SECOND, Micros, Witness
from kmwatch.core.record import Slot

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
    return Witness.SERVICE_LOG


class Expected(Struct, frozen=True):
    """What the configuration says of witnesses.

    `slots` must be filled before a request is told in full. `proxies` are the addresses of the declared proxies, as
    the web server sees them; empty where none is declared.
    """

    slots: int = AUDITED
    proxies: tuple[Range, ...] = ()
    settle: Micros = 30 * SECOND
    trusted_ids: bool = False  # a declared proxy overwrites X-Openstack-Request-Id

    @property
    def lines(self) -> int:
        """The slots of those whose lines usually name no request id."""
        return self.slots & (Slot.ACCESS | Slot.PROXY)

    def is_proxy(self, peer: str | None) -> bool:
        """Whether who connected to the web server is a declared proxy; without a declaration all are, if any is."""
        if not self.proxies:
            return bool(self.slots & Slot.PROXY)
        return inside(parse_address(peer), self.proxies)
