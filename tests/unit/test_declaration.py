"""The compiled caller map: lookups and its digest."""

from __future__ import annotations

from kmwatch.core.cache import Cache
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, UserSelector
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Directory, Identities, Project, User
from kmwatch.core.model import Secret
from tests.support.declared import ALICE, BOB, IDENTITIES, INVENTORY, declarations, initiator

ENTRIES = (
    CallerEntry("nova", creator=True, networks=("10.0.0.0/8",)),
    CallerEntry("alice", users=(UserSelector(id=ALICE),)),
)


def test_a_secret_is_found_as_the_inventory_has_it() -> None:
    assert declarations().secret("lb-1") == INVENTORY[0]
    assert declarations().secret("other") is None


def test_a_decoy_has_its_label_and_no_other_secret_has_one() -> None:
    held = declarations(decoys=[Decoy("lb-1", "honey")])
    assert held.decoy("lb-1") == "honey"
    assert held.decoy("lb-2") is None


def test_a_caller_by_user_is_declared_wherever_it_comes_from() -> None:
    held = declarations([CallerEntry("alice", users=(UserSelector(id=ALICE),), networks=("10.9.0.0/16",))])
    assert held.declared_caller(initiator(ALICE, address="1.2.3.4"), "vol-1") == "alice"
    assert held.declared_caller(initiator(BOB), "vol-1") is None


def test_a_caller_by_user_comes_before_a_creator_caller() -> None:
    assert declarations(ENTRIES).declared_caller(initiator(ALICE), "lb-1") == "alice"


def test_who_created_any_secret_is_declared_through_a_creator_caller() -> None:
    assert declarations(ENTRIES).declared_caller(initiator(BOB), "lb-1") == "nova"
    assert declarations(ENTRIES).is_declared(initiator(BOB))
    assert not declarations(ENTRIES).is_declared(initiator("id-mallory"))
    assert not declarations(ENTRIES).is_declared(initiator(None))


def test_the_digest_changes_with_whatever_can_change_a_verdict() -> None:
    base = CallerMap(ENTRIES, (), (AllowEntry("a", ("alice",)),))
    other = CallerMap(ENTRIES, (), (AllowEntry("a", ("alice",), expires=1),))
    more = Identities(users=(*IDENTITIES.users, User("x", "x")))
    digests = {
        Declarations(base, IDENTITIES, INVENTORY).digest,
        Declarations(other, IDENTITIES, INVENTORY).digest,
        Declarations(base, more, INVENTORY).digest,
        Declarations(base, IDENTITIES, INVENTORY[:1]).digest,
        Declarations(base, IDENTITIES, (*INVENTORY, Secret("new"))).digest,
    }
    assert len(digests) == 5


def test_the_digest_is_the_same_for_the_same_content_in_another_order() -> None:
    caller_map = CallerMap(ENTRIES)
    turned = Identities(IDENTITIES.users[::-1], IDENTITIES.projects[::-1])
    first = Declarations(caller_map, IDENTITIES, INVENTORY).digest
    assert Declarations(caller_map, turned, INVENTORY[::-1]).digest == first


def test_a_name_in_several_domains_is_told_apart_by_its_domain() -> None:
    users = (User("1", "eve", "d1", "One"), User("2", "eve", "d2", "Two"))
    directory = Directory(Identities(users, (Project("p", "p"),)))
    assert directory.user_ids("eve") == ("1", "2")
    assert directory.user_ids("eve", "Two") == ("2",)
    assert directory.user_ids("eve", "d1") == ("1",)
    assert directory.user_ids("eve", "Three") == ()
    assert directory.project_ids("p", "d1") == ()


def test_a_name_of_two_users_fits_neither() -> None:
    users = (User("1", "eve", "d1", "One"), User("2", "eve", "d2", "Two"))
    held = declarations([CallerEntry("eve", users=(UserSelector(name="eve"),))], identities=Identities(users))
    assert not held.is_declared(initiator("1", user_name="eve"))


def test_a_cache_forgets_what_is_not_used_and_stays_within_its_bound() -> None:
    cache: Cache[int, int] = Cache(10)
    cache.put(-1, 7)
    for number in range(1000):
        cache.put(number, number)
        assert cache.get(-1) == 7
    assert cache.get(0) is None
    assert len(cache) <= 20
