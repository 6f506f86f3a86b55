"""What an inventory says that somebody must act on: secrets that expire, and secrets that nobody keeps."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import DAY, Micros, Secret, Word
from kmwatch.core.selector import GroupTest


class State(Word):
    """What is to be said of a secret. The first that holds."""

    EXPIRED = "expired"  # and still there
    EXPIRES_SOON = "expires_soon"
    ORPHANED = "orphaned"  # its creator or its project is gone from the identities
    UNDECLARED = "undeclared"  # no group of the caller map selects it
    NO_EXPIRATION = "no_expiration"
    IN_ORDER = "in_order"


class Item(Struct, frozen=True):
    """A secret with its state, and why in words."""

    secret: Secret
    state: State
    why: str


def take_stock(secrets: Iterable[Secret], declarations: Declarations, now: Micros, within: Micros) -> list[Item]:
    """The state of every secret that is not deleted, by state, then by expiry, then by id.

    Args:
        secrets: the inventory.
        declarations: for who is who, and what the map selects.
        now: the present.
        within: how long before its end a secret expires soon.
    """
    directory = declarations.directory
    known = bool(directory.user_names()), bool(directory.project_names())
    groups = declarations.groups()
    items = [_item(one, declarations, groups, now, within, known) for one in secrets if not one.deleted]
    order = list(State)
    return sorted(items, key=lambda i: (order.index(i.state), i.secret.expires or 0, i.secret.id))


def _item(
    one: Secret,
    declarations: Declarations,
    groups: tuple[GroupTest, ...],
    now: Micros,
    within: Micros,
    known: tuple[bool, bool],
) -> Item:
    directory = declarations.directory
    if one.expires is not None and one.expires <= now:
        return Item(one, State.EXPIRED, f"{_days(now - one.expires)} ago")
    if one.expires is not None and one.expires <= now + within:
        return Item(one, State.EXPIRES_SOON, f"in {_days(one.expires - now)}")
    if known[0] and one.creator_id is not None and not directory.knows_user(one.creator_id):
        return Item(one, State.ORPHANED, "identities know no such creator")
    if known[1] and one.project_id is not None and not directory.knows_project(one.project_id):
        return Item(one, State.ORPHANED, "identities know no such project")
    if not _selected(one, declarations, groups):
        return Item(one, State.UNDECLARED, "no entry of the caller map is about it")
    if one.expires is None:
        return Item(one, State.NO_EXPIRATION, "it never ends by itself")
    return Item(one, State.IN_ORDER, f"in {_days(one.expires - now)}")


def _selected(one: Secret, declarations: Declarations, groups: tuple[GroupTest, ...]) -> bool:
    subject = declarations.subject("secret", one.id)
    if any(subject.known_in(group) for group in groups):
        return True
    return any(clause.groups is None and not clause.entry.created_by_caller for clause in declarations.clauses)


def _days(span: Micros) -> str:
    days = span // DAY
    return f"{days} day{'s' if days != 1 else ''}"
