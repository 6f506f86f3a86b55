"""The join of lines that name no request id with the request they tell of (kmwatch.core.join, lines, pairing).

A line is given to a request only where there is no doubt; what cannot be told apart is marked, and each line counts
once.
"""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec.structs import replace

from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.join import Joined
from kmwatch.core.lines import FAR, NEAR, TIGHT, WIDE
from kmwatch.core.model import HOUR, MINUTE, SECOND, AddressSource, Evidence, Failure, Kind, Micros, Outcome, Witness
from kmwatch.core.record import AccessRecord, AuditRecord, Note, Sighting, Slot
from tests.support.audit import SECRET, START, halves, record
from tests.support.joining import Joining
from tests.support.witnesses import (
    ALL,
    AUDIT_AND_PROXY,
    CLIENT,
    OTHER_CLIENT,
    PAYLOAD,
    PROXY,
    WAY,
    acquainted,
    line,
    note,
    processed,
    web,
)

SETTLE = AUDIT_AND_PROXY.settle
TRUSTED = Expected(AUDITED | Slot.PROXY, trusted_ids=True)


def whole(number: int = 1, at: Micros = START, *, path: str = PAYLOAD, status: int = 200) -> AuditRecord:
    """A request that began and was answered at `at`, in one audit event that claims the client's address."""
    return record(number, at=at, took=0, path=path, status=status, address=CLIENT)


def in_order(*records: Sighting) -> list[Sighting]:
    return sorted(records, key=lambda one: one.observed_time)


def claiming(told: AuditRecord, address: str | None) -> AuditRecord:
    """The same where the audit event was told another address."""
    return replace(told, initiator=replace(told.initiator, address=address))


# By request id


def test_all_that_four_witnesses_say_under_one_id_is_one_event_told_when_the_last_of_them_speaks() -> None:
    parts = Joining(ALL)
    request, response = halves(took=0, address=CLIENT)
    records: list[Sighting] = [request, note(1), response, processed(1), web(), line(key="req-1")]
    became = [parts.add(one, stream) for one, stream in zip(records, "abcdef", strict=True)]
    assert became == [Joined.WAITING] * 5 + [Joined.WAITING]  # the web server's line has no id, so it is sought
    parts.due(START + 3 * SECOND)
    (told,) = parts.told
    assert sorted(told.streams) == list("abcdef")
    assert (told.event.event_id, told.event.evidence, told.event.flags) == ("api:req-1", Evidence.COMPLETE, ())
    assert told.event.seen_in == (Witness.CADF, Witness.SERVICE_LOG, Witness.ACCESS_LOG, Witness.PROXY_LOG)
    assert (told.event.initiator.address, told.event.initiator.address_source) == (CLIENT, AddressSource.PROXY)


def test_a_proxys_line_with_the_id_completes_its_request_at_once_in_any_order() -> None:
    events = set()
    records: list[Sighting] = [*halves(took=0, address=CLIENT), replace(line(key="req-1"), observed_time=START)]
    for order in permutations(records):
        parts = Joining(AUDIT_AND_PROXY)
        assert [parts.add(one) for one in order] == [Joined.WAITING, Joined.WAITING, Joined.COMPLETE]
        (told,) = parts.told
        events.add(told.event)
    assert len(events) == 1


def test_the_service_log_says_what_was_given_out_where_the_path_does_not() -> None:
    parts = Joining(Expected(AUDITED | Slot.SERVICE_END))
    path = f"/v1/secrets/{SECRET}"
    for one in (*halves(took=0, path=path), note(1, what=Note.LEGACY, detail=SECRET), processed(1, path=path)):
        parts.add(one)
    assert (parts.last.kind, parts.last.flags) == (Kind.RETRIEVAL, ("legacy_read",))


# Without an id: beyond doubt


def test_a_line_with_the_requests_method_path_status_and_time_is_its_own() -> None:
    parts = acquainted()
    parts.add(whole(1), "audit")
    assert parts.add(line(), "proxy") is Joined.WAITING
    assert parts.due(START + WIDE - 1) == []
    (told,) = parts.due(START + WIDE)
    assert (told.streams, told.early) == (("audit", "proxy"), False)
    assert (told.event.evidence, told.event.flags) == (Evidence.COMPLETE, ())
    assert (told.event.initiator.address, told.event.initiator.address_source) == (CLIENT, AddressSource.PROXY)
    assert parts.due(START + MINUTE) == []


def test_a_line_that_was_written_before_its_request_is_known_is_found_too() -> None:
    parts = acquainted(ahead=-SECOND)
    parts.add(line(ahead=-SECOND))
    parts.add(whole(1))
    (told,) = parts.due(START + WIDE)
    assert told.event.initiator.address == CLIENT


@pytest.mark.parametrize(
    "path", [f"//v1/secrets/{SECRET}/payload", f"/v1/./secrets/{SECRET}/payload", PAYLOAD + "?x=1"]
)
def test_a_line_may_spell_the_path_as_the_client_did(path: str) -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(line(path=path))
    (told,) = parts.due(START + WIDE)
    assert told.event.evidence is Evidence.COMPLETE


def test_a_line_tells_get_from_head_which_the_audit_event_does_not() -> None:
    parts = acquainted()
    parts.add(whole(1, status=403))
    parts.add(line(method="HEAD", status=403))
    (told,) = parts.due(START + WIDE)
    assert told.event.method == "HEAD"


@pytest.mark.parametrize(
    "other",
    [
        line(path=f"/v1/secrets/{SECRET}/acl"),
        line(path="/v1/secrets/other/payload"),
        line(method="DELETE"),
        line(status=403),
        line(status=None),
        line(START + WIDE + 5000),
        line(START - WIDE - 5000),
    ],
    ids=["sub-resource", "secret", "method", "status", "no answer", "later", "earlier"],
)
def test_a_line_that_does_not_fit_is_a_request_of_its_own(other: AccessRecord) -> None:
    parts = acquainted()
    parts.now = START - MINUTE
    for one in in_order(other, whole(1)):
        parts.add(one)
    parts.due(START + 2 * MINUTE)
    by_id = {event.event_id.partition(":")[0]: event for event in parts.events}
    assert len(parts.events) == 2
    assert by_id["api"].flags == ("address_unproven", "proxy_log_missing")
    assert by_id["line"].seen_in == (Witness.PROXY_LOG,)


def test_a_line_whose_path_the_proxy_cut_fits_the_request_that_goes_on() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(line(path=PAYLOAD[:30], cut=True))
    (told,) = parts.due(START + WIDE)
    assert (told.event.evidence, told.event.path_raw) == (Evidence.COMPLETE, PAYLOAD)


def test_requests_of_one_moment_are_told_apart_by_what_they_asked_for() -> None:
    parts = acquainted()
    for number in range(20):
        parts.add(whole(number, path=f"/v1/secrets/s{number}"))
    for number in reversed(range(20)):
        parts.add(line(path=f"/v1/secrets/s{number}", peer=f"198.51.100.{number}"))
    parts.due(START + WIDE)
    told = {event.event_id: event.initiator.address for event in parts.events}
    assert told == {f"api:req-{number}": f"198.51.100.{number}" for number in range(20)}


# Clocks


@pytest.mark.parametrize("apart", [2 * TIGHT + 5000, 2 * NEAR, FAR, SECOND])
def test_of_the_same_request_made_again_each_has_its_line_once_the_clocks_are_known(apart: int) -> None:
    parts = acquainted()
    for number in range(3):
        at = START + number * apart
        parts.add(whole(number, at), "a")
        parts.add(line(at, peer=f"198.51.100.{number}"))
    parts.due(START + MINUTE)
    assert [event.initiator.address for event in parts.events] == [f"198.51.100.{number}" for number in range(3)]
    assert all("join_ambiguous" not in event.flags for event in parts.events)


def test_before_the_clocks_are_known_what_happened_within_two_seconds_may_be_either() -> None:
    parts = Joining(AUDIT_AND_PROXY)
    for number in range(2):
        parts.add(whole(number, START + number * SECOND))
        parts.add(line(START + number * SECOND, peer=f"198.51.100.{number}"))
    parts.due(START + MINUTE)
    assert ["join_ambiguous" in event.flags for event in parts.events] == [True, True]


@pytest.mark.parametrize("ahead", [-SECOND, 5 * SECOND])
def test_a_clock_that_is_off_is_learned_and_its_lines_find_their_requests(ahead: int) -> None:
    parts = Joining(AUDIT_AND_PROXY)
    parts.now = START - MINUTE
    found = []
    for number in range(12):
        at, path = START + number * MINUTE, f"/v1/secrets/s{number}"
        for one in in_order(whole(number, at, path=path), line(at, path=path, ahead=ahead)):
            parts.add(one)
        parts.due(at + 50 * SECOND)
        found.append(parts.join.skews.of("lb1"))
    assert found[-1] == ahead + WAY
    assert parts.events[-1].seen_in == (Witness.CADF, Witness.PROXY_LOG)


# Without an id: in doubt


def test_two_requests_and_two_lines_that_cannot_be_told_apart_are_marked_and_each_line_counts_once() -> None:
    parts = acquainted()
    for number, peer in enumerate((CLIENT, OTHER_CLIENT)):
        parts.add(whole(number), "audit")
        parts.add(line(peer=peer), "proxy")
    parts.due(START + 2 * MINUTE)
    assert [event.event_id for event in parts.events] == ["api:req-0", "api:req-1"]
    for told in parts.events:
        assert "join_ambiguous" in told.flags
        assert told.seen_in == (Witness.CADF, Witness.PROXY_LOG)
        assert told.initiator.address_source is AddressSource.AUDIT  # nobody knows whose line is whose
    assert sorted(stream for told in parts.told for stream in told.streams) == ["audit", "audit", "proxy", "proxy"]
    assert parts.join.lines[Slot.PROXY].waiting == {}


def test_where_all_lines_show_the_same_peer_it_makes_no_difference_which_is_whose() -> None:
    parts = acquainted()
    for number in range(3):
        parts.add(whole(number))
        parts.add(line(serial=str(number)))
    parts.due(START + 2 * MINUTE)
    for told in parts.events:
        assert (told.initiator.address, told.initiator.address_source) == (CLIENT, AddressSource.PROXY)
        assert "join_ambiguous" not in told.flags


def test_a_line_that_may_be_either_of_two_requests_counts_once_and_marks_both() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(whole(2))
    parts.add(line())
    parts.due(START + 2 * MINUTE)
    assert len(parts.events) == 2
    assert ["join_ambiguous" in told.flags for told in parts.events] == [True, True]
    assert sorted(Witness.PROXY_LOG in told.seen_in for told in parts.events) == [False, True]
    assert {told.initiator.address_source for told in parts.events} == {AddressSource.AUDIT}


def test_a_request_with_two_lines_that_fit_takes_one_and_is_marked_and_the_other_is_told_alone() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(line(peer=CLIENT))
    parts.add(line(peer=OTHER_CLIENT))
    parts.due(START + 2 * MINUTE)
    request, alone = parts.events
    assert "join_ambiguous" in request.flags
    assert (alone.seen_in, alone.request_id) == ((Witness.PROXY_LOG,), None)


def test_lines_that_only_one_sharing_out_explains_are_shared_out_so() -> None:
    parts = acquainted()
    third = TIGHT  # 1 may be a's or b's, 2 may be b's or c's, 3 may be c's only: so 1 is a's, 2 is b's, 3 is c's
    times = [0, 3 * third, 6 * third]
    for number, after in enumerate(times):
        parts.add(whole(number, START + after))
        parts.add(line(START + after + (third if number < 2 else 0), peer=f"198.51.100.{number}"))
    parts.due(START + MINUTE)
    assert [event.initiator.address for event in parts.events] == ["198.51.100.0", "198.51.100.1", "198.51.100.2"]


# The web server's own log


def test_behind_a_proxy_the_web_servers_line_is_as_good_as_any_other_of_the_moment() -> None:
    parts = acquainted(ALL)
    for number in range(2):
        at = START + number * 100_000
        for one in (whole(number, at), processed(number, at), line(at, peer=f"198.51.100.{number}")):
            parts.add(one)
    for number in range(2):
        parts.add(web(START, serial=str(number)))
    parts.due(START + MINUTE)
    assert [(event.initiator.address, event.evidence) for event in parts.events] == [
        ("198.51.100.0", Evidence.COMPLETE),
        ("198.51.100.1", Evidence.COMPLETE),
    ]


def test_who_comes_past_the_proxy_is_known_by_the_web_servers_peer() -> None:
    parts = acquainted(ALL)
    parts.add(claiming(whole(1), None))
    parts.add(processed(1))
    parts.add(web(peer="203.0.113.9"))
    (told,) = [told for told in parts.due(START + MINUTE) if not told.early]
    assert (told.event.initiator.address, told.event.initiator.address_source) == ("203.0.113.9", AddressSource.ACCESS)
    assert (told.event.flags, told.event.evidence) == (("past_proxy",), Evidence.COMPLETE)


# Lines that no request claims


def test_what_only_proxy_and_web_server_tell_of_is_one_event_when_its_time_is_over() -> None:
    parts = acquainted(ALL)
    parts.add(line(status=401), "proxy")
    parts.add(web(status=401), "web")
    assert parts.due(START + SETTLE) == []
    (told,) = parts.due(START + SETTLE + WIDE + SECOND)
    assert sorted(told.streams) == ["proxy", "web"]
    event = told.event
    assert (event.request_id, event.initiator.user_id, event.initiator.address) == (None, None, CLIENT)
    assert (event.outcome, event.failure, event.kind) == (Outcome.FAILURE, Failure.UNAUTHENTICATED, Kind.RETRIEVAL)
    assert event.seen_in == (Witness.ACCESS_LOG, Witness.PROXY_LOG)
    assert event.event_id.startswith("line:")
    assert parts.due(START + 2 * MINUTE) == []


def test_the_id_of_what_only_a_line_shows_is_of_its_content() -> None:
    ids = []
    for streams in (("a", "b"), ("b", "a")):
        parts = acquainted()
        parts.add(line(status=401, peer=CLIENT), streams[0])
        parts.add(line(status=401, peer=OTHER_CLIENT), streams[1])
        ids.append([told.event.event_id for told in parts.due(START + MINUTE)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_what_the_proxy_answered_by_itself_lacks_no_audit_event() -> None:
    parts = acquainted(ALL)
    parts.add(line(status=503, served=False))
    (told,) = parts.due(START + MINUTE)
    assert not {"audit_missing", "service_log_missing", "access_log_missing"} & set(told.event.flags)


def test_a_browsers_options_lacks_no_audit_event() -> None:
    parts = acquainted(ALL)
    parts.add(line(method="OPTIONS", path="/v1/secrets"))
    (told,) = parts.due(START + MINUTE)
    assert "audit_missing" not in told.event.flags


def test_what_the_key_manager_served_and_nobody_audited_is_flagged() -> None:
    parts = acquainted(ALL)
    parts.add(line())
    (told,) = parts.due(START + MINUTE)
    assert {"audit_missing", "service_log_missing", "access_log_missing"} <= set(told.event.flags)
    assert told.event.evidence is Evidence.PARTIAL


def test_a_line_of_a_log_that_the_configuration_does_not_know_is_left_out() -> None:
    parts = Joining()
    assert parts.add(line()) is Joined.UNWANTED
    assert Joining(AUDIT_AND_PROXY).add(web()) is Joined.UNWANTED
    assert parts.flush() == []


# The same line again


def test_a_line_that_is_marked_as_one_of_its_kind_is_a_duplicate_when_it_comes_again() -> None:
    parts = acquainted()
    parts.add(whole(1))
    assert parts.add(line(serial="40001"), "a") is Joined.WAITING
    assert parts.add(line(serial="40001"), "b") is Joined.DUPLICATE
    parts.due(START + MINUTE)
    assert parts.add(line(serial="40001"), "b", at=START + MINUTE) is Joined.DUPLICATE
    assert len(parts.events) == 1
    assert "join_ambiguous" not in parts.last.flags


def test_the_same_line_by_another_way_is_a_duplicate() -> None:
    parts = acquainted()
    assert parts.add(line(serial="40001", host="lb1")) is Joined.WAITING
    assert parts.add(line(serial="40001", host="10.0.0.9")) is Joined.DUPLICATE


def test_two_lines_that_differ_in_nothing_are_two_requests_if_their_form_could_not_tell_them_apart() -> None:
    parts = acquainted()
    assert [parts.add(line(status=401)) for _ in range(2)] == [Joined.WAITING, Joined.WAITING]
    assert len(parts.due(START + MINUTE)) == 2


# Early, late, and again


def test_a_request_whose_line_is_missing_is_told_early_by_identity_alone() -> None:
    parts = acquainted()
    parts.add(whole(1), "audit")
    (early,) = parts.due(START + WIDE)
    assert (early.early, early.streams, early.before) == (True, (), None)
    assert early.event.initiator.user_id == "user-1"
    assert (early.event.initiator.address, early.event.initiator.address_source) == (None, AddressSource.NONE)
    assert not {"proxy_log_missing", "address_unproven"} & set(early.event.flags)


def test_after_it_was_told_early_a_request_is_told_in_full_once() -> None:
    parts = acquainted()
    parts.add(whole(1), "audit")
    (early,) = parts.due(START + WIDE)
    late = replace(line(), observed_time=START + 5 * SECOND)
    parts.add(late, "proxy")
    parts.due(START + 2 * MINUTE)
    (_, told) = parts.told
    assert (told.early, told.before, told.again, told.streams) == (False, early.event, False, ("audit", "proxy"))
    assert (told.event.initiator.address, told.event.evidence) == (CLIENT, Evidence.COMPLETE)


def test_nothing_is_told_early_of_a_request_that_the_key_manager_has_not_answered() -> None:
    parts = acquainted()
    parts.add(record(1, Slot.CADF_REQUEST))
    assert parts.due(START + SETTLE - 1) == []


def test_evidence_that_comes_after_the_settle_time_tells_the_request_again() -> None:
    parts = acquainted()
    parts.add(whole(1), "audit")
    parts.due(START + SETTLE)
    (_, first) = parts.told
    assert first.event.flags == ("address_unproven", "proxy_log_missing")
    became = parts.add(line(key="req-1"), "proxy", at=START + 2 * MINUTE)
    again = parts.told[-1]
    assert became is Joined.LATE_PART
    assert (again.again, again.before, again.streams) == (True, first.event, ("proxy",))
    assert again.event.event_id == first.event.event_id
    assert (again.event.initiator.address, again.event.evidence) == (CLIENT, Evidence.COMPLETE)
    assert parts.join.lingering == {}


def test_a_request_told_again_with_something_still_missing_goes_on_to_linger() -> None:
    parts = acquainted(Expected(AUDITED | Slot.PROXY | Slot.SERVICE_END))
    parts.add(whole(1))
    parts.due(START + SETTLE)
    parts.add(processed(1), at=START + MINUTE)
    parts.add(line(key="req-1"), at=START + 2 * MINUTE)
    tellings = [told for told in parts.told if not told.early]
    assert [told.again for told in tellings] == [False, True, True]
    assert [told.before for told in tellings[1:]] == [told.event for told in tellings[:2]]
    assert tellings[-1].event.evidence is Evidence.COMPLETE


# Bounds


def test_too_many_waiting_lines_are_told_alone_oldest_first_and_counted() -> None:
    parts = acquainted(limit=2)
    for number in range(4):
        parts.add(line(START + number, path=f"/v1/secrets/s{number}"))
    told = parts.crowd()
    assert [one.event.path for one in told] == ["/v1/secrets/s0", "/v1/secrets/s1"]
    assert (parts.join.evicted, len(parts.join.lines[Slot.PROXY].waiting)) == (2, 2)


def test_more_of_the_same_at_one_moment_than_can_be_told_apart_is_marked_and_not_searched() -> None:
    parts = acquainted()
    for number in range(100):
        parts.add(whole(number))
        parts.add(line(peer=f"198.51.100.{number}"))
    parts.due(START + 2 * MINUTE)
    by_id = [event for event in parts.events if event.request_id]
    assert len(by_id) == 100
    assert all("join_ambiguous" in event.flags for event in by_id)
    assert all(event.initiator.address_source is AddressSource.AUDIT for event in by_id)


def test_what_is_over_leaves_nothing_behind() -> None:
    parts = acquainted(ALL)
    for number in range(10):
        at = START + number * SECOND
        parts.add(whole(number, at))
        parts.add(processed(number, at))
        parts.add(line(at, key=f"req-{number}" if number % 2 else ""))
        if number % 3:
            parts.add(web(at))
    parts.due(START + 20 * MINUTE)
    assert (parts.join.open, parts.join.lingering) == ({}, {})
    for lines in parts.join.lines.values():
        assert lines.waiting == {}
        assert list(lines._requests.places()) == []


# What an attacker may write


def test_an_id_that_a_client_made_up_joins_nothing_where_no_proxy_overwrites_it() -> None:
    parts = acquainted()
    parts.add(replace(whole(1), global_request_id="req-forged"))
    parts.add(line(START + 5 * SECOND, path="/v1/secrets/other", made="req-forged"))
    parts.due(START + 2 * MINUTE)
    assert len(parts.events) == 2
    assert "proxy_log_missing" in parts.events[0].flags


def test_the_id_that_a_declared_proxy_made_tells_apart_what_nothing_else_can() -> None:
    parts = acquainted(TRUSTED)
    for number in (0, 1):
        parts.add(replace(whole(number), global_request_id=f"req-made-{number}"))
    for number in (1, 0):
        parts.add(line(peer=f"198.51.100.{number}", made=f"req-made-{number}"))
    parts.due(START + MINUTE)
    assert [event.initiator.address for event in parts.events] == ["198.51.100.0", "198.51.100.1"]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "User-Agent"])
def test_headers_have_no_say_in_which_line_is_whose(header: str) -> None:
    parts = acquainted()
    for number in range(2):
        told = claiming(whole(number, START + number * SECOND), None)
        lie = {"X-Forwarded-For": {"address": f"198.51.100.{1 - number}"}, "User-Agent": {"agent": f"a{1 - number}"}}
        parts.add(replace(told, initiator=replace(told.initiator, **lie[header])))
        parts.add(line(START + number * SECOND, peer=f"198.51.100.{number}", agent=f"a{number}"))
    parts.due(START + MINUTE)
    assert [event.initiator.address for event in parts.events] == ["198.51.100.0", "198.51.100.1"]
    assert all("join_ambiguous" not in event.flags for event in parts.events)


def test_the_host_header_changes_nothing_of_a_path() -> None:
    parts = acquainted(Expected(AUDITED | Slot.PROXY | Slot.SERVICE_END))
    parts.add(whole(1))
    parts.add(processed(1))
    parts.add(line(path="http://evil.example" + PAYLOAD))
    (told,) = [told for told in parts.due(START + MINUTE) if not told.early]
    assert (told.event.evidence, told.event.path) == (Evidence.COMPLETE, PAYLOAD)


def test_a_proxy_is_known_by_its_address_and_not_by_what_it_says() -> None:
    assert ALL.is_proxy(PROXY)
    assert not ALL.is_proxy(f"{PROXY}, 203.0.113.9")
    assert not ALL.is_proxy(None)


# Later than all that


@pytest.mark.parametrize("late", [SETTLE + MINUTE, 9 * MINUTE])
def test_a_line_that_comes_when_its_request_has_been_told_at_last_tells_it_again(late: int) -> None:
    parts = acquainted()
    parts.add(whole(1), "audit")
    (*_, alone) = parts.due(START + SETTLE)
    assert alone.event.flags == ("address_unproven", "proxy_log_missing")
    parts.add(line(), "proxy", at=START + late)
    (again,) = parts.due(START + late + WIDE)
    assert (again.again, again.streams, again.before) == (True, ("proxy",), alone.event)
    assert (again.event.event_id, again.event.initiator.address) == (alone.event.event_id, CLIENT)
    assert again.event.flags == ("late",)
    assert parts.due(START + HOUR) == []
    assert list(parts.join.lines[Slot.PROXY]._requests.places()) == []


def test_a_line_that_comes_when_its_request_is_forgotten_is_told_alone() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.due(START + 20 * MINUTE)
    parts.add(line(), at=START + 20 * MINUTE)
    (alone,) = parts.due(START + HOUR)
    assert alone.event.request_id is None
