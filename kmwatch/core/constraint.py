"""What a declaration may ask of a request beside who and what: address, agent, time of day."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import translate
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from zoneinfo import ZoneInfo

from kmwatch.core.callermap import Hours
from kmwatch.core.model import SECOND, Micros

_LONGEST_ADDRESS = 64  # an IPv6 address with a zone index is shorter; what is longer was made up

Matcher = Callable[[str], re.Match[str] | None]
Range = tuple[int, int, int]  # IP version, first and last address as integers


def patterns(globs: Iterable[str]) -> Matcher:
    """A matcher for any of the fnmatch patterns: whole string, case-sensitive, whatever the platform."""
    return re.compile("|".join(translate(glob) for glob in globs)).match


def ranges(networks: Iterable[str]) -> tuple[Range, ...]:
    """CIDRs as integer ranges; ValueError for one that is none."""
    parsed = [ip_network(network) for network in networks]
    return tuple((n.version, int(n.network_address), int(n.broadcast_address)) for n in parsed)


def parse_address(text: str | None) -> tuple[int, int] | None:
    """An address of a log as (IP version, integer), or None where it is none.

    The text is whatever a client wrote into X-Forwarded-For, so anything that is not exactly one address
    counts as no address. An IPv4 address mapped into IPv6 is the IPv4 address: listeners on [::] log it so.
    """
    if text is None or len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def inside(address: tuple[int, int] | None, allowed: tuple[Range, ...]) -> bool:
    """Whether the address lies in one of the ranges; no address lies in none."""
    if address is None:
        return False
    version, number = address
    return any(version == v and first <= number <= last for v, first, last in allowed)


@dataclass(frozen=True, slots=True)
class Shift:
    """Working hours in their time zone."""

    hours: Hours
    zone: ZoneInfo

    def holds(self, time: Micros) -> bool:
        """Whether the moment lies within the hours; a moment outside the calendar does not."""
        try:
            local = datetime.fromtimestamp(time // SECOND, self.zone)
        except (OverflowError, ValueError, OSError):
            return False
        hours, minute, today = self.hours, local.hour * 60 + local.minute, local.weekday()
        if hours.start < hours.end:
            return hours.start <= minute < hours.end and today in hours.days
        if minute >= hours.start:
            return today in hours.days
        return minute < hours.end and (local.date() - timedelta(days=1)).weekday() in hours.days
