from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from kmwatch.core.model import Micros
from kmwatch.core.order import Order, Waiting
from kmwatch.core.record import AuditRecord, Slot
from tests.support.audit import halves, record

LATENESS: Micros = 10


def at(time: Micros, number: int = 1) -> AuditRecord:
    return record(number, Slot.CADF_REQUEST, at=time)


def put(order: Order, *records: AuditRecord, stream: str = "s", seen: Micros = 0) -> tuple[Micros, int]:
    return order.put(stream, records, seen, LATENESS)


def times(out: Sequence[Waiting]) -> list[Micros]:
    return [item[0] for item in out]


def told(out: Sequence[Waiting]) -> list[object]:
    return [item[5] for item in out]


def test_records_come_out_in_the_order_of_their_time_and_key() -> None:
    order = Order(100)
    records = [at(5, 2), at(1, 9), at(5, 1), at(3, 4)]
    put(order, *records)
    assert told(order.release(5)) == [records[1], records[3], records[2], records[0]]


def test_of_one_request_and_one_time_the_question_comes_before_the_answer_in_whatever_order_they_arrived() -> None:
    request, response = halves(took=0)
    for both in permutations([("a", request), ("b", response)]):
        order = Order(100)
        for stream, one in both:
            put(order, one, stream=stream)
        assert told(order.flush()) == [request, response]


def test_what_lies_beyond_the_frontier_waits() -> None:
    order = Order(100)
    put(order, at(10, 1), at(11, 2))
    assert times(order.release(10)) == [10]
    assert times(order.waiting) == [11]
    assert times(order.release(11)) == [11]


def test_a_record_behind_the_frontier_comes_out_at_once_and_first() -> None:
    order = Order(100)
    order.release(10)
    put(order, at(20, 1), stream="a")
    put(order, at(10, 2), stream="b")
    put(order, at(9, 3), stream="c")
    assert times(order.release(20)) == [9, 10, 20]


def test_a_stream_shows_how_far_it_has_come_and_which_of_its_records_come_later_than_allowed() -> None:
    order = Order(100)
    assert put(order, at(30), at(21), at(20), at(1), at(40), at(31), at(30)) == (40, 3)
    assert put(order, at(35), seen=40) == (40, 0)
    assert put(order, at(30), seen=40) == (40, 1)


def test_a_record_later_than_allowed_has_its_place_where_its_stream_had_got_to() -> None:
    order = Order(100)
    late = at(3, 2)
    put(order, at(30, 1), late, at(21, 3))
    out = order.flush()
    assert times(out) == [21, 21, 30]
    assert told(out)[0] is late
    assert late.observed_time == 3


def test_each_stream_has_its_own_pace() -> None:
    order = Order(100)
    put(order, at(100, 1), stream="fast")
    assert put(order, at(1, 2), stream="slow") == (1, 0)
    assert times(order.flush()) == [1, 100]


def test_the_frontier_never_goes_back() -> None:
    order = Order(100)
    order.release(10)
    assert order.release(5) == []
    assert order.release(None) == []
    assert order.frontier == 10


def test_too_many_waiting_records_push_the_oldest_out_counted() -> None:
    order = Order(3)
    put(order, *(at(number, number) for number in range(5)))
    assert times(order.release(None)) == [0, 1]
    assert (order.evicted, len(order.waiting), order.frontier) == (2, 3, 1)


def test_a_record_has_its_place_where_it_was_made_though_its_request_began_long_before() -> None:
    order = Order(100)
    put(order, at(12, 1))
    order.release(10)
    slow = record(2, Slot.CADF_RESPONSE, at=3, took=8)
    put(order, slow, stream="t")
    assert told(order.release(20)) == [slow, at(12, 1)]


def test_the_end_lets_everything_out() -> None:
    order = Order(100)
    order.release(3)
    put(order, at(2, 1), at(9, 2))
    assert times(order.flush()) == [2, 9]
    assert order.waiting == []
    assert order.flush() == []


def test_what_began_to_wait_is_told_once_and_brought_back_without_what_has_gone_since() -> None:
    order = Order(100)
    put(order, at(1, 1), at(5, 2))
    written = order.take_fresh()
    assert order.take_fresh() == []
    put(order, at(7, 3))
    written += order.take_fresh()
    order.release(1)
    other = Order(100)
    other.restore(written, order.frontier)
    assert (times(other.waiting), other.frontier) == ([5, 7], 1)
    put(other, at(6, 4))
    assert times(other.take_fresh()) == [6]
    assert told(other.flush()) == [at(5, 2), at(6, 4), at(7, 3)]
