"""Verdicts: which declaration explains a request, and what is said where none does."""

from __future__ import annotations

import pytest

from kmwatch.core.callermap import AllowEntry, CallerEntry, Hours, ProjectSelector, SecretGroup, UserSelector
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities
from kmwatch.core.match import match
from kmwatch.core.model import DAY, HOUR, MINUTE, SECOND, AddressSource, Kind, Nearest, Rate, Reason
from tests.support.declared import ALICE, BOB, NOON, OCTAVIA, TENANT, declarations, event, initiator

LB = SecretGroup("lb", names=("lb-*",), types=("private",))
NET = ("10.20.0.0/24",)


def octavia(**changes: object) -> CallerEntry:
    fields: dict[str, object] = {"users": (UserSelector(name="octavia"),), "networks": NET, **changes}
    return CallerEntry("octavia", **fields)  # type: ignore[arg-type]


def allowing(caller: CallerEntry | None = None, **changes: object) -> Declarations:
    fields: dict[str, object] = {"groups": ("lb",), **changes}
    entry = AllowEntry("octavia-lb", ("octavia",), **fields)  # type: ignore[arg-type]
    return declarations([caller or octavia()], [LB], [entry])


def test_a_declared_read_is_explained_by_its_entry_and_caller() -> None:
    found = match(allowing(), event())
    assert (found.explained, found.reason, found.declaration, found.caller, found.nearest) == (
        True,
        Reason.DECLARED,
        "octavia-lb",
        "octavia",
        None,
    )


def test_an_empty_map_explains_nothing() -> None:
    found = match(declarations(), event())
    assert (found.explained, found.reason, found.nearest) == (False, Reason.NO_DECLARATION, None)


@pytest.mark.parametrize(
    "address", ["10.21.0.7", None, "", "unknown", "10.20.0.7, 10.1.1.1", "10.20.0.7%1", "1" * 2000]
)
def test_an_address_outside_absent_or_made_up_breaks_the_network(address: str | None) -> None:
    found = match(allowing(), event(initiator(address=address)))
    assert (found.explained, found.reason, found.declaration) == (False, Reason.NETWORK, "octavia-lb")
    assert found.nearest == Nearest("octavia-lb", "networks", "10.20.0.0/24", address)


def test_an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address() -> None:
    assert match(allowing(), event(initiator(address="::ffff:10.20.0.7"))).explained is True


def test_an_address_no_witness_shows_is_a_gap_only_where_a_proxy_log_is_expected() -> None:
    unseen = event(initiator(address=None, address_source=AddressSource.NONE))
    found = match(allowing(), unseen, address_expected_from_proxy=True)
    assert (found.explained, found.reason) == (None, Reason.EVIDENCE_MISSING)
    assert match(allowing(), unseen).reason is Reason.NETWORK


def test_a_forged_empty_address_is_no_gap_even_where_a_proxy_log_is_expected() -> None:
    forged = event(initiator(address="", address_source=AddressSource.AUDIT))
    assert match(allowing(), forged, address_expected_from_proxy=True).reason is Reason.NETWORK


@pytest.mark.parametrize("agent", ["curl/8", "Octavia-worker", "x octavia-worker", None])
def test_an_agent_must_match_the_whole_pattern_with_its_case(agent: str | None) -> None:
    found = match(allowing(octavia(agents=("octavia-*",))), event(initiator(agent=agent)))
    assert (found.explained, found.reason) == (False, Reason.AGENT)


def test_an_entry_holds_through_its_last_moment_and_not_after() -> None:
    held = allowing(expires=NOON)
    assert match(held, event(at=NOON - 1)).explained is True
    found = match(held, event(at=NOON))
    assert (found.reason, found.nearest) == (
        Reason.EXPIRED,
        Nearest("octavia-lb", "expires", "2026-11-23", "2026-11-24"),
    )


def test_an_action_that_is_not_declared_breaks_the_entry() -> None:
    found = match(allowing(), event(kind=Kind.DELETE))
    assert (found.reason, found.nearest) == (
        Reason.ACTION,
        Nearest("octavia-lb", "actions", "retrieval", "delete"),
    )


def test_a_request_can_be_judged_as_another_action_than_its_kind() -> None:
    assert match(allowing(), event(kind=Kind.METADATA_READ), Kind.RETRIEVAL).explained is True


@pytest.mark.parametrize(
    ("hours", "at", "explained"),
    [
        (Hours(start=480, end=720), NOON - 1, True),
        (Hours(start=480, end=720), NOON, False),
        (Hours(days=(0,), start=0, end=1440), NOON, False),
        (Hours(start=480, end=750, timezone="Europe/Berlin"), NOON, False),
        (Hours(start=780, end=781, timezone="Europe/Berlin"), NOON, True),
        (Hours(days=(0,), start=1320, end=240), NOON - 9 * HOUR, True),  # Tuesday 03:00, the shift of Monday
        (Hours(days=(1,), start=1320, end=240), NOON - 9 * HOUR, False),
        (Hours(days=(1,), start=1320, end=240), NOON + 11 * HOUR, True),
    ],
)
def test_hours_hold_in_their_zone_and_over_midnight(hours: Hours, at: int, explained: bool) -> None:  # noqa: FBT001
    found = match(allowing(hours=hours), event(at=at))
    assert found.explained is explained
    assert found.reason is (Reason.DECLARED if explained else Reason.HOURS)


def test_the_time_in_a_nearest_declaration_is_that_of_the_request_and_of_no_earlier_one() -> None:
    held = allowing(hours=Hours(start=480, end=720))
    first, second = match(held, event(at=NOON)), match(held, event(at=NOON + SECOND))
    assert first.nearest is not None
    assert second.nearest is not None
    assert first.nearest.actual == "2026-11-24T12:00:00Z"
    assert second.nearest.actual == "2026-11-24T12:00:01Z"


def test_of_two_broken_constraints_the_earlier_in_the_fixed_order_is_the_reason() -> None:
    held = allowing(expires=NOON - DAY)
    found = match(held, event(initiator(address="10.9.9.9"), kind=Kind.DELETE))
    assert found.reason is Reason.EXPIRED


def test_the_reason_is_that_of_the_entry_with_the_fewest_broken_constraints() -> None:
    entries = [
        AllowEntry("far", ("octavia",), ("lb",), expires=NOON - DAY),
        AllowEntry("near", ("octavia",), ("lb",)),
    ]
    found = match(declarations([octavia()], [LB], entries), event(initiator(address="10.9.9.9")))
    assert (found.reason, found.declaration) == (Reason.NETWORK, "near")


def test_the_first_true_entry_in_file_order_explains() -> None:
    entries = [AllowEntry(name, ("octavia",), ("lb",)) for name in ("first", "second")]
    assert match(declarations([octavia()], [LB], entries), event()).declaration == "first"


def test_a_rate_is_handed_to_the_caller_to_hold() -> None:
    rate = Rate(200, 5 * MINUTE)
    assert match(allowing(rate=rate), event()).rate == rate


def test_an_entry_without_a_rate_explains_before_one_with_a_rate() -> None:
    entries = [
        AllowEntry("limited", ("octavia",), ("lb",), rate=Rate(1, MINUTE)),
        AllowEntry("free", ("octavia",), ("lb",)),
    ]
    found = match(declarations([octavia()], [LB], entries), event())
    assert (found.declaration, found.rate) == ("free", None)


def test_a_secret_the_inventory_lacks_leaves_an_entry_by_name_undecided() -> None:
    found = match(allowing(), event(secret="new"))
    assert (found.explained, found.reason, found.caller) == (None, Reason.SECRET_UNKNOWN, "octavia")
    assert found.nearest == Nearest("octavia-lb", "secret", "lb", "new")


def test_a_secret_the_inventory_lacks_is_decided_by_its_id() -> None:
    by_id = declarations([octavia()], [SecretGroup("lb", ids=("new",))], [AllowEntry("e", ("octavia",), ("lb",))])
    assert match(by_id, event(secret="new")).explained is True
    assert match(by_id, event(secret="other")).explained is False


def test_an_unknown_secret_excuses_nobody_outside_the_network() -> None:
    assert match(allowing(), event(initiator(address="10.9.9.9"), secret="new")).explained is False


def test_an_unknown_secret_excuses_no_stranger() -> None:
    assert match(allowing(), event(initiator("id-mallory"), secret="new")).explained is False


def test_a_secret_without_a_name_is_in_no_group_by_name() -> None:
    assert match(allowing(), event(secret="bare")).explained is False


def test_a_declared_caller_on_a_secret_that_is_not_its_own_has_no_declaration() -> None:
    found = match(allowing(), event(secret="vol-1"))
    assert (found.explained, found.reason, found.declaration, found.caller) == (
        False,
        Reason.NO_DECLARATION,
        None,
        "octavia",
    )
    assert found.nearest == Nearest("octavia-lb", "secret", "lb", "vol-1")


def test_a_stranger_is_told_the_declaration_of_the_secret() -> None:
    entries = [AllowEntry("volumes", ("octavia",), ("vol",)), AllowEntry("lb", ("octavia",), ("lb",))]
    held = declarations([octavia()], [LB, SecretGroup("vol", types=("symmetric",))], entries)
    found = match(held, event(initiator("id-mallory")))
    assert (found.reason, found.caller) == (Reason.NO_DECLARATION, None)
    assert found.nearest == Nearest("lb", "caller", "octavia", "mallory")


def test_a_user_in_another_project_than_declared_is_not_the_caller() -> None:
    scoped = allowing(octavia(users=(UserSelector(name="octavia", project="service"),)))
    assert match(scoped, event()).explained is True
    assert match(scoped, event(initiator(project_id=TENANT))).reason is Reason.NO_DECLARATION


def test_the_keys_of_a_caller_are_all_needed() -> None:
    both = octavia(projects=(ProjectSelector(name="tenant"),))
    assert match(allowing(both), event()).explained is False
    assert match(allowing(both), event(initiator(project_id=TENANT))).explained is True


def test_a_role_no_log_shows_leaves_the_caller_undecided() -> None:
    held = allowing(CallerEntry("octavia", roles=("service",)))
    assert match(held, event()).reason is Reason.EVIDENCE_MISSING
    assert match(held, event(initiator(roles=("service", "member")))).explained is True
    assert match(held, event(initiator(roles=("member",)))).explained is False


def test_a_request_without_an_identity_is_undecided() -> None:
    found = match(allowing(), event(initiator(None)))
    assert (found.explained, found.reason, found.caller) == (None, Reason.EVIDENCE_MISSING, None)


def test_a_name_identities_lack_is_matched_by_the_name_shown() -> None:
    named = CallerEntry("octavia", users=(UserSelector(name="newcomer"),))
    held = allowing(named)
    assert match(held, event(initiator("id-9", user_name="newcomer"))).explained is True
    assert match(held, event(initiator("id-9", user_name="other"))).explained is False
    unseen = match(held, event(initiator("id-9", user_name=None)))
    assert (unseen.explained, unseen.reason) == (None, Reason.IDENTITY_UNRESOLVED)


def test_a_user_identities_know_cannot_pass_as_one_they_lack() -> None:
    named = CallerEntry("octavia", users=(UserSelector(name="newcomer"),))
    assert match(allowing(named), event(initiator(BOB, user_name="newcomer"))).explained is False


def test_a_name_in_a_domain_cannot_be_proven_by_the_name_alone() -> None:
    named = CallerEntry("octavia", users=(UserSelector(name="octavia", domain="Default"),))
    held = declarations([named], [LB], [AllowEntry("e", ("octavia",), ("lb",))], identities=Identities())
    found = match(held, event())
    assert (found.explained, found.reason) == (None, Reason.IDENTITY_UNRESOLVED)


def test_a_token_of_the_creator_is_a_service_only_within_its_networks() -> None:
    nova = CallerEntry("nova", creator=True, networks=NET)
    held = declarations([nova], [LB], [AllowEntry("e", ("nova",), ("lb",))])
    assert match(held, event(initiator(ALICE))).explained is True
    assert match(held, event(initiator(BOB))).explained is False
    assert match(held, event(initiator(ALICE, address="10.9.9.9"))).reason is Reason.NETWORK


def test_created_by_caller_allows_what_the_inventory_says_one_created() -> None:
    alice = CallerEntry("alice", users=(UserSelector(id=ALICE),))
    held = declarations([alice], [], [AllowEntry("own", ("alice",), created_by_caller=True)])
    assert match(held, event(initiator(ALICE))).explained is True
    assert match(held, event(initiator(ALICE), "lb-2")).explained is False
    assert match(held, event(initiator(ALICE), "bare")).reason is Reason.SECRET_UNKNOWN


@pytest.mark.parametrize(("container", "explained"), [("box", True), ("mixed", False), ("unknown", None)])
def test_a_container_is_ones_own_if_all_its_secrets_are(container: str, explained: bool | None) -> None:  # noqa: FBT001
    alice = CallerEntry("alice", users=(UserSelector(id=ALICE),))
    entry = AllowEntry("own", ("alice",), created_by_caller=True, actions=(Kind.ACL_CHANGE,))
    change = event(initiator(ALICE), container, kind=Kind.ACL_CHANGE, target_type="container")
    assert match(declarations([alice], [], [entry]), change).explained is explained


def test_any_secret_is_any_secret_known_or_not() -> None:
    held = declarations([octavia()], [], [AllowEntry("e", ("octavia",))])
    assert match(held, event(secret="new")).explained is True
    assert match(held, event(secret=None, target_type="order")).explained is True


def test_what_has_no_secret_is_in_no_group() -> None:
    assert match(allowing(), event(secret="lb-1", target_type="order")).explained is False


@pytest.mark.parametrize(
    "group",
    [
        SecretGroup("lb", ids=("lb-1",)),
        SecretGroup("lb", types=("private",)),
        SecretGroup("lb", projects=(ProjectSelector(name="tenant"),)),
        SecretGroup("lb", projects=(ProjectSelector(id=TENANT),)),
        SecretGroup("lb", creators=(UserSelector(name="alice"),)),
        SecretGroup("lb", creators=(UserSelector(id=ALICE, project="tenant"),)),
        SecretGroup("lb", containers=("box",)),
        SecretGroup("lb", names=("*-1", "nothing")),
    ],
)
def test_every_way_to_select_a_secret_selects_it_and_not_another(group: SecretGroup) -> None:
    held = declarations([octavia()], [group], [AllowEntry("e", ("octavia",), ("lb",))])
    assert match(held, event()).explained is True
    assert match(held, event(secret="bare")).explained is not True


def test_what_is_remembered_is_what_would_be_worked_out() -> None:
    events = [
        event(initiator(user, address=address), secret, kind=kind)
        for user in (OCTAVIA, ALICE, None, "id-mallory")
        for address in ("10.20.0.7", "10.9.9.9")
        for secret in ("lb-1", "vol-1", "new")
        for kind in (Kind.RETRIEVAL, Kind.DELETE)
    ]
    warm = allowing()
    first = [match(warm, e) for e in events]
    assert [match(warm, e) for e in reversed(events)][::-1] == first
    assert [match(allowing(), e) for e in events] == first


def test_long_texts_of_a_client_are_not_remembered() -> None:
    held = allowing()
    for number in range(50):
        match(held, event(initiator(agent=f"{number}" * 400)))
    assert len(held.matches) == 0
