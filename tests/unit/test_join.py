"""The join by request id: what several records tell of one request is one event (kmwatch.core.join)."""

from __future__ import annotations

from itertools import permutations

import pytest
from msgspec.structs import replace

from kmwatch.core.event import event_id
from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.join import Joined
from kmwatch.core.model import MINUTE, SECOND, Evidence, Kind, Outcome
from kmwatch.core.record import Slot
from tests.support.audit import BOTH, START, balances, engine, halves, merge, record, step
from tests.support.joining import Joining

SETTLE = 30 * SECOND
LINGER = 10 * MINUTE
PROXIED = Expected(AUDITED | Slot.PROXY)


def test_request_and_response_make_one_event_in_either_order() -> None:
    events = []
    for first, second in permutations(halves(took=0)):
        parts = Joining()
        assert parts.add(first, "a") is Joined.WAITING
        assert parts.told == []
        assert parts.add(second, "b") is Joined.COMPLETE
        (told,) = parts.told
        assert sorted(told.streams) == ["a", "b"]
        assert (told.early, told.before, told.again) == (False, None, False)
        events.append(told.event)
    assert events[0] == events[1]
    assert (events[0].event_id, events[0].evidence, events[0].flags) == ("api:req-1", Evidence.COMPLETE, ())
    assert (events[0].event_time, events[0].outcome) == (START, Outcome.SUCCESS)


def test_whichever_half_arrives_first_the_event_is_the_same() -> None:
    events = []
    for first, second in permutations(halves(took=5 * SECOND)):
        made = engine()
        events += [judged.event for judged in merge([step(made, [("a", first), ("b", second)]), made.flush()]).judged]
    assert len(events) == 2
    assert events[0] == events[1]
    assert events[0].flags == ()


def test_a_record_that_is_both_halves_is_an_event_at_once() -> None:
    parts = Joining()
    assert parts.add(record()) is Joined.COMPLETE
    assert parts.last.evidence is Evidence.COMPLETE


def test_the_same_record_again_is_a_duplicate_before_and_after_the_close() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(request, "a")
    assert parts.add(request, "b") is Joined.DUPLICATE
    parts.add(response, "a")
    assert parts.add(response, "b") is Joined.DUPLICATE
    assert parts.add(request, "b") is Joined.DUPLICATE
    assert (parts.join.open, len(parts.told)) == ({}, 1)


def test_a_request_whose_response_never_comes_closes_when_its_time_is_over() -> None:
    parts = Joining()
    parts.add(record(1, Slot.CADF_REQUEST))
    assert parts.due(START + SETTLE - 1) == []
    (told,) = parts.due(START + SETTLE)
    event = told.event
    assert (event.outcome, event.status, event.failure) == (Outcome.UNKNOWN, None, None)
    assert (event.kind, event.evidence, event.flags) == (Kind.RETRIEVAL, Evidence.PARTIAL, ("response_missing",))
    assert (parts.join.timed_out, parts.join.unanswered) == (1, 1)


def test_a_response_alone_still_tells_all() -> None:
    parts = Joining()
    parts.add(record(1, Slot.CADF_RESPONSE))
    (told,) = parts.flush()
    assert (told.event.outcome, told.event.event_time) == (Outcome.SUCCESS, START)
    assert told.event.flags == ("request_missing",)
    assert parts.join.unanswered == 0


def test_a_late_response_makes_the_event_anew_from_all_that_was_seen() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(request, "a")
    (unanswered,) = parts.due(START + SETTLE)
    assert parts.add(response, "b") is Joined.LATE_PART
    told = parts.told[-1]
    assert told.event.event_id == event_id(request.key)
    assert (told.event.outcome, told.event.flags) == (Outcome.SUCCESS, ("late",))
    assert (told.before, told.again, told.streams) == (unanswered.event, True, ("b",))


def test_a_response_that_comes_when_its_request_is_forgotten_makes_an_event_all_the_same() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(request)
    parts.due(START + SETTLE + LINGER)
    assert parts.join.lingering == {}
    assert parts.add(response) is Joined.LATE_PART
    assert parts.last.event_id == event_id(request.key)
    assert (parts.last.outcome, parts.last.flags) == (Outcome.SUCCESS, ("late",))
    for again in (request, response):
        assert parts.add(again) is Joined.DUPLICATE


def test_a_late_request_completes_what_its_response_said() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(response, "a")
    (first,) = parts.due(START + 2 * SETTLE)
    assert parts.add(request, "a") is Joined.LATE_PART
    told = parts.told[-1]
    assert (told.event.flags, told.event.evidence) == (("late",), Evidence.COMPLETE)
    assert (told.before, told.again) == (first.event, True)
    assert told.event.outcome is first.event.outcome
    assert parts.add(request, "a") is Joined.DUPLICATE


def test_a_late_request_adds_nothing_to_what_its_response_said_once_that_is_forgotten() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(response)
    parts.flush()
    assert parts.add(request) is Joined.DUPLICATE
    assert parts.add(request) is Joined.DUPLICATE
    assert len(parts.told) == 1


def test_contradicting_copies_give_the_same_event_in_any_order() -> None:
    request = record(1, Slot.CADF_REQUEST)
    copies = [request, replace(request, path_raw="/v1/secrets/other/payload"), record(1, Slot.CADF_RESPONSE)]
    events = set()
    for order in ((0, 1, 2), (1, 0, 2)):
        parts = Joining()
        for number in order:
            parts.add(copies[number])
        (told,) = parts.told
        events.add(told.event)
    (event,) = events
    assert (event.evidence, event.flags) == (Evidence.CONTRADICTORY, ("conflicting_duplicate",))
    assert event.target.id != "other"  # the response's word counts


def test_contradicting_responses_are_flagged_and_the_least_counts() -> None:
    first = record(1, Slot.CADF_RESPONSE, status=200)
    second = record(1, Slot.CADF_RESPONSE, status=403)
    seen = set()
    for copies in permutations((first, second)):
        parts = Joining()
        for copy in copies:
            parts.add(copy)
        (told,) = parts.flush()
        seen.add(told.event)
    (event,) = seen
    assert "conflicting_duplicate" in event.flags


def test_copies_beyond_a_few_add_nothing() -> None:
    parts = Joining()
    became = [parts.add(replace(record(1, Slot.CADF_REQUEST), action=f"read/{n}")) for n in range(20)]
    assert became.count(Joined.WAITING) == 8
    assert became.count(Joined.DUPLICATE) == 12


@pytest.mark.parametrize("field", ["path_raw", "action"])
def test_halves_that_disagree_are_flagged(field: str) -> None:
    request, response = halves()
    parts = Joining()
    parts.add(replace(request, **{field: "/other"}))
    parts.add(response)
    assert parts.last.flags == ("phases_disagree",)


def test_too_many_open_requests_close_the_oldest_counted() -> None:
    parts = Joining(limit=2)
    for number in (1, 2, 3):
        parts.add(record(number, Slot.CADF_REQUEST, at=START + number))
    (told,) = parts.crowd()
    assert told.event.event_id == "api:req-1"
    assert (parts.join.evicted, sorted(parts.join.open)) == (1, ["req-2", "req-3"])
    assert parts.add(record(1, Slot.CADF_RESPONSE, at=START + 1)) is Joined.LATE_PART  # what was evicted still lingers


def test_too_many_that_linger_are_forgotten_oldest_first_counted() -> None:
    parts = Joining(limit=2)
    for number in (1, 2, 3):
        parts.add(record(number, Slot.CADF_REQUEST, at=START + number))
    parts.due(START + SETTLE + 3)
    assert parts.crowd() == []
    assert (parts.join.evicted, sorted(parts.join.lingering)) == (1, ["req-2", "req-3"])


def test_the_oldest_open_request_is_the_one_whose_first_record_was_made_first() -> None:
    parts = Joining()
    parts.add(record(2, Slot.CADF_REQUEST, at=START + SECOND))
    parts.add(record(1, Slot.CADF_RESPONSE, at=START, took=5 * SECOND))
    assert parts.join.next == START + SECOND + SETTLE
    (told,) = parts.due(START + SECOND + SETTLE)
    assert told.event.event_id == "api:req-2"
    assert parts.join.next == START + 5 * SECOND + SETTLE


def test_a_response_made_when_the_settle_time_is_over_is_late_whether_or_not_time_has_passed_since() -> None:
    request, response = halves(took=SETTLE)
    punctual = halves(took=SETTLE - 1)[1]
    parts = Joining()
    parts.add(request, "a")
    assert parts.add(response, "b") is Joined.LATE_PART
    unanswered, answered = parts.told
    assert (unanswered.event.flags, unanswered.streams) == (("response_missing",), ("a",))
    assert (answered.event.flags, answered.streams) == (("late",), ("b",))
    other = Joining()
    other.add(request, "a")
    assert other.add(punctual, "b") is Joined.COMPLETE
    assert other.last.flags == ()


def test_an_address_that_a_proxy_log_should_prove_is_flagged() -> None:
    parts = Joining(PROXIED)
    assert parts.add(record()) is Joined.WAITING
    (told,) = parts.flush()[-1:]
    assert told.event.flags == ("address_unproven", "proxy_log_missing")


def test_every_record_is_credited_to_the_stream_it_came_from() -> None:
    made = engine()
    request, response = halves()
    other = halves(2)
    later = record(9, at=START + 20 * SECOND)
    step(made, [("a", request), ("b", response), ("b", request), ("c", other[0]), ("d", later)], ("a", "b", "c"))
    streams = made.account.streams
    assert {name: (s.consumed, s.joined, s.duplicate, s.waiting) for name, s in streams.items()} == {
        "a": (1, 1, 0, 0),
        "b": (2, 1, 1, 0),
        "c": (1, 0, 0, 1),  # for its response
        "d": (1, 0, 0, 1),  # for its time
    }
    assert balances(made)
    made.flush()
    assert balances(made)
    assert (streams["c"].joined, streams["d"].joined) == (1, 1)


def test_an_unanswered_request_and_its_late_answer_are_one_event_told_twice() -> None:
    made = engine(settle=12 * SECOND)
    request, response = halves(1, took=40 * SECOND)
    outs = []
    for one in (request, record(2, BOTH, at=START + 24 * SECOND), response):
        outs.append(step(made, [("a", one)]))
        assert balances(made)
    out = merge([*outs, made.flush()])
    assert balances(made)
    told = [judged.event.outcome for judged in out.judged if judged.event.event_id == "api:req-1"]
    assert told == [Outcome.UNKNOWN, Outcome.SUCCESS]
    assert made.account.events_made == made.account.events_evaluated == 2, "told again, it is still one event"


@pytest.mark.parametrize("after", [MINUTE, 2 * LINGER])
def test_a_late_request_is_credited_whether_or_not_it_makes_the_event_anew(after: int) -> None:
    made = engine()
    request, response = halves()
    outs = [step(made, [("a", response), ("a", record(2, BOTH, at=START + after))])]
    outs.append(step(made, [("b", record(3, BOTH, at=START + after)), ("a", request)]))
    outs.append(step(made, [("a", record(4, BOTH, at=START + after + MINUTE))], ("b",)))
    outs.append(made.flush())
    assert sum(out.tally.late for out in outs) == 1
    assert (made.account.streams["a"].joined, made.account.streams["a"].duplicate) in {(4, 0), (3, 1)}
    told = [judged.again for judged in merge(outs).judged if judged.event.event_id == "api:req-1"]
    assert told == ([False, True] if after < LINGER else [False])
    assert balances(made)


def test_a_request_began_when_its_first_record_was_made_whichever_came_first() -> None:
    made = engine(expected=Expected(AUDITED | Slot.SERVICE_NOTE, settle=SETTLE))  # as if a third witness were expected
    request, response = halves(took=5 * SECOND)
    outs = [step(made, [("a", response), ("b", request)]), step(made, [("a", record(2, at=START + MINUTE))], ("b",))]
    (told,) = merge(outs).judged
    assert (told.event.observed_time, told.event.flags) == (START + SETTLE, ())


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("success", Outcome.SUCCESS), ("failure", Outcome.FAILURE), ("pending", Outcome.UNKNOWN), ("", Outcome.UNKNOWN)],
)
def test_without_a_status_the_audit_events_own_outcome_counts(said: str, outcome: Outcome) -> None:
    parts = Joining()
    parts.add(replace(record(), status=None, outcome=said))
    assert (parts.last.outcome, parts.last.status, parts.last.failure) == (outcome, None, None)
