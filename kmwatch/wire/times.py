"""Timestamps as text in log lines -> Micros.

Most forms write local time without saying whose: such a stamp takes the zone that the source declares. Where a
clock is set back and an hour comes twice, the first is meant (fold 0). Names of months are English whatever the
machine's locale, as strftime of a C locale, HAProxy and Apache write them.

Every function raises ValueError, and nothing else, for text that is no such stamp, or lies outside the years 1970
to 2999. Results are remembered by the second: neighbouring lines share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from kmwatch.core.model import SECOND, Micros

Zone = tzinfo  # that a source declares for its naive stamps
LATEST: Micros = 32_503_680_000 * SECOND  # the year 3000: what comes later no format of a sink could write
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_CLF = re.compile(r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})")
_CTIME = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) ([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})"
)
_REST = re.compile(r"(?:[.,]([0-9]{1,9}))?(?: ?(?:(Z)|([+-])([0-9]{2}):?([0-9]{2})))?")
_SECONDS_CHARS = 19  # of "2026-11-23 20:47:57"
_CLF_CHARS = 20  # of "23/Nov/2026:20:48:04"
_FRACTION_DIGITS = 9
_REMEMBERED = 4096
_Reader = Callable[[str, tzinfo], Micros]

_seconds: dict[tuple[str, tzinfo], Micros] = {}  # a cache of pure functions, so no state


def naive(text: str, zone: tzinfo) -> Micros:
    """Read `2026-11-23 20:47:57.886`: space or T, point or comma, 0 to 9 digits of a fraction.

    Args:
        text: the stamp and nothing else. An offset or Z at its end wins over the zone.
        zone: of the machine that wrote it.

    Returns:
        Microseconds since 1970; finer digits are cut off.

    Raises:
        ValueError: this is no such stamp.
    """
    head = text[:_SECONDS_CHARS]
    known = _seconds.get((head, zone))
    if known is None:
        known = _remember(head, zone, _iso(head, zone))
    rest = text[_SECONDS_CHARS:]
    if len(rest) == 4 and rest[0] in ".," and rest.isascii() and rest[1:].isdigit():  # noqa: PLR2004  (milliseconds)
        return known + int(rest[1:]) * 1000
    return _with_rest(known, rest, _iso, head)


def clf(text: str, zone: tzinfo) -> Micros:
    """Read `23/Nov/2026:20:48:04.429` (HAProxy) or `23/Nov/2026:20:58:44 +0000` (Apache).

    Args:
        text: the stamp and nothing else. An offset at its end wins over the zone.
        zone: of the machine that wrote it.

    Returns:
        Microseconds since 1970.

    Raises:
        ValueError: this is no such stamp.
    """
    head = text[:_CLF_CHARS]
    known = _seconds.get((head, zone))
    if known is None:
        known = _remember(head, zone, _clf(head, zone))
    rest = text[_CLF_CHARS:]
    if len(rest) == 4 and rest[0] == "." and rest.isascii() and rest[1:].isdigit():  # noqa: PLR2004  (milliseconds)
        return known + int(rest[1:]) * 1000
    return _with_rest(known, rest, _clf, head)


def ctime(text: str, zone: tzinfo) -> Micros:
    """Read `Mon Nov 23 20:48:03 2026` (uWSGI); a day of one digit has a space before it.

    Args:
        text: the stamp and nothing else.
        zone: of the machine that wrote it.

    Returns:
        Microseconds since 1970, on a whole second.

    Raises:
        ValueError: this is no such stamp.
    """
    known = _seconds.get((text, zone))
    if known is not None:
        return known
    found = _CTIME.fullmatch(text)
    if found is None:
        raise ValueError("no stamp of ctime")
    month, day, hour, minute, second, year = found.groups()
    return _remember(text, zone, _micros((year, _month(month), day, hour, minute, second), zone))


def _iso(head: str, zone: tzinfo) -> Micros:
    found = _ISO.fullmatch(head)
    if found is None:
        raise ValueError("no ISO stamp")
    return _micros(found.groups(), zone)


def _clf(head: str, zone: tzinfo) -> Micros:
    found = _CLF.fullmatch(head)
    if found is None:
        raise ValueError("no stamp of the Common Log Format")
    day, month, year, hour, minute, second = found.groups()
    return _micros((year, _month(month), day, hour, minute, second), zone)


def _month(name: str) -> str:
    number = _MONTHS.get(name)
    if number is None:
        raise ValueError("no month")
    return str(number)


def _micros(parts: tuple[str, ...], zone: tzinfo) -> Micros:
    year, month, day, hour, minute, second = map(int, parts)
    try:
        span = datetime(year, month, day, hour, minute, second, tzinfo=zone) - _EPOCH
    except OverflowError:
        raise ValueError("outside the calendar") from None
    micros = (span.days * 86_400 + span.seconds) * SECOND + span.microseconds
    if not 0 <= micros < LATEST:
        raise ValueError("outside the years 1970 to 2999")
    return micros


def _remember(head: str, zone: tzinfo, micros: Micros) -> Micros:
    if len(_seconds) >= _REMEMBERED:
        _seconds.clear()
    _seconds[head, zone] = micros
    return micros


def _with_rest(known: Micros, rest: str, read: _Reader, head: str) -> Micros:
    """Add a fraction of any length, or read the second again in the offset that the stamp itself names."""
    found = _REST.fullmatch(rest)
    if found is None:
        raise ValueError("text after the stamp")
    fraction, zulu, sign, hours, minutes = found.groups()
    if zulu or sign:
        offset = timedelta() if zulu else timedelta(hours=int(hours), minutes=int(minutes))
        known = read(head, timezone(-offset if sign == "-" else offset))
    return known if fraction is None else known + int(fraction.ljust(_FRACTION_DIGITS, "0")) // 1000
