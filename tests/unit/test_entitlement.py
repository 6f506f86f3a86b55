"""Why the Key Manager gave a payload out: its default policy, held against what is known (guide of secret:decrypt)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.entitlement import Rule, entitlement
from kmwatch.core.model import Acl, Initiator, Secret

OPEN = Secret("s", "n", "opaque", "home", "alice", acl=Acl())
PRIVATE = Secret("s", "n", "opaque", "home", "alice", acl=Acl(project_access=False))
SHARED = Secret("s", "n", "opaque", "home", "alice", acl=Acl(project_access=False, users=("bob",)))
MEMBER, ADMIN, READER = ("member", "reader"), ("admin", "member", "reader"), ("reader",)


def who(user: str = "alice", project: str = "home") -> Initiator:
    return Initiator(user, user, project)


@pytest.mark.parametrize(
    ("caller", "secret", "roles", "by"),
    [
        (who("root"), PRIVATE, ADMIN, [Rule.PROJECT_ADMIN]),
        (who("alice"), PRIVATE, MEMBER, [Rule.CREATOR]),
        (who("alice"), OPEN, MEMBER, [Rule.CREATOR, Rule.PROJECT_MEMBER]),
        (who("anna"), OPEN, MEMBER, [Rule.PROJECT_MEMBER]),
        (who("bob", "elsewhere"), SHARED, (), [Rule.ACL_USER]),
        (who("bob", "elsewhere"), SHARED, None, [Rule.ACL_USER]),
    ],
    ids=["admin", "creator of a private one", "creator", "colleague", "on the ACL", "on the ACL, roles unknown"],
)
def test_who_may_read_may_by_these_ways(
    caller: Initiator, secret: Secret, roles: tuple[str, ...] | None, by: list[Rule]
) -> None:
    found = entitlement(caller, secret, roles)
    assert found.permitted is True
    assert [rule for rule in found.by if rule is not Rule.DEPRECATED_ROLE] == by


@pytest.mark.parametrize(
    ("caller", "secret", "roles"),
    [
        (who("root", "elsewhere"), OPEN, ADMIN),  # an admin of another project sees metadata only
        (who("anna"), PRIVATE, MEMBER),
        (who("anna"), OPEN, READER),
        (who("alice"), PRIVATE, READER),  # the creator who has lost the role
        (who("alice", "elsewhere"), PRIVATE, MEMBER),
        (who("mallory", "elsewhere"), SHARED, MEMBER),
    ],
)
def test_who_may_not_has_no_way(caller: Initiator, secret: Secret, roles: tuple[str, ...]) -> None:
    found = entitlement(caller, secret, roles)
    assert (found.permitted, found.left) == (False, ())


def test_the_deprecated_roles_are_told_and_permit_nothing_by_default() -> None:
    found = entitlement(who("olga"), OPEN, ("observer",))
    assert found.permitted is False
    assert found.by == (Rule.DEPRECATED_ROLE,)


def test_without_acl_and_roles_a_stranger_can_only_have_come_by_the_acl() -> None:
    found = entitlement(who("mallory", "elsewhere"), Secret("s", "n", "opaque", "home", "alice"), None)
    assert (found.permitted, found.left) == (None, (Rule.ACL_USER,))


def test_of_a_secret_that_the_inventory_lacks_nothing_is_known() -> None:
    found = entitlement(who(), None, ADMIN)
    assert found.permitted is None
    assert {ground.holds for ground in found.grounds} == {None}


_maybe = st.none() | st.sampled_from(("home", "alice", "bob"))


@given(
    st.builds(Initiator, _maybe, st.none(), _maybe),
    st.builds(
        Secret, st.just("s"), project_id=_maybe, creator_id=_maybe,
        acl=st.none() | st.builds(Acl, st.booleans(), st.sampled_from(((), ("bob",), ("alice", "bob")))),
    ),
    st.none() | st.lists(st.sampled_from(("admin", "member", "reader", "creator")), max_size=3).map(tuple),
)  # fmt: skip
def test_learning_more_never_turns_a_yes_into_a_no(
    caller: Initiator, secret: Secret, roles: tuple[str, ...] | None
) -> None:
    """What is unknown may become either; what is known stays, whatever else becomes known."""
    found = entitlement(caller, secret, roles)
    for more in ((), ("admin",), ("member", "admin")):
        again = entitlement(caller, secret, roles if roles is not None else more)
        for before, after in zip(found.grounds, again.grounds, strict=True):
            assert before.holds in (None, after.holds)
    assert all(ground.why for ground in found.grounds)
