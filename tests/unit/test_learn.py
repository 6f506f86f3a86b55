"""Learning: names into families, addresses into networks, acts into a map that a person can review."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.config.maps import compiled, read_map
from kmwatch.config.problems import Problem
from kmwatch.config.source import load_yaml
from kmwatch.config.usage import wider
from kmwatch.config.values import Context
from kmwatch.core.callermap import CallerMap
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities, Project, User
from kmwatch.core.learn.family import pattern
from kmwatch.core.learn.history import History
from kmwatch.core.learn.pace import Hours, busiest, rate_for
from kmwatch.core.learn.place import clusters, networks
from kmwatch.core.learn.propose import Proposal, propose
from kmwatch.core.learn.usage import Usage
from kmwatch.core.match import match
from kmwatch.core.model import HOUR, MINUTE, Acl, AuditEvent, Initiator, Kind, Rate, Secret
from kmwatch.learn.render import render
from tests.support.declared import NOON, event

# ------------------------------------------------------------------------------------------------- families


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lb-key-19222713", "lb-key-*"),
        ("lb-p12-66258186", "lb-p12-*"),
        ("two-2695", "two-*"),
        ("volume-7635d387-ad05-1296-64ec-abc0aaebd456", "volume-*"),
        ("volume-a71bfed5", "volume-*"),
        ("db-1234-password", "db-*-password"),
        ("client-made", "client-made"),
        ("rsa", "rsa"),
        ("backup-2026-11-24", "backup-*"),
        ("a*b?c[d]-77777", "a[*]b[?]c[[]d]-*"),
        ("12345678", None),
        ("", None),
        (None, None),
        ("evil\n- {id: x}", None),
        ("x" * 200, None),
    ],
)
def test_a_name_becomes_the_pattern_of_its_family(name: str | None, family: str | None) -> None:
    assert pattern(name) == family


@given(st.text(max_size=60))
def test_a_name_always_fits_its_own_pattern(name: str) -> None:
    from fnmatch import fnmatchcase  # noqa: PLC0415

    found = pattern(name)
    assert found is None or fnmatchcase(name, found)


# --------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (["10.0.0.10", "10.0.0.11", "10.0.0.12"], [], ("10.0.0.8/29",)),
        (["10.0.0.10", "10.0.0.12"], ["10.0.0.11"], ("10.0.0.10/32", "10.0.0.12/32")),
        (["10.0.0.10", "10.0.1.10"], [], ("10.0.0.10/32", "10.0.1.10/32")),
        (["10.0.0.1", "10.0.0.254"], [], ("10.0.0.0/24",)),
        (["2001:db8::1", "2001:db8::2"], ["10.0.0.1"], ("2001:db8::/126",)),
        (["::ffff:10.0.0.1"], [], ("10.0.0.1/32",)),
        (["unknown", 'evil"} {"a":1'], [], ()),
    ],
)
def test_networks_hold_the_callers_own_addresses_and_nobody_elses(
    own: list[str], others: list[str], expected: tuple[str, ...]
) -> None:
    assert networks(own, [*own, *others]) == expected


def test_clusters_join_what_shares_an_item_through_others_too() -> None:
    assert clusters({"a": [1], "b": [2], "c": [1, 3], "d": [3]}) == [["a", "c", "d"], ["b"]]


# ------------------------------------------------------------------------------------------------ proposals

NAMES = ("alice", "bob", "octavia", "mallory")
IDENTITIES = Identities(
    users=tuple(User(f"id-{name}", name, "default", "Default") for name in NAMES),
    projects=(Project("id-service", "service"), Project("id-web", "web"), Project("id-pay", "pay")),
)
INVENTORY = (
    *(Secret(f"lb-{n}", f"lb-key-{n:08}", "private", "id-web", "id-alice") for n in range(30)),
    *(Secret(f"pay-{n}", f"lb-key-{n:08}", "private", "id-pay", "id-bob") for n in range(5)),
    *(Secret(f"app-{n}", f"app-{n:08}", "opaque", "id-web", "id-alice") for n in range(30)),
    *(Secret(f"vol-{who}", f"volume-{n:08}", "symmetric", "id-web", f"id-{who}") for n, who in enumerate(NAMES)),
    Secret("odd", "\x1b[2J", "opaque", "id-web", "id-alice"),
    Secret("private", "app-99999999", "opaque", "id-web", "id-alice", acl=Acl(project_access=False, users=("id-bob",))),
)
PROJECTS = {"octavia": "id-service", "bob": "id-pay"}


def read(name: str, secret: str, address: str, at: int = 0, agent: str = "curl/8", **changes: object) -> AuditEvent:
    who = Initiator(f"id-{name}", name, PROJECTS.get(name, "id-web"), None, (), address, agent=agent)
    found = replace(event(who, secret, at=NOON + at), event_id=f"{name}-{secret}-{address}-{at}")
    return replace(found, **changes)


def learned(events: Sequence[AuditEvent], *, declared: CallerMap | None = None) -> Proposal:
    return propose(history(events, declared))


def history(events: Sequence[AuditEvent], declared: CallerMap | None = None) -> History:
    held = Declarations(declared or CallerMap(), IDENTITIES, INVENTORY)
    found = History(held)
    for one in events:
        found.observe(one, match(held, one))
    return found


def back(proposal: Proposal, folder: Path) -> tuple[CallerMap, list[Problem]]:
    """What the production reader makes of the text."""
    path, problems = folder / "callers.yaml", list[Problem]()
    path.write_text(render(proposal, ["a title"]), encoding="utf-8")
    document = load_yaml(path, "callers.yaml", problems)
    assert document is not None
    return compiled(read_map(document, Context(folder), problems)), problems


MALLORY = "10.6.6.6"
OCTAVIA = [read("octavia", f"lb-{n % 30}", f"10.0.0.{30 + n % 2}", n * HOUR, "octavia-worker x") for n in range(60)]
OCTAVIA += [read("octavia", f"pay-{n}", "10.0.0.30", n * HOUR, "octavia-worker x") for n in range(5)]


def test_a_service_and_a_family_of_secrets_is_one_line_and_not_one_a_secret() -> None:
    found = learned(OCTAVIA)
    (entry,), (caller,), (group,) = found.entries, found.callers, found.groups
    assert caller.networks == ("10.0.0.30/31",)
    assert [(user.name, user.domain, user.project) for user in caller.users or ()] == [
        ("octavia", "Default", "service")
    ]
    assert (group.names, group.types) == (("lb-key-*",), ("private",))
    assert len(group.creators or ()) == 2
    assert (entry.support.acts, entry.support.secrets, entry.doubts) == (65, 35, ())


def test_many_owners_are_told_by_their_projects_and_few_by_name() -> None:
    inventory = tuple(Secret(f"s{n}", f"db-{n:08}", "opaque", "id-web", f"creator-{n}") for n in range(6))
    held = Declarations(CallerMap(), IDENTITIES, inventory)
    found = History(held)
    for n in range(6):
        found.observe(read("octavia", f"s{n}", "10.0.0.30", n * HOUR), None)
    (group,) = propose(found).groups
    assert (group.creators, [project.name for project in group.projects or ()]) == (None, ["web"])


def test_users_whose_tokens_come_from_one_place_are_a_service_that_works_for_them() -> None:
    found = learned([
        read(name, f"vol-{name}", f"10.0.1.{10 + n % 3}", n * HOUR, "nova-compute castellan")
        for n in range(9) for name in ("alice", "bob")
    ])  # fmt: skip
    (caller,), (group,) = found.callers, found.groups
    assert (caller.name, caller.creator, caller.networks) == ("nova-for-users", True, ("10.0.1.8/29",))
    assert (group.names, group.creators) == (("volume-*",), None)


def test_a_user_whom_a_service_serves_now_and_then_is_no_thief_and_a_thief_at_its_address_is() -> None:
    """The life of one is elsewhere; what nova does for others it does for that one too, and no curl does."""
    events = [
        read(name, f"vol-{name}", "10.0.1.10", n * HOUR, "nova-compute castellan")
        for n in range(9) for name in ("alice", "bob")
    ]  # fmt: skip
    events += [read("mallory", "app-2", "10.3.0.7", n * HOUR) for n in range(9)]
    served = [read("mallory", "vol-mallory", "10.0.1.10", n * MINUTE, "nova-compute castellan") for n in range(2)]
    stolen = [read("mallory", "vol-mallory", "10.0.1.10", n * MINUTE, "curl/8") for n in range(2)]
    assert [entry.doubts for entry in learned([*events, *served]).entries if entry.doubts] == []
    assert [entry.doubts for entry in learned([*events, *stolen]).entries if entry.doubts] != []


def test_several_tokens_from_one_address_by_no_named_service_are_set_aside() -> None:
    found = learned([read(name, f"vol-{name}", "10.9.9.9", n * HOUR) for n in range(4) for name in ("alice", "bob")])
    assert ["no agent that names a service" in doubt for entry in found.entries for doubt in entry.doubts] == [True]


def test_a_user_at_two_places_with_different_secrets_is_two_callers() -> None:
    events = [read("alice", f"app-{n % 5}", "10.3.0.5", n * HOUR) for n in range(10)]
    events += [read("alice", f"lb-{n % 5}", "10.3.9.9", n * HOUR) for n in range(10)]
    assert {(c.name, c.networks) for c in learned(events).callers} == {
        ("alice", ("10.3.0.5/32",)), ("alice-2", ("10.3.9.9/32",)),
    }  # fmt: skip


WEEK = 8 * 24


def test_a_week_of_history_gives_a_rate_with_room_for_twice_the_busiest_hour(tmp_path: Path) -> None:
    calm = [read("octavia", f"lb-{n % 30}", "10.0.0.30", n * 6 * HOUR, "octavia-worker x") for n in range(WEEK // 6)]
    busy = [
        read("octavia", f"lb-{n}", "10.0.0.30", 50 * HOUR + n, "octavia-worker x", event_id=f"b{n}") for n in range(27)
    ]
    found = learned([*calm, *busy])
    (entry,) = found.entries
    assert entry.remarks == ("at most 27 secrets of a user in an hour",)
    assert entry.allow.rate == Rate(60, HOUR)
    assert back(found, tmp_path)[0].allow[0].rate == Rate(60, HOUR)


def test_a_short_history_gives_no_rate_but_says_what_was_seen() -> None:
    (entry,) = learned(OCTAVIA).entries
    assert entry.allow.rate is None
    assert entry.remarks == ("at most 2 secrets of a user in an hour; too little history for a rate: 10/1h would do",)


@pytest.mark.parametrize(("rate", "days", "told"), [("30/1h", 8, True), ("29/1h", 8, False), ("300/1h", 6, False)])
def test_a_rate_ten_times_as_high_as_its_use_is_told_of_where_a_week_was_seen(
    tmp_path: Path,
    rate: str,
    days: int,
    told: bool,  # noqa: FBT001
) -> None:
    path, problems = tmp_path / "callers.yaml", list[Problem]()
    allow = f"{{id: lb, callers: [octavia], secrets: [lb], rate: {rate}}}"
    who, what = "callers: {octavia: {users: [{name: octavia}]}}", 'secrets: {lb: {names: ["lb-*"]}}'
    path.write_text(f"{who}\n{what}\nallow: [{allow}]\n", encoding="utf-8")
    document = load_yaml(path, "callers.yaml", problems)
    assert document is not None
    file = read_map(document, Context(tmp_path), problems)
    held = Declarations(compiled(file), IDENTITIES, INVENTORY)
    usage = Usage(held, proxy_expected=False)
    for hour in range(days * 24):
        for secret in range(3):  # of one user in an hour
            one = read("octavia", f"lb-{secret}", "10.0.0.30", hour * HOUR)
            usage.observe(one, match(held, one))
    said = [problem.message for problem in wider(file, usage)]
    message = "the rate is much wider than its use: never more than 3 distinct secrets of a user in its time"
    assert said == [message] * told


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 90 * HOUR)), max_size=30))
def test_no_hour_of_history_whenever_it_begins_is_beyond_the_rate_it_gives(acts: list[tuple[str, str, int]]) -> None:
    when: dict[tuple[str, str], Hours] = {}
    for user, secret, time in acts:
        when.setdefault((user, secret), Hours()).add(time)
    limit = rate_for(busiest((user, secret, hours) for (user, secret), hours in when.items())).limit
    for user, _, start in acts:
        inside = {secret for who, secret, time in acts if who == user and start <= time < start + HOUR}
        assert len(inside) <= limit


@given(st.lists(st.lists(st.integers(-(10**6), 10**6), max_size=9), max_size=5))
def test_hours_are_a_set_whatever_the_order_in_which_they_came(parts: list[list[int]]) -> None:
    whole = Hours()
    for part in parts:
        one = Hours()
        for hour in part:
            one.add(hour * HOUR + 5)
        whole.take(one)
    assert list(whole) == sorted({hour for part in parts for hour in part})


def test_what_was_seen_twice_is_called_sparse_and_is_in_the_map(tmp_path: Path) -> None:
    found = learned([read("alice", "app-1", "10.3.0.5", n * HOUR) for n in range(2)])
    assert found.entries[0].remarks[0] == "SPARSE: seen 2 times"
    assert len(back(found, tmp_path)[0].allow) == 1


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            [OCTAVIA[-1], *(read("mallory", f"app-{n}", MALLORY, n * 1_000_000) for n in range(20))],
            "secrets once each within a minute",
        ),
        ([read("mallory", "app-1", MALLORY, n * HOUR, flags=("address_forged",)) for n in range(5)], "address_forged"),
        ([read("mallory", "app-1", MALLORY, n * HOUR, path_raw="/v1//secrets/%61") for n in range(5)], "odd spelling"),
        ([read("octavia", "private", "10.0.0.30", n * HOUR) for n in range(5)], "the ACL lets nobody"),
        (
            [*OCTAVIA, *(read("octavia", f"app-{n % 3}", "10.6.6.6", n * MINUTE) for n in range(9))],
            "an address this caller used only briefly",
        ),
    ],
    ids=["sweep", "forged address", "odd path", "private secret", "stolen credential"],
)  # fmt: skip
def test_what_looks_like_an_attack_is_shown_and_not_in_the_map(
    events: list[AuditEvent], said: str, tmp_path: Path
) -> None:
    found = learned(events)
    assert any(said in doubt for entry in found.entries for doubt in entry.doubts)
    held = Declarations(back(found, tmp_path)[0], IDENTITIES, INVENTORY)
    assert match(held, events[-1]).explained is not True


def test_readers_on_the_acl_of_a_private_secret_are_learned() -> None:
    found = learned([read("bob", "private", "10.3.0.6", n * HOUR) for n in range(5)])
    assert [entry.doubts for entry in found.entries] == [()]


def test_owners_who_grant_and_delete_their_own_are_declared_where_they_live() -> None:
    events = [read("alice", f"app-{n % 5}", "10.3.0.5", n * HOUR) for n in range(10)]
    events += [
        read("alice", f"app-{n}", "10.3.0.5", n * HOUR, kind=Kind.ACL_CHANGE, event_id=f"g{n}") for n in range(5)
    ]
    events += [read("bob", "app-1", "10.3.0.6", n * HOUR, kind=Kind.DELETE, event_id=f"d{n}") for n in range(5)]
    found = learned(events)
    (grants,) = [entry.allow for entry in found.entries if entry.allow.actions == (Kind.ACL_CHANGE,)]
    assert (grants.callers, grants.created_by_caller) == (("alice",), True)
    assert found.left == 5  # deletions of what another made


def test_hostile_names_tell_no_family_and_are_selected_by_id(tmp_path: Path) -> None:
    found = learned([read("alice", "odd", "10.3.0.5", n * HOUR) for n in range(5)])
    assert [group.ids for group in found.groups] == [("odd",)]
    assert "\x1b" not in render(found, [])
    assert back(found, tmp_path)[1] == []


def test_the_order_of_history_does_not_matter() -> None:
    events = [*OCTAVIA, *(read("alice", f"app-{n % 7}", "10.3.0.5", n * HOUR) for n in range(20))]
    assert render(learned(events), []) == render(learned(events[::-1]), [])


hostile = st.text(max_size=12)


def anything(addresses: st.SearchStrategy[str]) -> st.SearchStrategy[list[AuditEvent]]:
    one = st.builds(
        read,
        st.sampled_from(NAMES),
        st.sampled_from(["lb-1", "lb-2", "pay-1", "app-1", "vol-alice", "vol-bob", "odd", "private", "gone"]),
        addresses,
        st.integers(0, 100 * HOUR),
        hostile,
        kind=st.sampled_from([Kind.RETRIEVAL, Kind.RETRIEVAL, Kind.DELETE, Kind.ACL_CHANGE]),
    )
    return st.lists(one, max_size=12)


@settings(max_examples=40)
@given(anything(hostile), hostile)
def test_whatever_clients_wrote_the_proposal_is_a_valid_map(
    tmp_path_factory: pytest.TempPathFactory, events: list[AuditEvent], name: str
) -> None:
    strange = [replace(one, initiator=replace(one.initiator, user_name=name, user_id=name)) for one in events[::2]]
    _, problems = back(learned([*events, *strange]), tmp_path_factory.mktemp("learned"))
    assert [problem.message for problem in problems if "named" not in problem.message] == []


@settings(max_examples=40)
@given(anything(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.9.0.1", "2001:db8::1"])))
def test_a_proposal_explains_what_it_was_learned_from(
    tmp_path_factory: pytest.TempPathFactory, events: list[AuditEvent]
) -> None:
    proposal = learned(events)
    held = Declarations(back(proposal, tmp_path_factory.mktemp("learned"))[0], IDENTITIES, INVENTORY)
    explained = sum(match(held, one).explained is True for one in events if one.kind is Kind.RETRIEVAL)
    kept = sum(e.support.acts for e in proposal.entries if not e.doubts and Kind.RETRIEVAL in e.allow.actions)
    assert explained >= kept
