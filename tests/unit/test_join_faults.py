"""What the join got wrong once: each of these was found by reading it or by its laws, and mended."""

from __future__ import annotations

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.join import Joined
from kmwatch.core.model import MINUTE, SECOND, Evidence, Flag, Kind, Witness
from kmwatch.core.record import AccessRecord, Sighting, Slot
from kmwatch.core.state import Memory
from tests.support.audit import SECRET, START, balances, engine, halves, record, step
from tests.support.joining import Joining
from tests.support.laws import Batch, end, restarting, said
from tests.support.witnesses import AUDIT_AND_PROXY, CLIENT, OTHER_CLIENT, WAY, acquainted, line, processed
from tests.unit.test_join_lines import TRUSTED, in_order, whole

SETTLE = AUDIT_AND_PROXY.settle


def test_what_came_late_is_known_when_it_comes_again() -> None:
    request, response = halves()
    parts = Joining()
    parts.add(request)
    parts.due(START + SETTLE)
    assert parts.add(response) is Joined.LATE_PART
    for again in (request, response):
        assert parts.add(again) is Joined.DUPLICATE
    assert len(parts.told) == 2


def test_what_came_late_of_a_request_that_stays_incomplete_is_known_when_all_else_is_forgotten() -> None:
    parts = acquainted(Expected(AUDITED | Slot.SERVICE_END | Slot.PROXY))
    parts.add(whole(1))
    parts.due(START + SETTLE)
    assert parts.add(processed(1), at=START + MINUTE) is Joined.LATE_PART
    parts.due(START + 20 * MINUTE)
    assert parts.add(processed(1), at=START + 20 * MINUTE) is Joined.DUPLICATE


def test_a_request_completed_by_id_no_longer_competes_for_lines_without_one() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(line(key="req-1"))
    parts.add(whole(2, START + 1000))
    parts.add(line(START + 1000))
    parts.due(START + MINUTE)
    assert [(event.initiator.address, event.flags) for event in parts.events] == [(CLIENT, ()), (CLIENT, ())]


def test_a_request_completed_by_id_leaves_nothing_behind() -> None:
    parts = acquainted()
    parts.add(whole(1))
    parts.add(line(key="req-1"))
    assert list(parts.join.lines[Slot.PROXY]._requests.places()) == []


def test_no_line_is_lost_to_a_request_that_was_completed_by_id() -> None:
    made = engine(expected=AUDIT_AND_PROXY)
    records: list[Sighting] = [
        whole(1),
        line(key="req-1", serial="1"),
        whole(2),
        line(serial="2"),
        whole(9, START + MINUTE),
    ]
    step(made, [("s", one) for one in in_order(*records)])
    made.flush()
    assert balances(made)


def acquaintances() -> Batch:
    """Requests of the minute before START, from which the proxy's clock is learned."""
    return [
        ("s", one)
        for number in range(5)
        for at, path in [(START - MINUTE + number * 5 * SECOND, f"/v1/containers/{number}")]
        for one in in_order(whole(100 + number, at, path=path), line(at, path=path))
    ]


def rivals() -> Batch:
    """The first line may be either request's until the second, which is late, fits one of them only."""
    apart = 240_000
    first, second = whole(1), whole(2, START + apart)
    late = replace(line(START + 2 * apart - 2 * WAY, peer=OTHER_CLIENT), observed_time=START + 4 * SECOND)
    return [("s", one) for one in in_order(first, second, line(START + apart // 2), late)]


def test_a_request_that_gets_its_line_while_another_is_looked_at_is_told_at_once() -> None:
    parts = acquainted()
    for _, one in rivals():
        assert not hasattr(one, "reason")
        parts.add(one)  # type: ignore[arg-type]  # all of them are of requests
    parts.due(START + 7 * SECOND)
    assert sorted(event.event_id for event in parts.events) == ["api:req-1", "api:req-2"]
    assert {event.evidence for event in parts.events} == {Evidence.COMPLETE}


def test_what_was_learned_of_clocks_outlives_a_restart() -> None:
    made = engine(expected=AUDIT_AND_PROXY)
    memory = Memory(made)
    step(made, [*acquaintances(), ("s", whole(9))])
    assert made.join.skews.of("lb1") == WAY
    other = engine(expected=AUDIT_AND_PROXY)
    Memory(other).restore(memory.changes())
    assert other.join.skews.of("lb1") == WAY


def test_a_line_given_to_a_request_while_another_was_looked_at_outlives_a_restart() -> None:
    later: Batch = [("s", record(50 + n, at=START + n * SECOND, took=0, path="/v1/orders")) for n in (15, 17, 19, 21)]
    batches = [acquaintances(), rivals(), *[[one] for one in later]]

    def run(restarts: set[int]) -> object:
        outs, made = restarting(lambda: engine(expected=AUDIT_AND_PROXY), batches, restarts, ["s"])
        return said([*outs, *end(made, ["s"])])

    assert run({0, 1, 2, 3, 4, 5}) == run(set())


def test_that_a_late_line_is_to_be_looked_for_outlives_a_restart() -> None:
    late = replace(line(), observed_time=START + 14 * SECOND)
    passing = [record(50 + n, at=START + n * SECOND, took=0, path="/v1/orders") for n in (13, 18, 25, 29)]
    batches: list[Batch] = [
        acquaintances(),
        [("s", whole(1)), ("s", passing[0])],
        [("s", passing[1])],
        [("s", late), ("s", passing[2])],
        [("s", passing[3])],
    ]

    def run(restarts: set[int]) -> list[tuple[str, int]]:
        outs, _ = restarting(lambda: engine(expected=AUDIT_AND_PROXY), batches, restarts, ["s"])
        return [(judged.event.event_id, judged.event.observed_time) for out in outs for judged in out.judged]

    assert run(set())[-1] == ("api:req-1", START + 16 * SECOND)
    assert run({3}) == run(set())


def test_that_nobody_knows_the_accept_header_contradicts_nothing() -> None:
    parts = acquainted()
    path = f"/v1/secrets/{SECRET}"
    parts.add(whole(1, path=path))
    parts.add(line(path=path))
    parts.due(START + MINUTE)
    assert (parts.last.kind, parts.last.flags) == (Kind.METADATA_READ, ("accept_unknown",))
    assert parts.last.evidence is Evidence.COMPLETE


def test_who_comes_past_the_proxy_with_the_id_of_a_request_through_it_takes_not_its_line() -> None:
    parts = acquainted(TRUSTED)
    forged = replace(whole(1), global_request_id="req-made")  # past the proxy, that reads a secret
    through = replace(whole(2, START + SECOND, path="/v1/secrets"), global_request_id="req-made")
    parts.add(forged)
    parts.add(line(START + SECOND, path="/v1/secrets", made="req-made"))
    parts.add(through)
    parts.due(START + 2 * MINUTE)
    events = {event.request_id: event for event in parts.events}
    assert "proxy_log_missing" in events["req-1"].flags
    assert events["req-2"].evidence is Evidence.COMPLETE


@pytest.mark.parametrize("ahead", [-20 * SECOND, -5 * SECOND])
def test_a_clock_that_is_behind_by_more_than_two_seconds_is_learned_too(ahead: int) -> None:
    parts = Joining(AUDIT_AND_PROXY)
    parts.now = START - MINUTE
    for number in range(12):
        at, path = START + number * MINUTE, f"/v1/containers/s{number}"
        for one in in_order(whole(number, at, path=path), line(at, path=path, ahead=ahead)):
            parts.add(one)
        parts.due(at + 40 * SECOND)
    assert parts.join.skews.of("lb1") == ahead + WAY
    assert parts.events[-1].seen_in == (Witness.CADF, Witness.PROXY_LOG)


def test_a_clock_that_is_behind_and_not_yet_known_gives_nobody_the_line_of_a_later_request() -> None:
    parts = Joining(AUDIT_AND_PROXY)
    parts.now = START - MINUTE
    later = START + 2_500_000
    for one in in_order(whole(1), whole(2, later), line(later, ahead=-SECOND, peer=OTHER_CLIENT)):
        parts.add(one)
    parts.due(START + MINUTE)
    by_id = {event.request_id: event for event in parts.events}
    assert by_id["req-1"].initiator.address_source == "audit"


def test_a_clock_that_is_ahead_and_not_yet_known_gives_nobody_the_line_of_an_earlier_request() -> None:
    parts = Joining(AUDIT_AND_PROXY)
    past_the_proxy = whole(2, START + SECOND)
    for one in in_order(whole(1), past_the_proxy, line(ahead=SECOND, peer=OTHER_CLIENT)):
        parts.add(one)
    parts.due(START + MINUTE)
    assert [event.initiator.address_source for event in parts.events] == ["audit", "audit"]
    assert all("join_ambiguous" in event.flags for event in parts.events)


def test_lines_of_a_clock_that_is_behind_are_shared_out_before_they_are_told_alone() -> None:
    parts = Joining(AUDIT_AND_PROXY)
    parts.now = START - MINUTE
    records: list[Sighting] = [
        whole(1),
        whole(2),
        line(ahead=-SECOND, peer=CLIENT),
        line(ahead=-SECOND, peer=OTHER_CLIENT),
    ]
    for one in in_order(*records):
        parts.add(one)
    parts.due(START + 2 * MINUTE)
    assert [event.request_id for event in parts.events] == ["req-1", "req-2"]
    assert all("join_ambiguous" in event.flags for event in parts.events)


def test_a_request_that_only_a_line_with_its_id_tells_of_is_known_by_that_id() -> None:
    parts = acquainted()
    parts.add(line(key="req-1"))
    (first,) = parts.due(START + MINUTE)
    assert (first.event.event_id, first.event.request_id) == ("api:req-1", "req-1")
    parts.add(whole(1), at=START + 2 * MINUTE)
    assert parts.last.event_id == first.event.event_id
    assert parts.told[-1].again


def test_what_only_a_line_tells_of_has_the_same_id_whether_or_not_its_line_has_been_in_the_store() -> None:
    told = replace(line(status=401), flags=(Flag.CAPTURE_UNREADABLE,))
    stored = msgpack.decode(msgpack.encode(told), type=AccessRecord)
    assert stored == told
    ids = []
    for one in (told, stored):
        parts = acquainted()
        parts.add(one)
        parts.due(START + MINUTE)
        ids.append(parts.last.event_id)
    assert ids[0] == ids[1]
