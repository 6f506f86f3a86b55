"""Who opened a connection, as access logs write it: an address, or something that is none."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=4096)
def peer(text: str) -> str | None:
    """The text if it is an IP address of either version, else None (`unix`, `-`, a host name)."""
    try:
        ip_address(text)
    except ValueError:
        return None
    return text
