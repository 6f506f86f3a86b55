"""The quarterly review of secrets: what deserves a look, and what is not claimed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.ledger import Use
from kmwatch.core.model import DAY, HOUR, Micros, Secret
from kmwatch.core.review import Concern, Terms, review

NOW: Micros = 1_800_000_000_000_000
TERMS = Terms()
OLD = Secret("old", "db", "passphrase", "p", "u", created=NOW - 200 * DAY, expires=NOW + 300 * DAY)


def used(days_ago: int, reads: int = 3) -> Use:
    return Use(reads, NOW - (days_ago + 10) * DAY, NOW - days_ago * DAY)


def concerns(
    secret: Secret, use: Use | None = None, *others: Secret, since: Micros | None = NOW - 150 * DAY
) -> list[Concern]:
    uses = {} if use is None else {secret.id: use}
    found = review([secret, *others], uses, since, NOW, TERMS)
    return [remark.concern for remark in found if remark.secret.id == secret.id]


def test_a_secret_that_is_read_and_ends_far_away_is_left_alone() -> None:
    assert concerns(OLD, used(1)) == []


def test_a_secret_without_an_end_is_named() -> None:
    assert concerns(replace(OLD, expires=None), used(1)) == [Concern.NO_EXPIRY]


def test_a_secret_that_ends_soon_while_it_is_read_is_urgent() -> None:
    assert concerns(replace(OLD, expires=NOW + 29 * DAY), used(2)) == [Concern.EXPIRES_IN_USE]
    assert concerns(replace(OLD, expires=NOW + 31 * DAY), used(2)) == []
    assert concerns(replace(OLD, expires=NOW + 29 * DAY), used(31)) == []


def test_a_secret_that_was_read_until_its_end_is_urgent() -> None:
    assert concerns(replace(OLD, expires=NOW - DAY), used(2)) == [Concern.EXPIRED_IN_USE]
    assert concerns(replace(OLD, expires=NOW - DAY), used(60)) == []


def test_a_secret_that_was_never_or_long_not_read_may_go() -> None:
    assert concerns(OLD) == [Concern.NEVER_READ]
    assert concerns(OLD, used(90)) == [Concern.NOT_READ_LATELY]
    assert concerns(OLD, used(89)) == []


def test_how_long_it_was_watched_is_told_with_it() -> None:
    (fresh,) = review([replace(OLD, created=NOW - DAY)], {}, NOW - 150 * DAY, NOW, TERMS)
    (short,) = review([OLD], {}, NOW - 2 * DAY, NOW, TERMS)
    assert (fresh.watched, short.watched) == (DAY, 2 * DAY)


def test_nothing_is_said_to_be_unread_where_nobody_watched() -> None:
    assert concerns(OLD, since=None) == []
    assert concerns(replace(OLD, created=NOW)) == []


def test_an_old_secret_still_read_after_its_successor_was_made_is_named_with_it() -> None:
    new = replace(OLD, id="new", created=NOW - 10 * DAY)
    found = review([OLD, new], {"old": used(2), "new": used(1)}, NOW - 150 * DAY, NOW, TERMS)
    assert [(r.secret.id, r.concern, r.successor) for r in found] == [("old", Concern.SUPERSEDED_IN_USE, "new")]


def test_a_successor_is_of_the_same_name_type_project_and_creator_and_newer() -> None:
    for change in ({"name": "other"}, {"type": "opaque"}, {"project_id": "q"}, {"creator_id": "v"}, {"deleted": True}):
        other = replace(OLD, id="new", created=NOW - 10 * DAY, **change)
        assert concerns(OLD, used(2), other) == []
    assert concerns(OLD, used(2), replace(OLD, id="twin")) == [], "made at the same moment"
    assert concerns(replace(OLD, name=None), used(2), replace(OLD, id="new", name=None, created=NOW - DAY)) == []


def test_reads_while_references_are_being_changed_are_in_order() -> None:
    use = Use(1, NOW - DAY, NOW - DAY)
    assert concerns(OLD, use, replace(OLD, id="new", created=NOW - DAY - HOUR)) == []
    assert concerns(OLD, use, replace(OLD, id="new", created=NOW - DAY - HOUR - 1)) == [Concern.SUPERSEDED_IN_USE]


def test_a_deleted_secret_is_not_reviewed() -> None:
    assert concerns(replace(OLD, deleted=True)) == []


secrets = st.lists(
    st.builds(
        Secret,
        st.uuids().map(str),
        st.none() | st.sampled_from(("a", "b")),
        created=st.none() | st.integers(NOW - 400 * DAY, NOW),
        expires=st.none() | st.integers(NOW - 400 * DAY, NOW + 400 * DAY),
        deleted=st.booleans(),
    ),
    max_size=8,
)


@given(secrets, st.data())
def test_remarks_are_urgent_first_and_do_not_depend_on_the_order_of_the_inventory(
    inventory: list[Secret], data: st.DataObject
) -> None:
    times = st.integers(NOW - 400 * DAY, NOW)
    uses = {secret.id: Use(1, at, at) for secret in inventory if (at := data.draw(st.none() | times)) is not None}
    found = review(inventory, uses, NOW - 300 * DAY, NOW, TERMS)
    assert found == review(data.draw(st.permutations(inventory)), uses, NOW - 300 * DAY, NOW, TERMS)
    order = list(Concern)
    assert [order.index(remark.concern) for remark in found] == sorted(order.index(r.concern) for r in found)
    assert not any(remark.secret.deleted for remark in found)
