"""The quarterly review of secrets, which the Key Manager's hardening guide asks for: pure functions over a snapshot.

What cannot be seen is not claimed: a secret counts as unread only for as long as it existed and was watched, and a
remark says how long that was (`watched`); a finding should ask for more than a report does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from kmwatch.core.ledger import Use
from kmwatch.core.model import DAY, Micros, Secret, Word
from kmwatch.core.succession import GRACE, successors


class Concern(Word):
    """Why a secret deserves a look, the most urgent first."""

    EXPIRED_IN_USE = "expired_in_use"  # it was read until shortly before it expired, or after
    EXPIRES_IN_USE = "expires_in_use"  # it is read, and expires soon: the Key Manager says nothing of that
    SUPERSEDED_IN_USE = "superseded_in_use"  # it is still read, though its successor exists
    NEVER_READ = "never_read"  # not once while it was watched
    NOT_READ_LATELY = "not_read_lately"
    NO_EXPIRY = "no_expiry"


class Terms(Struct, frozen=True):
    """How long is long."""

    idle: Micros = 90 * DAY  # without a read: long not read
    expiring: Micros = 30 * DAY  # before its end: expires soon
    in_use: Micros = 30 * DAY  # since its last read, at most: in use
    grace: Micros = GRACE  # after its successor was made: references may still be changed


class Remark(Struct, frozen=True, gc=False):
    """One concern about one secret."""

    secret: Secret
    concern: Concern
    use: Use | None
    watched: Micros  # how long it could have been seen being read
    successor: str | None = None  # id


def review(
    secrets: Iterable[Secret], uses: Mapping[str, Use], since: Micros | None, now: Micros, terms: Terms
) -> list[Remark]:
    """Look at every secret that is not deleted.

    Args:
        secrets: the inventory.
        uses: how each was read, by id.
        since: when watching began; None if nothing was watched.
        now: the moment of the review.
        terms: how long is long.

    Returns:
        Remarks, the most urgent concern first, then by id.
    """
    alive = [secret for secret in secrets if not secret.deleted]
    following = successors(alive)
    found: list[Remark] = []
    for secret in alive:
        use = uses.get(secret.id)
        began = max(since if since is not None else now, secret.created or 0)
        watched = max(0, now - began)
        found += [Remark(secret, concern, use, watched) for concern in _concerns(secret, use, watched, now, terms)]
        newer = following.get(secret.id)
        if newer is not None and use is not None and use.last > (newer.created or 0) + terms.grace:
            found.append(Remark(secret, Concern.SUPERSEDED_IN_USE, use, watched, newer.id))
    return sorted(found, key=lambda remark: (_URGENCY[remark.concern], remark.secret.id))


_URGENCY = {concern: number for number, concern in enumerate(Concern)}


def _concerns(secret: Secret, use: Use | None, watched: Micros, now: Micros, terms: Terms) -> Iterable[Concern]:
    if secret.expires is None:
        yield Concern.NO_EXPIRY
    elif use is not None and secret.expires <= now and use.last > secret.expires - terms.in_use:
        yield Concern.EXPIRED_IN_USE
    elif use is not None and now < secret.expires <= now + terms.expiring and use.last > now - terms.in_use:
        yield Concern.EXPIRES_IN_USE
    if use is None and watched > 0:
        yield Concern.NEVER_READ
    elif use is not None and use.last <= now - terms.idle:
        yield Concern.NOT_READ_LATELY
