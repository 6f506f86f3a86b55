from __future__ import annotations

from msgspec.structs import replace

from kmwatch.core.model import AuditEvent
from kmwatch.core.order import Order
from tests.support.audit import event


def at(time: int, number: int = 1) -> AuditEvent:
    return event(number, at=time)


def test_events_come_out_in_the_order_of_their_time_and_id() -> None:
    order = Order(100)
    events = [at(5, 2), at(1, 9), at(5, 1), at(3, 4)]
    for one in events:
        order.put(one)
    assert order.release(5) == [events[1], events[3], events[2], events[0]]


def test_what_lies_beyond_the_frontier_waits() -> None:
    order = Order(100)
    order.put(at(10, 1))
    order.put(at(11, 2))
    assert [one.event_time for one in order.release(10)] == [10]
    assert [time for time, *_ in order.waiting] == [11]
    assert [one.event_time for one in order.release(11)] == [11]


def test_a_late_event_comes_out_at_once_first_and_flagged() -> None:
    order = Order(100)
    order.release(10)
    order.put(at(20, 1))
    order.put(at(10, 2))
    order.put(at(9, 3))
    out = order.release(20)
    assert [(one.event_time, one.flags) for one in out] == [(9, ("late",)), (10, ("late",)), (20, ())]


def test_the_frontier_never_goes_back() -> None:
    order = Order(100)
    order.release(10)
    assert order.release(5) == []
    assert order.release(None) == []
    assert order.frontier == 10


def test_too_many_waiting_events_push_the_oldest_out_counted() -> None:
    order = Order(3)
    for number in range(5):
        order.put(at(number, number))
    assert [one.event_time for one in order.release(None)] == [0, 1]
    assert (order.evicted, len(order.waiting), order.frontier) == (2, 3, 1)


def test_an_event_that_only_its_end_shows_has_its_place_where_it_ended() -> None:
    order = Order(100)
    order.put(at(12, 1))
    order.release(10)
    slow = replace(at(3, 2), observed_time=11)
    order.put(slow)
    assert [one.event_id for one in order.release(20)] == ["api:req-2", "api:req-1"]
    assert slow.flags == ()


def test_the_end_lets_everything_out() -> None:
    order = Order(100)
    order.release(3)
    order.put(at(2, 1))
    order.put(at(9, 2))
    assert [one.event_time for one in order.flush()] == [2, 9]
    assert order.waiting == []
    assert order.flush() == []
