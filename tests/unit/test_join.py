from __future__ import annotations

from itertools import permutations

import pytest
from msgspec.structs import replace

from kmwatch.core.event import event_id
from kmwatch.core.join import Join, Joined
from kmwatch.core.model import SECOND, Evidence, Kind, Outcome
from kmwatch.core.record import AuditRecord, Slot
from tests.support.audit import BOTH, START, balances, engine, halves, merge, record

SETTLE = 30 * SECOND


def join(limit: int = 1000, *, proxy_expected: bool = False) -> Join:
    return Join(BOTH, SETTLE, limit, proxy_expected=proxy_expected)


def test_request_and_response_make_one_event_in_either_order() -> None:
    events = []
    for first, second in permutations(halves()):
        parts = join()
        assert parts.add(first, "a", late=False) == (Joined.WAITING, None)
        became, closed = parts.add(second, "b", late=False)
        assert became is Joined.COMPLETE
        assert closed is not None
        assert sorted(closed.streams) == ["a", "b"]
        events.append(closed.event)
    assert events[0] == events[1]
    assert (events[0].event_id, events[0].evidence, events[0].flags) == ("api:req-1", Evidence.COMPLETE, ())
    assert (events[0].event_time, events[0].outcome) == (START, Outcome.SUCCESS)


def test_a_record_that_is_both_halves_is_an_event_at_once() -> None:
    became, closed = join().add(record(), "a", late=False)
    assert became is Joined.COMPLETE
    assert closed is not None
    assert closed.event.evidence is Evidence.COMPLETE


def test_the_same_record_again_is_a_duplicate_before_and_after_the_close() -> None:
    request, response = halves()
    parts = join()
    parts.add(request, "a", late=False)
    assert parts.add(request, "b", late=False) == (Joined.DUPLICATE, None)
    parts.add(response, "a", late=False)
    assert parts.add(response, "b", late=False) == (Joined.DUPLICATE, None)
    assert parts.add(request, "b", late=True) == (Joined.DUPLICATE, None)
    assert parts.open == {}


def test_a_request_whose_response_never_comes_closes_when_its_time_is_over() -> None:
    parts = join()
    parts.add(record(1, Slot.CADF_REQUEST), "a", late=False)
    assert parts.expire(START + SETTLE - 1) == []
    (closed,) = parts.expire(START + SETTLE)
    event = closed.event
    assert (event.outcome, event.status, event.failure) == (Outcome.UNKNOWN, None, None)
    assert (event.kind, event.evidence, event.flags) == (Kind.RETRIEVAL, Evidence.PARTIAL, ("response_missing",))


def test_a_response_alone_still_tells_all() -> None:
    parts = join()
    parts.add(record(1, Slot.CADF_RESPONSE), "a", late=False)
    (closed,) = parts.flush()
    assert (closed.event.outcome, closed.event.event_time) == (Outcome.SUCCESS, START)
    assert closed.event.flags == ("request_missing",)


def test_a_late_response_makes_the_event_anew_from_all_that_was_seen() -> None:
    request, response = halves()
    parts = join()
    parts.add(request, "a", late=False)
    parts.flush()
    became, closed = parts.add(response, "a", late=True)
    assert became is Joined.LATE_PART
    assert closed is not None
    assert closed.event.event_id == event_id(request.key)
    assert (closed.event.outcome, closed.event.flags) == (Outcome.SUCCESS, ("late",))
    for again in (request, response):
        assert parts.add(again, "a", late=True) == (Joined.DUPLICATE, None)


def test_a_late_request_adds_nothing_to_what_its_response_said() -> None:
    request, response = halves()
    parts = join()
    parts.add(response, "a", late=False)
    parts.flush()
    assert parts.add(request, "a", late=True) == (Joined.LATE_PART, None)
    assert parts.add(request, "a", late=True) == (Joined.DUPLICATE, None)


def test_contradicting_copies_give_the_same_event_in_any_order() -> None:
    request = record(1, Slot.CADF_REQUEST)
    copies = [request, replace(request, path_raw="/v1/secrets/other/payload"), record(1, Slot.CADF_RESPONSE)]
    events = set()
    for order in ((0, 1, 2), (1, 0, 2)):
        parts = join()
        closed = None
        for number in order:
            _, closed = parts.add(copies[number], "a", late=False)
        assert closed is not None
        events.add(closed.event)
    (event,) = events
    assert (event.evidence, event.flags) == (Evidence.CONTRADICTORY, ("conflicting_duplicate",))
    assert event.target.id != "other"  # the response's word counts


def test_contradicting_responses_are_flagged_and_the_least_counts() -> None:
    first = record(1, Slot.CADF_RESPONSE, status=200)
    second = record(1, Slot.CADF_RESPONSE, status=403)
    seen = set()
    for copies in permutations((first, second)):
        parts = join()
        for copy in copies:
            parts.add(copy, "a", late=False)
        (closed,) = parts.flush()
        seen.add(closed.event)
    (event,) = seen
    assert "conflicting_duplicate" in event.flags


def test_copies_beyond_a_few_add_nothing() -> None:
    parts = join()
    became = [
        parts.add(replace(record(1, Slot.CADF_REQUEST), action=f"read/{n}"), "a", late=False)[0] for n in range(20)
    ]
    assert became.count(Joined.WAITING) == 8
    assert became.count(Joined.DUPLICATE) == 12


@pytest.mark.parametrize("field", ["path_raw", "action"])
def test_halves_that_disagree_are_flagged(field: str) -> None:
    request, response = halves()
    parts = join()
    parts.add(replace(request, **{field: "/other"}), "a", late=False)
    _, closed = parts.add(response, "a", late=False)
    assert closed is not None
    assert closed.event.flags == ("phases_disagree",)


def test_too_many_open_requests_close_the_oldest_counted() -> None:
    parts = join(limit=2)
    for number in (3, 1, 2):
        parts.add(record(number, Slot.CADF_REQUEST, at=START + number), "a", late=False)
    (closed,) = parts.expire(None)
    assert closed.event.event_id == "api:req-1"
    assert (parts.evicted, sorted(parts.open)) == (1, ["req-2", "req-3"])


def test_the_oldest_open_request_is_the_one_whose_first_record_was_made_first() -> None:
    parts = join()
    assert parts.oldest() is None
    parts.add(record(1, Slot.CADF_RESPONSE, at=START, took=5 * SECOND), "a", late=False)
    parts.add(record(2, Slot.CADF_REQUEST, at=START + SECOND), "a", late=False)
    assert parts.oldest() == START + SECOND


def test_a_response_made_after_the_settle_time_is_late_whether_or_not_its_request_was_closed_yet() -> None:
    request, response = halves(took=SETTLE + 1)
    punctual = halves(took=SETTLE)[1]
    parts = join()
    parts.add(request, "a", late=False)
    became, closed = parts.add(response, "b", late=False)
    assert became is Joined.LATE_PART
    assert closed is not None
    assert (closed.event.flags, closed.streams) == (("late",), ("b",))
    (unanswered,) = parts.expire(None)
    assert (unanswered.event.flags, unanswered.streams) == (("response_missing",), ("a",))
    other = join()
    other.add(request, "a", late=False)
    assert other.add(punctual, "b", late=False)[0] is Joined.COMPLETE


def test_an_address_that_a_proxy_log_should_prove_is_flagged() -> None:
    _, closed = join(proxy_expected=True).add(record(), "a", late=False)
    assert closed is not None
    assert closed.event.flags == ("address_unproven",)


def test_every_record_is_credited_to_the_stream_it_came_from() -> None:
    made = engine()
    request, response = halves()
    other = halves(2)
    batch: list[tuple[str, AuditRecord]] = [("a", request), ("b", response), ("b", request), ("c", other[0])]
    step(made, batch)
    streams = made.account.streams
    assert {name: (s.consumed, s.joined, s.duplicate, s.waiting) for name, s in streams.items()} == {
        "a": (1, 1, 0, 0),
        "b": (2, 1, 1, 0),
        "c": (1, 0, 0, 1),
    }
    assert balances(made)
    made.flush()
    assert balances(made)
    assert streams["c"].joined == 1


def test_an_unanswered_request_and_its_late_answer_are_two_events_of_one_id_in_the_account() -> None:
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
    assert made.account.events_made == made.account.events_evaluated == 3


def test_a_late_request_is_credited_though_it_makes_no_event() -> None:
    made = engine()
    request, response = halves()
    step(made, [("a", response), ("a", record(2, BOTH, at=START + 60 * SECOND))])
    out = step(made, [("b", record(3, BOTH, at=START + 60 * SECOND)), ("a", request)])
    assert out.tally.late == 1
    assert made.account.streams["a"].joined == 3
    assert balances(made)


def test_a_request_began_when_its_first_record_was_made_whichever_came_first() -> None:
    parts = Join(7, SETTLE, 1000)  # as if a third witness were expected
    request, response = halves(took=5 * SECOND)
    parts.add(response, "a", late=False)
    assert parts.oldest() == START + 5 * SECOND
    parts.add(request, "a", late=True)
    assert parts.oldest() == START
    (closed,) = parts.flush()
    assert (closed.event.observed_time, closed.event.flags) == (START, ("late",))


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("success", Outcome.SUCCESS), ("failure", Outcome.FAILURE), ("pending", Outcome.UNKNOWN), ("", Outcome.UNKNOWN)],
)
def test_without_a_status_the_audit_events_own_outcome_counts(said: str, outcome: Outcome) -> None:
    _, closed = join().add(replace(record(), status=None, outcome=said), "a", late=False)
    assert closed is not None
    assert (closed.event.outcome, closed.event.status, closed.event.failure) == (outcome, None, None)
