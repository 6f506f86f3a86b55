from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.model import Finding
from kmwatch.delivery import Delivery, DeliveryState, FailureKind, State, Tuning
from kmwatch.ports import (
    ConfigurationError,
    PartialError,
    Pending,
    PermanentError,
    SplitError,
    StoreError,
    TransientError,
)
from tests.support.findings import beat, finding
from tests.support.memory_outbox import MemoryOutbox

Behaviour = Callable[[list[str]], Exception | None]


class ScriptedSink:
    """A receiver in memory: takes a batch, unless its behaviour answers with an error."""

    def __init__(self, name: str, behaviour: Behaviour = lambda _: None) -> None:
        self.name = name
        self.behaviour = behaviour
        self.arrived: list[str] = []
        self.batches: list[list[str]] = []
        self.closed = False

    async def send(self, findings: Sequence[Finding]) -> None:
        lines = [alert.line_uid for alert in findings]
        self.batches.append(lines)
        error = self.behaviour(lines)
        if error is not None:
            raise error
        self.arrived += lines

    async def close(self) -> None:
        self.closed = True


class HangingSink(ScriptedSink):
    """A receiver that never answers."""

    async def send(self, findings: Sequence[Finding]) -> None:
        self.batches.append([alert.line_uid for alert in findings])
        await asyncio.Event().wait()


class Log:
    """What delivery reported."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.failures: list[tuple[str, str, FailureKind]] = []
        self.buried: list[tuple[str, list[str], str]] = []
        self.states: list[DeliveryState] = []

    def delivered(self, sink: str, findings: Sequence[Finding]) -> None:
        self.sent.append((sink, len(findings)))

    def failed(self, sink: str, error: str, kind: FailureKind) -> None:
        self.failures.append((sink, error, kind))

    def dead(self, sink: str, findings: Sequence[Finding], reason: str) -> None:
        self.buried.append((sink, [alert.line_uid for alert in findings], reason))

    def changed(self, state: DeliveryState) -> None:
        self.states.append(state)


class Bench:
    """Delivery over an outbox in memory, with sleeps that pass at once and are written down."""

    def __init__(self, *sinks: ScriptedSink, tuning: Tuning | None = None, jitter: float = 1.0) -> None:
        self.outbox = MemoryOutbox(sink.name for sink in sinks)
        self.log = Log()
        self.sleeps: list[float] = []
        self.delivery = Delivery(
            self.outbox,
            sinks,
            self.log,
            now=lambda: 7,
            tuning=tuning,
            sleep=self._sleep,
            jitter=lambda: jitter,
        )

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110 - any condition, seen from outside
            await asyncio.sleep(0)

    async def delivered(self, sink: str, count: int) -> None:
        await self.until(lambda: len(self.outbox.acknowledged[sink]) == count)


def lines(numbers: Iterable[int]) -> list[str]:
    return [f"line-{number}" for number in numbers]


def fails(times: int, error: Exception) -> Behaviour:
    """Refuse so many batches, then take all."""
    left = [error] * times
    return lambda _: left.pop() if left else None


async def test_what_waits_at_the_start_is_delivered_in_order() -> None:
    sink = ScriptedSink("siem")
    bench = Bench(sink, tuning=Tuning(batch=4))
    bench.outbox.put(*map(finding, range(1, 11)))
    bench.delivery.start()
    await bench.delivered("siem", 10)
    await bench.delivery.stop()
    assert sink.arrived == bench.outbox.acknowledged["siem"] == lines(range(1, 11))
    assert bench.log.sent == [("siem", 4), ("siem", 4), ("siem", 2)]


async def test_an_idle_worker_asks_the_outbox_only_when_notified() -> None:
    sink = ScriptedSink("siem")
    bench = Bench(sink)
    bench.delivery.start()
    await bench.until(lambda: bench.outbox.reads == 1)
    for _ in range(100):
        await asyncio.sleep(0)
    assert bench.outbox.reads == 1
    bench.outbox.put(finding())
    bench.delivery.notify()
    await bench.until(lambda: bench.outbox.reads == 3)  # one that found it, one that found no more
    for _ in range(100):
        await asyncio.sleep(0)
    assert bench.outbox.reads == 3
    assert bench.outbox.acknowledged["siem"] == ["line-1"]
    await bench.delivery.stop()


async def test_rows_that_another_process_put_back_are_found_in_time() -> None:
    bench = Bench(ScriptedSink("siem"), tuning=Tuning(idle_look=0.001))
    bench.delivery.start()
    await bench.until(lambda: bench.outbox.reads == 1)
    bench.outbox.put(finding())
    await bench.delivered("siem", 1)
    await bench.delivery.stop()


async def test_transient_trouble_is_retried_for_as_long_as_it_lasts_with_a_doubling_bound() -> None:
    bench = Bench(ScriptedSink("siem", fails(12, TransientError("away"))))
    bench.outbox.put(finding())
    bench.delivery.start()
    await bench.delivered("siem", 1)
    await bench.delivery.stop()
    assert bench.sleeps == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert bench.log.failures == [("siem", "away", FailureKind.TRANSIENT)] * 12
    assert bench.outbox.attempts["siem"] == {1: 12}
    assert bench.outbox.buried["siem"] == []


@given(jitter=st.floats(0, 1, exclude_max=True), wish=st.none() | st.floats())
def test_a_wait_is_never_shorter_than_the_receiver_wished_nor_longer_than_the_bound(
    jitter: float, wish: float | None
) -> None:
    async def run() -> list[float]:
        bench = Bench(ScriptedSink("siem", fails(3, TransientError("busy", retry_after=wish))), jitter=jitter)
        bench.outbox.put(finding())
        bench.delivery.start()
        await bench.delivered("siem", 1)
        await bench.delivery.stop()
        return bench.sleeps

    for attempt, slept in enumerate(asyncio.run(run())):
        bound = jitter * (0.5 * 2**attempt)
        wished = min(wish, 3600) if wish is not None and wish == wish else 0  # noqa: PLR0124 - not NaN
        assert slept == max(bound, wished)


async def test_a_finding_that_can_never_be_taken_is_set_aside_alone() -> None:
    sink = ScriptedSink("siem", lambda batch: PermanentError("bad \x1b[2J") if "line-5" in batch else None)
    bench = Bench(sink)
    bench.outbox.put(*map(finding, range(1, 11)))
    bench.delivery.start()
    await bench.delivered("siem", 9)
    await bench.delivery.stop()
    assert sink.arrived == lines([1, 2, 3, 4, 6, 7, 8, 9, 10])
    assert bench.outbox.buried["siem"] == [("line-5", "bad \\x1b[2J")]
    assert bench.log.buried == [("siem", ["line-5"], "bad \\x1b[2J")]
    assert {kind for _, _, kind in bench.log.failures} == {FailureKind.PERMANENT}
    assert bench.sleeps == []


@given(bad=st.sets(st.integers(1, 30)), count=st.integers(1, 30), size=st.integers(1, 12))
def test_every_finding_ends_delivered_or_dead_and_order_holds(bad: set[int], count: int, size: int) -> None:
    poison = set(lines(bad))

    async def run() -> Bench:
        sink = ScriptedSink("siem", lambda batch: PermanentError("no") if poison & set(batch) else None)
        bench = Bench(sink, tuning=Tuning(batch=size))
        bench.outbox.put(*map(finding, range(1, count + 1)))
        bench.delivery.start()
        assert await bench.delivery.drain(10)
        assert sink.arrived == bench.outbox.acknowledged["siem"]
        return bench

    bench = asyncio.run(run())
    assert bench.outbox.acknowledged["siem"] == [line for line in lines(range(1, count + 1)) if line not in poison]
    assert [line for line, _ in bench.outbox.buried["siem"]] == [
        line for line in lines(range(1, count + 1)) if line in poison
    ]


async def test_a_transient_error_while_halving_loses_and_buries_nothing() -> None:
    answers: list[Exception | None] = [PermanentError("one is bad"), None, TransientError("away")]
    bench = Bench(ScriptedSink("siem", lambda _: answers.pop(0) if answers else None))
    bench.outbox.put(*map(finding, range(1, 5)))
    bench.delivery.start()
    await bench.delivered("siem", 4)
    await bench.delivery.stop()
    assert bench.outbox.acknowledged["siem"] == lines(range(1, 5))
    assert bench.outbox.buried["siem"] == []


async def test_a_refused_configuration_pauses_the_sink_until_it_works_and_buries_nothing() -> None:
    bench = Bench(ScriptedSink("siem", fails(3, ConfigurationError("token refused"))))
    bench.outbox.put(finding())
    bench.delivery.start()
    await bench.delivered("siem", 1)
    await bench.until(lambda: bench.delivery.states()[0].state is State.IDLE)
    await bench.delivery.stop()
    assert bench.sleeps == [60, 60, 60]
    assert bench.outbox.buried["siem"] == []
    assert [state.state for state in bench.log.states] == [State.SENDING, State.PAUSED] * 3 + [
        State.SENDING,
        State.IDLE,
    ]


async def test_a_paused_sink_says_why_since_when_and_how_often() -> None:
    sink = ScriptedSink("siem", lambda _: ConfigurationError("token refused"))
    bench = Bench(sink)
    bench.outbox.put(finding())
    bench.delivery.start()
    await bench.until(lambda: len(sink.batches) == 4)
    await bench.until(lambda: bench.delivery.states()[0].state is State.PAUSED)
    await bench.delivery.stop()
    assert bench.delivery.states() == (DeliveryState("siem", State.PAUSED, "token refused", 7, 4),)


async def test_what_nobody_foresaw_is_transient_and_reported() -> None:
    bench = Bench(ScriptedSink("siem", fails(2, KeyError("surprise"))))
    bench.outbox.put(finding())
    bench.delivery.start()
    await bench.delivered("siem", 1)
    await bench.delivery.stop()
    assert bench.log.failures == [("siem", "'surprise'", FailureKind.TRANSIENT)] * 2


async def test_a_receiver_that_never_answers_is_given_up_for_this_time() -> None:
    sink = HangingSink("siem")
    bench = Bench(sink, tuning=Tuning(send_timeout=0.001))
    bench.outbox.put(finding())
    bench.delivery.start()
    await bench.until(lambda: len(bench.log.failures) == 2)
    await bench.delivery.stop()
    assert bench.log.failures[0] == ("siem", "no acknowledgement within 0.001 s", FailureKind.TRANSIENT)
    assert bench.outbox.waiting("siem") == ["line-1"]


@pytest.mark.parametrize(
    "dead",
    [
        ScriptedSink("dead", lambda _: TransientError("away")),
        ScriptedSink("dead", lambda _: ConfigurationError("refused")),
        ScriptedSink("dead", lambda _: RuntimeError("broken")),
        HangingSink("dead"),
    ],
    ids=["away", "refused", "broken", "hanging"],
)
async def test_a_dead_sink_does_not_hold_up_another(dead: ScriptedSink) -> None:
    bench = Bench(dead, ScriptedSink("alive"), tuning=Tuning(batch=1))
    bench.outbox.put(*map(finding, range(1, 21)))
    bench.delivery.start()
    await bench.delivered("alive", 20)
    await bench.delivery.stop()
    assert bench.outbox.waiting("dead") == lines(range(1, 21))


async def test_trouble_of_the_store_is_retried() -> None:
    class Shaky(MemoryOutbox):
        trouble = 3

        async def pending(self, sink: str, limit: int) -> list[Pending]:
            self.trouble -= 1
            if self.trouble >= 0:
                raise OSError("database is locked")
            return await super().pending(sink, limit)

    sink = ScriptedSink("siem")
    bench = Bench(sink)
    outbox = Shaky(["siem"])
    outbox.put(finding())
    delivery = Delivery(outbox, [sink], bench.log, now=lambda: 0, sleep=bench._sleep)
    delivery.start()
    await bench.until(lambda: outbox.acknowledged["siem"] == ["line-1"])
    await delivery.stop()
    assert len(bench.sleeps) == 3


class Away(MemoryOutbox):
    """A store that is away until it is not."""

    away = True

    async def pending(self, sink: str, limit: int) -> list[Pending]:
        if self.away:
            raise StoreError("away")
        return await super().pending(sink, limit)


async def test_a_store_that_works_again_wakes_whoever_waits_for_it() -> None:
    sink, log, outbox = ScriptedSink("siem"), Log(), Away(["siem"])
    outbox.put(finding())
    slow = Tuning(first_backoff=3600.0, store_backoff=3600.0)
    delivery = Delivery(outbox, [sink], log, now=lambda: 0, tuning=slow, jitter=lambda: 1.0)
    delivery.start()
    while not log.failures:  # noqa: ASYNC110 - seen from outside
        await asyncio.sleep(0)
    outbox.away = False
    delivery.notify()
    while not sink.arrived:  # noqa: ASYNC110 - seen from outside; the sleep would be an hour
        await asyncio.sleep(0)
    await delivery.stop()
    assert sink.arrived == ["line-1"]


async def test_new_findings_do_not_cut_short_the_rest_that_a_receiver_has() -> None:
    sink = ScriptedSink("siem", fails(1, TransientError("busy", retry_after=3600.0)))
    log, outbox = Log(), MemoryOutbox(["siem"])
    outbox.put(finding())
    delivery = Delivery(outbox, [sink], log, now=lambda: 0)
    delivery.start()
    while not log.failures:  # noqa: ASYNC110 - seen from outside
        await asyncio.sleep(0)
    delivery.notify()
    for _ in range(20):
        await asyncio.sleep(0)
    await delivery.stop()
    assert len(sink.batches) == 1


async def test_a_store_that_stays_away_is_asked_every_five_seconds_at_least() -> None:
    bench, outbox = Bench(ScriptedSink("siem")), Away(["siem"])
    delivery = Delivery(outbox, bench.delivery.sinks, bench.log, now=lambda: 0, sleep=bench._sleep, jitter=lambda: 1.0)
    delivery.start()
    await bench.until(lambda: len(bench.sleeps) == 7)
    await delivery.stop()
    assert bench.sleeps[:7] == [0.5, 1, 2, 4, 5, 5, 5]


async def test_a_store_that_was_away_leaves_no_idle_sink_in_trouble() -> None:
    """A standby would never be ready again: nothing comes to be delivered that would show the sink to be well."""
    bench = Bench(ScriptedSink("siem"))
    broken, read = [StoreError("away")], bench.outbox.pending

    async def pending(sink: str, limit: int) -> list[Pending]:
        if broken:
            raise broken.pop()
        return await read(sink, limit)

    bench.outbox.pending = pending  # type: ignore[method-assign]
    bench.delivery.start()
    await bench.until(lambda: [state.state for state in bench.log.states] == [State.RETRYING, State.IDLE])
    assert [(one.state, one.last_error) for one in bench.delivery.states()] == [(State.IDLE, None)]
    await bench.delivery.stop()


async def test_drain_delivers_what_is_pending_and_says_that_all_is_done() -> None:
    bench = Bench(ScriptedSink("siem", fails(2, TransientError("away"))), tuning=Tuning(batch=1))
    bench.outbox.put(*map(finding, range(1, 6)))
    bench.delivery.start()
    assert await bench.delivery.drain(30)
    assert bench.outbox.acknowledged["siem"] == lines(range(1, 6))


async def test_drain_tries_a_resting_sink_once_more_at_once() -> None:
    sink = ScriptedSink("siem", fails(1, TransientError("away")))
    outbox = MemoryOutbox(["siem"])
    outbox.put(finding())
    log = Log()
    resting = asyncio.Event()

    async def forever(_: float) -> None:
        resting.set()
        await asyncio.Event().wait()

    delivery = Delivery(outbox, [sink], log, now=lambda: 0, sleep=forever)
    delivery.start()
    await resting.wait()
    assert await delivery.drain(30)
    assert sink.arrived == ["line-1"]


async def test_drain_ends_at_its_deadline_and_leaves_the_rest_for_the_next_start() -> None:
    bench = Bench(HangingSink("hanging"), ScriptedSink("alive"))
    bench.outbox.put(finding())
    bench.delivery.start()
    assert not await bench.delivery.drain(0.01)
    assert bench.outbox.waiting("hanging") == ["line-1"]
    assert bench.outbox.acknowledged["alive"] == ["line-1"]


async def test_drain_does_not_wait_for_a_paused_sink() -> None:
    bench = Bench(ScriptedSink("siem", lambda _: ConfigurationError("refused")))
    bench.outbox.put(finding())
    bench.delivery.start()
    assert not await bench.delivery.drain(3600)
    assert bench.outbox.waiting("siem") == ["line-1"]


async def test_a_notification_while_sending_is_not_lost() -> None:
    bench = Bench(sink := ScriptedSink("siem"))

    def commit_more(batch: list[str]) -> None:
        if batch == ["line-1"]:
            bench.outbox.put(finding(2))
            bench.delivery.notify()

    sink.behaviour = commit_more
    bench.outbox.put(finding(1))
    bench.delivery.start()
    await bench.delivered("siem", 2)
    await bench.delivery.stop()


async def test_what_a_receiver_says_of_each_finding_is_kept_for_each() -> None:
    """Accepted, refused and to be sent again: nothing that was accepted goes out twice."""
    first = [PartialError({1: "bad"}, {2, 3}, TransientError("busy", 9.0))]
    sink = ScriptedSink("siem", lambda _: first.pop() if first else None)
    bench = Bench(sink)
    bench.outbox.put(*map(finding, range(1, 5)))
    bench.delivery.start()
    await bench.delivered("siem", 3)
    await bench.delivery.stop()
    assert sink.batches == [lines([1, 2, 3, 4]), lines([3, 4])]
    assert bench.outbox.acknowledged["siem"] == lines([1, 3, 4])
    assert bench.outbox.buried["siem"] == [("line-2", "bad")]
    assert bench.sleeps == [9.0]
    assert [kind for _, _, kind in bench.log.failures] == [FailureKind.PERMANENT, FailureKind.TRANSIENT]


async def test_what_may_go_out_again_at_once_waits_for_nothing() -> None:
    first = [PartialError({}, {1, 2})]
    sink = ScriptedSink("siem", lambda _: first.pop() if first else None)
    bench = Bench(sink)
    bench.outbox.put(*map(finding, range(1, 4)))
    bench.delivery.start()
    await bench.delivered("siem", 3)
    await bench.delivery.stop()
    assert (sink.batches[1:], bench.sleeps, bench.log.failures) == ([lines([2, 3])], [], [])


async def test_a_configuration_that_stands_in_the_way_of_some_pauses_the_sink_and_buries_none() -> None:
    first = [PartialError({}, {0, 1}, ConfigurationError("no such index"))]
    sink = ScriptedSink("siem", lambda _: first.pop() if first else None)
    bench = Bench(sink)
    bench.outbox.put(finding(1), finding(2))
    bench.delivery.start()
    await bench.delivered("siem", 2)
    await bench.delivery.stop()
    assert State.PAUSED in {state.state for state in bench.log.states}
    assert bench.outbox.buried["siem"] == []


async def test_a_batch_that_is_too_large_is_split_and_that_is_no_failure() -> None:
    sink = ScriptedSink("siem", lambda batch: SplitError("large") if len(batch) > 3 else None)
    bench = Bench(sink)
    bench.outbox.put(*map(finding, range(1, 11)))
    bench.delivery.start()
    await bench.delivered("siem", 10)
    await bench.delivery.stop()
    assert sink.arrived == lines(range(1, 11))
    assert bench.log.failures == []


async def test_one_finding_that_is_too_large_is_set_aside() -> None:
    sink = ScriptedSink("siem", lambda batch: SplitError("large") if "line-2" in batch else None)
    bench = Bench(sink)
    bench.outbox.put(*map(finding, range(1, 4)))
    bench.delivery.start()
    await bench.delivered("siem", 2)
    await bench.delivery.stop()
    assert bench.outbox.buried["siem"] == [("line-2", "large")]
    assert [kind for _, _, kind in bench.log.failures] == [FailureKind.PERMANENT]


# Heartbeats


async def test_a_heartbeat_goes_out_past_the_outbox() -> None:
    sink = ScriptedSink("siem")
    bench = Bench(sink)
    bench.delivery.start()
    bench.delivery.beat("siem", beat())
    await bench.until(lambda: sink.arrived == [beat().line_uid])
    await bench.delivery.stop()
    assert bench.log.sent == []  # no finding was delivered


async def test_only_the_latest_heartbeat_is_worth_sending() -> None:
    away = [TransientError("away")] * 3
    sink = ScriptedSink("siem", lambda _: away.pop() if away else None)
    bench = Bench(sink)
    bench.outbox.put(finding())
    for number in range(1, 9):
        bench.delivery.beat("siem", beat(number))
    bench.delivery.start()
    await bench.until(lambda: len(sink.arrived) == 2)
    await bench.delivery.stop()
    assert sink.arrived == ["line-1", beat(8).line_uid]


async def test_a_heartbeat_that_fails_shows_that_a_quiet_sink_is_away() -> None:
    sink = ScriptedSink("siem", fails(1, TransientError("away")))
    bench = Bench(sink)
    bench.delivery.start()
    bench.delivery.beat("siem", beat())
    await bench.until(lambda: bool(bench.log.failures))
    await bench.delivery.stop()
    assert bench.log.failures == [("siem", "away", FailureKind.TRANSIENT)]
    assert sink.arrived == []


async def test_a_heartbeat_that_is_taken_back_is_not_sent() -> None:
    sink = ScriptedSink("siem")
    bench = Bench(sink)
    bench.outbox.put(finding())
    bench.delivery.beat("siem", beat())
    bench.delivery.beat("siem", None)
    bench.delivery.start()
    await bench.delivered("siem", 1)
    await bench.until(lambda: bench.outbox.reads >= 2)
    await bench.delivery.stop()
    assert sink.arrived == ["line-1"]


# Other sinks while it runs


async def test_a_sink_is_replaced_and_goes_on_with_what_waits() -> None:
    old, new = HangingSink("siem"), ScriptedSink("siem")
    bench = Bench(old, tuning=Tuning(send_timeout=0.05))
    bench.outbox.put(finding(1), finding(2))
    bench.delivery.start()
    await bench.until(lambda: bool(old.batches))
    await bench.delivery.change({"siem"}, [new], ["siem"])
    await bench.delivered("siem", 2)
    await bench.delivery.stop()
    assert new.arrived == lines([1, 2])
    assert old.closed


async def test_a_sink_that_is_gone_gets_nothing_and_what_waits_for_it_stays() -> None:
    kept, gone = ScriptedSink("kept"), ScriptedSink("gone", fails(1000, TransientError("away")))
    bench = Bench(kept, gone)
    bench.delivery.start()
    await bench.delivery.change({"gone"}, [], ["kept"])
    bench.outbox.put(finding())
    bench.delivery.notify()
    await bench.delivered("kept", 1)
    await bench.delivery.stop()
    assert bench.outbox.waiting("gone") == ["line-1"]
    assert [state.sink for state in bench.delivery.states()] == ["kept"]
