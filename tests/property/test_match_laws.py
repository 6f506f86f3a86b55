"""Laws of the caller map that hold for every map and every request."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.callermap import AllowEntry, CallerEntry, Hours, SecretGroup, UserSelector
from kmwatch.core.match import match
from kmwatch.core.model import DAY, HOUR, AddressSource, AuditEvent, Kind, Rate, Reason
from kmwatch.core.rate import Rates
from tests.support.declared import NOON, declarations, event, initiator

CALLERS = (
    CallerEntry("octavia", users=(UserSelector(name="octavia"),), networks=("10.20.0.0/24",)),
    CallerEntry("alice", users=(UserSelector(id="id-alice"),), agents=("curl*",)),
    CallerEntry("unresolved", users=(UserSelector(name="newcomer"),)),
    CallerEntry("service", roles=("service",)),
    CallerEntry("nova", creator=True, networks=("10.20.0.0/16",)),
)
GROUPS = (
    SecretGroup("lb", names=("lb-*",)),
    SecretGroup("ids", ids=("lb-1", "new")),
    SecretGroup("symmetric", types=("symmetric",)),
)
NAMES = [caller.name for caller in CALLERS]

entries = st.builds(
    AllowEntry,
    id=st.sampled_from(["a", "b", "c"]),
    callers=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple),
    groups=st.one_of(st.none(), st.lists(st.sampled_from(["lb", "ids", "symmetric"]), min_size=1).map(tuple)),
    actions=st.sampled_from([(Kind.RETRIEVAL,), (Kind.DELETE,), (Kind.RETRIEVAL, Kind.ACL_CHANGE)]),
    hours=st.sampled_from([None, Hours(start=600, end=800), Hours(days=(5,), start=1300, end=100)]),
    rate=st.sampled_from([None, Rate(10, HOUR)]),
    expires=st.sampled_from([None, NOON - DAY, NOON + DAY]),
) | st.builds(
    AllowEntry, id=st.just("own"), callers=st.just(("alice", "nova")), created_by_caller=st.sampled_from([True])
)

people = st.builds(
    initiator,
    st.sampled_from(["id-octavia", "id-alice", "id-bob", "id-9", None]),
    user_name=st.sampled_from(["octavia", "newcomer", None]),
    roles=st.sampled_from([(), ("service",), ("member",)]),
    address=st.one_of(st.none(), st.sampled_from(["10.20.0.7", "10.20.9.1"]), st.text(max_size=5)),
    address_source=st.sampled_from([AddressSource.AUDIT, AddressSource.NONE]),
    agent=st.one_of(st.none(), st.just("curl/8"), st.text(max_size=5)),
)
requests = st.builds(
    event,
    people,
    st.sampled_from(["lb-1", "lb-2", "vol-1", "bare", "new", "box", None]),
    kind=st.sampled_from([Kind.RETRIEVAL, Kind.DELETE, Kind.ACL_CHANGE]),
    at=st.integers(NOON - 2 * DAY, NOON + 2 * DAY),
    target_type=st.sampled_from(["secret", "container", "order"]),
)
maps = st.lists(entries, max_size=5)


def explained(allow: list[AllowEntry], request: AuditEvent) -> bool | None:
    return match(declarations(CALLERS, GROUPS, allow), request).explained


@given(requests, st.booleans())
def test_an_empty_map_allows_nothing(request: AuditEvent, expected: bool) -> None:  # noqa: FBT001
    found = match(declarations(CALLERS, GROUPS), request, address_expected_from_proxy=expected)
    assert (found.explained, found.reason) == (False, Reason.NO_DECLARATION)


@given(maps, entries, st.integers(0, 5), requests)
def test_another_entry_never_takes_an_explanation_away(
    allow: list[AllowEntry], entry: AllowEntry, index: int, request: AuditEvent
) -> None:
    if explained(allow, request) is True:
        assert explained([*allow[:index], entry, *allow[index:]], request) is True


@given(st.data(), maps, requests)
def test_the_order_of_entries_never_changes_whether_a_request_is_explained(
    data: st.DataObject, allow: list[AllowEntry], request: AuditEvent
) -> None:
    assert explained(data.draw(st.permutations(allow)), request) == explained(allow, request)


@given(maps, requests)
def test_a_verdict_is_the_or_of_what_the_entries_say_alone(allow: list[AllowEntry], request: AuditEvent) -> None:
    alone = {explained([entry], request) for entry in allow}
    assert explained(allow, request) is (True if True in alone else None if None in alone else False)


@given(maps, st.lists(requests, max_size=8))
def test_earlier_requests_never_change_a_verdict(allow: list[AllowEntry], stream: list[AuditEvent]) -> None:
    warm = declarations(CALLERS, GROUPS, allow)
    assert [match(warm, r) for r in stream] == [match(declarations(CALLERS, GROUPS, allow), r) for r in stream]


@given(maps, requests)
def test_a_verdict_is_consistent_in_itself(allow: list[AllowEntry], request: AuditEvent) -> None:
    found = match(declarations(CALLERS, GROUPS, allow), request)
    assert (found.explained is True) == (found.reason is Reason.DECLARED)
    assert (found.explained is True) == (found.declaration is not None and found.nearest is None)
    undecided = {Reason.SECRET_UNKNOWN, Reason.IDENTITY_UNRESOLVED, Reason.EVIDENCE_MISSING}
    assert (found.explained is None) == (found.reason in undecided)
    assert found.rate is None or found.explained is True


# ------------------------------------------------------------------------------- the life of a map, rates included


streams = st.lists(requests, max_size=12).map(lambda found: sorted(found, key=lambda request: request.event_time))
readers = st.builds(
    event,
    st.sampled_from([initiator(), initiator("id-alice", agent="curl/8")]),
    st.sampled_from(["lb-1", "lb-2", "lb-3", "vol-1"]),
    at=st.integers(NOON, NOON + HOUR),
)
busy = st.lists(readers, min_size=3, max_size=8).map(lambda found: sorted(found, key=lambda read: read.event_time))


def verdicts(allow: list[AllowEntry], stream: list[AuditEvent]) -> list[bool | None]:
    """What each request is, rates held as the detector holds them."""
    held, rates, found = declarations(CALLERS, GROUPS, allow), Rates(1000), []
    for request in stream:
        told = match(held, request)
        found.append((rates.hold(told, request) if told.rate is not None else told).explained)
    return found


tight = st.builds(
    AllowEntry,
    id=st.just("tight"),
    callers=st.sampled_from([("octavia",), ("octavia", "alice")]),
    groups=st.sampled_from([None, ("lb",)]),
    rate=st.builds(Rate, st.integers(1, 3), st.just(DAY)),
)


@example(
    [AllowEntry("wide", ("octavia",), rate=Rate(3, DAY))], AllowEntry("narrow", ("octavia",), rate=Rate(1, DAY)), 0,
    [event(secret="lb-1"), event(secret="lb-2")],
)  # fmt: skip
@example(  # nobody knows whether the reader has the other entry's role
    [AllowEntry("roles", ("service",))], AllowEntry("narrow", ("octavia",), rate=Rate(1, DAY)), 0,
    [event(secret="lb-1"), event(secret="lb-2")],
)  # fmt: skip
@given(st.lists(tight | entries, max_size=3), tight | entries, st.integers(0, 3), busy | streams)
def test_a_declaration_more_never_adds_an_unexplained_read_and_one_less_never_removes_one(
    allow: list[AllowEntry], entry: AllowEntry, index: int, stream: list[AuditEvent]
) -> None:
    named = [replace(one, id=f"entry-{number}") for number, one in enumerate(allow)]
    without = verdicts(named, stream)
    with_it = verdicts([*named[:index], replace(entry, id="one-more"), *named[index:]], stream)
    for before, after in zip(without, with_it, strict=True):
        assert not (before is True and after is not True)
        assert not (before is None and after is False)
