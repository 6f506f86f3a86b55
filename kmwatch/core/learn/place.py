"""Where callers live: addresses that belong together, and the networks to write down for them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar

from kmwatch.core.constraint import parse_address

_WIDEST = {4: 24, 6: 64}  # bits of prefix: a network that is guessed is never wider than one segment

K = TypeVar("K", bound=Hashable)
Network = IPv4Network | IPv6Network


def networks(own: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    """The networks of a caller.

    Args:
        own: addresses it was seen at; text that is no address is passed over.
        others: addresses of everybody, its own included.

    Returns:
        For the addresses of one segment (/24, /64) the smallest network that holds them, if it holds nobody
        else's; otherwise each address by itself. Sorted.
    """
    mine = _parsed(own)
    strangers = _parsed(others) - mine
    segments: dict[Network, list[tuple[int, int]]] = {}
    for version, number in sorted(mine):
        segments.setdefault(segment(version, number), []).append((version, number))
    found: list[Network] = []
    for members in segments.values():
        whole = _cover(members)
        if any(version == whole.version and number in _range(whole) for version, number in strangers):
            found += [_single(*member) for member in members]
        else:
            found.append(whole)
    return tuple(str(network) for network in sorted(found, key=lambda n: (n.version, int(n.network_address))))


def segment(version: int, number: int) -> Network:
    """The /24 or /64 around an address."""
    bits = 32 if version == 4 else 128  # noqa: PLR2004
    base = number >> (bits - _WIDEST[version]) << (bits - _WIDEST[version])
    return _network(version, base, _WIDEST[version])


def segment_of(text: str | None) -> Network | None:
    """The /24 or /64 around an address of a log, or None where it is none."""
    found = parse_address(text)
    return None if found is None else segment(*found)


def clusters(items: Mapping[K, Iterable[Hashable]]) -> list[list[K]]:
    """Keys that share an item, directly or through others, together; in the order in which they were given."""
    of_item: dict[Hashable, list[K]] = {}
    for key, shared in items.items():
        for item in shared:
            of_item.setdefault(item, []).append(key)
    left, found = dict.fromkeys(items), []
    while left:
        together = {next(iter(left)): None}
        waiting = list(together)
        while waiting:
            for item in items[waiting.pop()]:
                fresh = [key for key in of_item[item] if key not in together]
                together.update(dict.fromkeys(fresh))
                waiting += fresh
        found.append([key for key in items if key in together])
        for key in together:
            left.pop(key, None)
    return found


def _parsed(texts: Iterable[str]) -> set[tuple[int, int]]:
    return {address for text in texts if (address := parse_address(text)) is not None}


def _cover(members: list[tuple[int, int]]) -> Network:
    version, bits = members[0][0], 32 if members[0][0] == 4 else 128  # noqa: PLR2004
    first, last = members[0][1], members[-1][1]
    prefix = bits - (first ^ last).bit_length()
    return _network(version, first >> (bits - prefix) << (bits - prefix), prefix)


def _single(version: int, number: int) -> Network:
    return _network(version, number, 32 if version == 4 else 128)  # noqa: PLR2004


def _network(version: int, base: int, prefix: int) -> Network:
    address = ip_address(base) if version == 4 else ip_address(base.to_bytes(16, "big"))  # noqa: PLR2004
    return ip_network(f"{address}/{prefix}")


def _range(network: Network) -> range:
    return range(int(network.network_address), int(network.broadcast_address) + 1)
