"""What a proposal rests on, and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kmwatch.core.learn.history import Act, History, Times
from kmwatch.core.learn.pace import busiest
from kmwatch.core.learn.place import segment_of
from kmwatch.core.model import MINUTE, Kind, Micros

SPARSE = 3  # fewer acts than this are an anecdote
_SWEEP_SECRETS = 5
_SWEEP_SPAN: Micros = MINUTE
_BRIEF = 20  # an address seen for less than this part of the caller's own span is no home of it
_SHOWN = 4


class Support(Struct, frozen=True):
    """How often, how much, when, from where and with what the acts behind a proposal were done."""

    acts: int
    secrets: int
    first: Micros
    last: Micros
    addresses: tuple[str, ...]
    agents: tuple[str, ...]
    undeclared: int
    busiest: int  # distinct secrets of one user in a whole hour


def support(acts: Iterable[tuple[Act, Times]]) -> Support:
    """Sum up one or more acts."""
    listed = list(acts)
    whole = Times(0, listed[0][1].first, listed[0][1].last)
    for _, times in listed:
        whole.take(times)
    return Support(
        whole.count,
        len({act.secret_id for act, _ in listed}),
        whole.first,
        whole.last,
        tuple(sorted({act.address or "no address" for act, _ in listed})),
        tuple(sorted(whole.agents)),
        whole.undeclared,
        busiest((act.who, act.secret_id, times.hours) for act, times in listed),
    )


def doubts(acts: Iterable[tuple[Act, Times]], history: History) -> tuple[str, ...]:
    """What looks like an attack in the acts as a whole, in words."""
    listed = list(acts)
    found = []
    said = sorted({doubt for _, times in listed for doubt in times.doubts})
    if said:
        found.append(f"told of by {_some(said)}")
    reads = [(act, times) for act, times in listed if act.kind is Kind.RETRIEVAL]
    secrets = {act.secret_id for act, _ in reads}
    long = history.span >= _BRIEF * _SWEEP_SPAN  # in a shorter history everything is close together
    if long and len(secrets) >= _SWEEP_SECRETS and sum(times.count for _, times in reads) == len(secrets):
        span = max(times.last for _, times in reads) - min(times.first for _, times in reads)
        if span <= _SWEEP_SPAN:
            found.append(f"{len(secrets)} secrets once each within a minute")
    closed = sorted(secret for secret in secrets if _closed(secret, reads, history))
    if closed:
        found.append(f"the ACL lets nobody but its readers: {_some(closed)}")
    return tuple(found)


def strays(acts: dict[Act, Times]) -> dict[Act, str]:
    """Acts of a caller at an address that it used briefly, while it lives elsewhere: a stolen credential looks so."""
    homes: dict[object, dict[str | None, list[tuple[Act, Times]]]] = {}
    for act, times in acts.items():
        homes.setdefault(act.who, {}).setdefault(act.address, []).append((act, times))
    found: dict[Act, str] = {}
    for places in homes.values():
        spans = {address: _span(listed) for address, listed in places.items()}
        longest = max(spans.values())
        lived_in = {segment_of(address) for address, span in spans.items() if span * _BRIEF > longest}
        for address, listed in places.items():
            if longest and spans[address] * _BRIEF <= longest and segment_of(address) not in lived_in:
                found.update(dict.fromkeys((act for act, _ in listed), "an address this caller used only briefly"))
    return found


def _closed(secret_id: str, reads: list[tuple[Act, Times]], history: History) -> bool:
    """Whether a private secret was read by somebody who neither made it nor is on its ACL."""
    secret = history.secret(secret_id)
    if secret is None or secret.project_access is not False:
        return False
    allowed = {secret.creator_id, *secret.readers}
    return any(act.who.user_id not in allowed for act, _ in reads if act.secret_id == secret_id)


def _span(listed: list[tuple[Act, Times]]) -> Micros:
    return max(times.last for _, times in listed) - min(times.first for _, times in listed)


def _some(values: list[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more
