"""The inventory's journal: what readings of the inventory changed, one JSON line each, with its place in event time.

The daemon writes it, and only a replay reads it: who can write to a topic must not say whose a secret is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct, json

from kmwatch.core.model import Micros, Secret
from kmwatch.core.record import Rejected, RejectReason, Slot, StockRecord
from kmwatch.ports import INVENTORY, Entry

BEGINS: Final = b'{"kmwatch_inventory":'
_VERSION = 1
_LATEST: Micros = 253_402_300_800_000_000  # the year 10000
_OCTETS = 256 * 1024  # of a line, about
_READERS = 1000  # of a secret's ACL that are written: whoever may grant must not make a line that nobody can read

_encode = json.Encoder().encode


class Line(Struct, frozen=True, omit_defaults=True):
    """One line. Times are microseconds since 1970, as in `secrets`, whose fields are those of `core.model.Secret`."""

    kmwatch_inventory: int
    number: int  # counts the lines of a store
    at: Micros | None = None  # from when on it counts; absent in the base, which always does
    base: bool = False
    secrets: tuple[Secret, ...] = ()
    gone: tuple[str, ...] = ()
    read: Micros | None = None


_line = json.Decoder(Line).decode


def make(
    number: int,
    at: Micros | None,
    secrets: Sequence[Secret],
    gone: Sequence[str] = (),
    read: Micros | None = None,
    *,
    base: bool = False,
) -> Line:
    """A line of this release."""
    return Line(_VERSION, number, at, base, tuple(map(bounded, secrets)), tuple(gone), read)


def entry(line: Line) -> Entry:
    """The line as a store keeps it."""
    return Entry(INVENTORY, line.number, line.at or 0, line.base, json.encode(line))


def record(line: Line) -> StockRecord:
    """The line as the engine takes it."""
    key = f"~{line.number:015d}"  # after the requests of its time
    at = 0 if line.base or line.at is None else line.at
    return StockRecord(Slot.STOCK, key, at, line.secrets, line.gone, line.read, line.base)


def decode(value: bytes) -> StockRecord | Rejected:
    """Read a line. Never raises."""
    try:
        line = _line(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Rejected(RejectReason.BAD_LINE, f"no line of an inventory's journal: {error}"[:200])
    if line.kmwatch_inventory != _VERSION:
        return Rejected(RejectReason.BAD_LINE, f"a journal of version {line.kmwatch_inventory}; this is {_VERSION}")
    at = 0 if line.base else line.at
    if at is None or not 0 <= at < _LATEST or line.number < 0:
        return Rejected(RejectReason.BAD_TIME, "a line of an inventory's journal has a number, and a time in at")
    return record(line)


def portions(secrets: Sequence[Secret]) -> Iterator[list[Secret]]:
    """Secrets in portions that each make one line."""
    portion: list[Secret] = []
    octets = 0
    for secret in secrets:
        size = len(_encode(bounded(secret)))
        if portion and octets + size > _OCTETS:
            yield portion
            portion, octets = [], 0
        portion.append(secret)
        octets += size
    if portion:
        yield portion


def bounded(secret: Secret) -> Secret:
    """The secret with as much of its ACL as is written."""
    acl = secret.acl
    if acl is None or len(acl.users) <= _READERS:
        return secret
    return msgspec.structs.replace(secret, acl=msgspec.structs.replace(acl, users=acl.users[:_READERS]))
