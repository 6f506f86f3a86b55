"""The ledger of retrievals: what is kept of each successful payload read, long after its request is forgotten.

A row is what an incident asks for: who read which secret, from where, and what the caller map said of it. Evidence that
comes late tells a request again; its row is then written anew, or taken back if the request was no read after all.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import ip_network

from msgspec import Struct

from kmwatch.core.constraint import parse_address
from kmwatch.core.detect import Judged
from kmwatch.core.model import AddressSource, AuditEvent, Evidence, Match, Micros, Nearest, Reason, Witness

_ID = 255  # characters of an id or name: what Keystone and the Key Manager store at most
_AGENT = 512
_DIGEST = 16  # hexadecimal digits that keep two cut texts apart


class Read(Struct, frozen=True, gc=False):
    """One retrieval. Texts are cut to what the Key Manager itself can store, and hold no NUL and no lone surrogate."""

    event_id: str
    event_time: Micros
    secret_id: str | None
    user_id: str | None
    user_name: str | None
    project_id: str | None
    address: str | None
    agent: str | None
    explained: bool | None
    declaration: str | None  # the allow entry that explains it, or whose constraint broke
    request_id: str | None
    more: More


class More(Struct, frozen=True, gc=False, omit_defaults=True):
    """What is kept of a retrieval and never searched for."""

    reason: Reason
    caller: str | None = None  # a declared caller's name
    nearest: Nearest | None = None
    operation: str = ""  # "GET /v1/secrets/<id>/payload"
    address_source: AddressSource = AddressSource.NONE
    evidence: Evidence = Evidence.PARTIAL
    seen_in: tuple[Witness, ...] = ()
    flags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    project_name: str | None = None


Rows = dict[str, Read | None]  # by event id; None: it had been told as a read, and was none


class Query(Struct, frozen=True):
    """What is asked of the ledger: all that is given must hold. Times are [since, until)."""

    secret: str | None = None
    users: tuple[str, ...] = ()  # ids; any of them
    project: str | None = None
    network: str | None = None  # CIDR
    declaration: str | None = None
    since: Micros | None = None
    until: Micros | None = None
    request: str | None = None  # a request id or an event id


class Use(Struct, frozen=True, gc=False):
    """How a secret was read, as far as the ledger reaches back."""

    reads: int
    first: Micros
    last: Micros


class Extent(Struct, frozen=True):
    """How much the ledger holds, and how many rows it has let go to keep within its size."""

    rows: int
    since: Micros | None
    evicted: int


def note(rows: Rows, judged: Iterable[Judged]) -> None:
    """Add what these events mean for the ledger; the last word on an event counts."""
    for one in judged:
        if one.match is not None:
            row = row_of(one.event, one.match)
            rows[row.event_id] = row
        elif one.again:
            rows[storable(one.event.event_id)] = None


def row_of(event: AuditEvent, match: Match) -> Read:
    """The row of a retrieval."""
    who = event.initiator
    return Read(
        storable(event.event_id),
        event.event_time,
        _maybe(event.target.id),
        _maybe(who.user_id),
        _maybe(who.user_name),
        _maybe(who.project_id),
        _maybe(who.address),
        None if who.agent is None else storable(who.agent, _AGENT),
        match.explained,
        match.declaration,
        _maybe(event.request_id),
        More(
            match.reason,
            match.caller,
            None if match.nearest is None else _nearest(match.nearest),
            storable(f"{event.method or '-'} {event.path}", _AGENT),
            who.address_source,
            event.evidence,
            event.seen_in,
            event.flags,
            tuple(storable(role) for role in who.roles[:32]),
            _maybe(who.project_name),
        ),
    )


def _nearest(nearest: Nearest) -> Nearest:
    actual = None if nearest.actual is None else storable(nearest.actual, _AGENT)
    return Nearest(nearest.declaration, nearest.failed_field, nearest.expected, actual)


def _maybe(text: str | None) -> str | None:
    return None if text is None else storable(text)


def storable(text: str, limit: int = _ID) -> str:
    """The text as any database takes it: NUL and lone surrogates escaped, cut to `limit` with a digest of the whole.

    Whoever asks for an id must pass it through this too, so that it meets what was stored.
    """
    if not text.isascii() or "\0" in text:
        text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if len(text) <= limit:
        return text
    digest = blake2b(text.encode(), digest_size=_DIGEST // 2).hexdigest()
    return f"{text[: limit - _DIGEST - 1]}#{digest}"


def place(address: str | None) -> bytes | None:
    """A sortable key of an address, so that a network is a range of keys; None for what is no address."""
    parsed = parse_address(address)
    return None if parsed is None else _key(*parsed)


def places(network: str) -> tuple[bytes, bytes]:
    """The first and the last key of a network. Raises ValueError for what is no CIDR."""
    parsed = ip_network(network)
    return _key(parsed.version, int(parsed.network_address)), _key(parsed.version, int(parsed.broadcast_address))


def _key(version: int, number: int) -> bytes:
    return bytes((version,)) + number.to_bytes(4 if version == 4 else 16, "big")  # noqa: PLR2004
