"""Laws of the join of several witnesses, over worlds of requests that several logs tell of, at will incompletely.

Whatever the batches, the order of arrival, the duplicates, the delays, the restarts and what clients write into their
headers: the same requests, each line in one of them, and no address that is another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.model import SECOND, AddressSource, AuditEvent, Micros, Witness
from kmwatch.core.record import AccessRecord, AuditRecord, Decoded, Note, ServiceRecord, Sighting, Slot
from kmwatch.core.skew import ENOUGH
from kmwatch.core.step import Engine, Output
from tests.support import audit
from tests.support.audit import START, engine, halves, step
from tests.support.laws import Batch, cut, end, of_requests, restarting, said
from tests.support.witnesses import ALL, PROXY, line, note, processed, web

LATENESS: Micros = 10 * SECOND
STREAMS = ("audit/0", "audit/1", "service", "web", "proxy")
RULES = {name: audit.settings(3, 60 * SECOND, 45 * SECOND) for name in ("KMW-005", "KMW-013", "KMW-015", "KMW-019")}
SETUPS = {
    "audit and proxy": Expected(AUDITED | Slot.PROXY),
    "audit, service and web server": Expected(AUDITED | Slot.SERVICE_END | Slot.ACCESS),
    "all": ALL,
    "service and proxy": Expected(Slot.SERVICE_END | Slot.PROXY),
}
GAPS = [0, 500, 5000, 100_000, SECOND, 3 * SECOND, 12 * SECOND, 40 * SECOND]


class Asked(NamedTuple):
    """A request as it really was."""

    number: int
    at: Micros
    took: Micros
    path: str
    status: int
    user: str
    peer: str
    proxy: str  # the machine that wrote the proxy's line
    direct: bool  # past the proxy
    lost: frozenset[int]  # slots of records that no log shows
    named: bool  # the proxy captures the id of the answer

    @property
    def key(self) -> str:
        return f"req-{self.number}"


class World(NamedTuple):
    """Requests, and by how much the proxy's clock is ahead."""

    requests: list[Asked]
    ahead: Micros
    expected: Expected

    def records(self) -> list[tuple[str, Sighting]]:
        """What the expected witnesses say, in the order of time."""
        out = [(stream, one) for asked in self.requests for stream, one in self._told(asked)]
        wanted = self.expected.slots | (Slot.SERVICE_NOTE if self.expected.slots & Slot.SERVICE_END else 0)
        return sorted(
            ((stream, one) for stream, one in out if one.slot & wanted), key=lambda item: item[1].observed_time
        )

    def _told(self, asked: Asked) -> list[tuple[str, Sighting]]:
        answered, part = asked.at + asked.took, f"audit/{asked.number % 2}"
        out: list[tuple[str, Sighting]] = []
        if asked.status != 401:
            both = halves(
                asked.number,
                at=asked.at,
                took=asked.took,
                path=asked.path,
                status=asked.status,
                user=asked.user,
                address=PROXY,
            )
            out += [(part, half) for half in both]
            out.append(
                ("service", processed(asked.number, answered, path=asked.path, status=asked.status, user=asked.user))
            )
            if asked.path.endswith("payload") and asked.status == 200:
                out.append(("service", replace(note(asked.number, answered, Note.PAYLOAD), user_id=asked.user)))
        serial = str(40_000 + asked.number)
        seen = web(
            answered,
            took=asked.took,
            path=asked.path,
            status=asked.status,
            peer=asked.peer if asked.direct else PROXY,
            serial=serial,
        )
        out.append(("web", seen))
        if not asked.direct:
            key = asked.key if asked.named and asked.status != 401 else ""
            shown = line(
                answered,
                took=asked.took,
                path=asked.path,
                status=asked.status,
                peer=asked.peer,
                serial=serial,
                ahead=self.ahead,
                key=key,
                host=asked.proxy,
            )
            out.append(("proxy", shown))
        return [(stream, one) for stream, one in out if one.slot not in asked.lost]


def acquaintances() -> list[Asked]:
    """Requests of the minute before START, each alone at its moment, from which the proxies' clocks are learned."""
    return [
        Asked(
            100 + number,
            START - 60 * SECOND + number * 5 * SECOND,
            0,
            f"/v1/containers/{number}",
            200,
            "user-1",
            "198.51.100.1",
            f"lb{1 + number % 2}",
            direct=False,
            lost=frozenset(),
            named=False,
        )
        for number in range(2 * ENOUGH)
    ]


@st.composite
def worlds(draw: st.DrawFn, *, ahead: Sequence[Micros] = (0, 1000, 300_000, -300_000, 3 * SECOND)) -> World:
    """A few requests, many of them alike and at the same moment."""
    requests, now = acquaintances() if draw(st.booleans()) else [], START
    for number in range(draw(st.integers(1, 10))):
        now += draw(st.sampled_from(GAPS))
        lost = st.sampled_from([Slot.CADF_REQUEST, Slot.CADF_RESPONSE, Slot.SERVICE_END, Slot.ACCESS, Slot.PROXY])
        requests.append(
            Asked(
                number,
                now,
                draw(st.sampled_from([0, 0, 3000, 200_000, 20 * SECOND])),
                f"/v1/secrets/{draw(st.sampled_from(['s1', 's1', 's1', 'own-1', audit.DECOY]))}/payload",
                draw(st.sampled_from([200, 200, 200, 403, 401])),
                draw(st.sampled_from(["user-1", "user-2"])),
                f"198.51.100.{draw(st.integers(1, 3)) if draw(st.booleans()) else 100 + number}",
                draw(st.sampled_from(["lb1", "lb1", "lb2"])),
                draw(st.integers(0, 5)) == 0,
                draw(st.just(frozenset[int]()) | st.frozensets(lost, max_size=2)),
                draw(st.integers(0, 4)) == 0,
            )
        )
    return World(requests, draw(st.sampled_from(ahead)), draw(st.sampled_from(list(SETUPS.values()))))


def fresh(expected: Expected) -> Engine:
    made = engine(rules=RULES, lateness=LATENESS, expected=expected)
    made.watermark.expect(STREAMS)
    return made


def run(world: World, batches: Sequence[Batch]) -> tuple[Engine, list[Output]]:
    made = fresh(world.expected)
    outs = [step(made, batch) for batch in batches]
    return made, [*outs, *end(made, STREAMS)]


def last_words(outs: Sequence[Output]) -> dict[str, AuditEvent]:
    """What was said last of each request."""
    return {judged.event.event_id: judged.event for out in outs for judged in out.judged}


def late(records: Sequence[tuple[str, Sighting]], data: st.DataObject) -> Batch:
    """The records in an order of arrival in which some come later than allowed."""
    delay = st.just(0) | st.sampled_from([SECOND, LATENESS, 60 * SECOND, 700 * SECOND])
    arrival = sorted((one.observed_time + data.draw(delay), number) for number, (_, one) in enumerate(records))
    return [records[number] for _, number in arrival]


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(worlds(), sizes)
def test_how_the_records_are_cut_into_batches_is_irrelevant(world: World, by: list[int]) -> None:
    records = world.records()
    assert said(run(world, cut(records, by))[1]) == said(run(world, [records])[1])


@given(worlds(), st.data(), sizes)
def test_the_order_of_arrival_within_the_lateness_is_irrelevant(
    world: World, data: st.DataObject, by: list[int]
) -> None:
    records = world.records()
    delay = st.integers(0, LATENESS - 1) | st.just(0)
    arrival = sorted((one.observed_time + data.draw(delay), n) for n, (_, one) in enumerate(records))
    arrived: Batch = [records[number] for _, number in arrival]
    assert said(run(world, cut(arrived, by))[1]) == said(run(world, [records])[1])


@given(worlds(), st.data())
def test_records_that_come_again_change_nothing_but_the_count(world: World, data: st.DataObject) -> None:
    records, twice = world.records(), list[tuple[str, Decoded]]()
    for stream, one in records:
        times = data.draw(st.sampled_from([1, 1, 2, 3]))
        twice += [(stream, one)] * times
    made, outs = run(world, cut(twice, [4]))
    once, found = said(run(world, cut(records, [4]))[1])
    events, findings = said(outs)
    assert events == once
    assert of_requests(findings) == of_requests(found)
    assert sum(stream.duplicate for stream in made.account.streams.values()) >= len(twice) - len(records)


@given(worlds(), st.data(), sizes, st.sets(st.integers(0, 30)))
def test_a_restart_at_any_cut_equals_a_continuous_run(
    world: World, data: st.DataObject, by: list[int], restarts: set[int]
) -> None:
    """Records that come too late, too."""
    batches = cut(late(world.records(), data), by)
    outs, made = restarting(lambda: fresh(world.expected), batches, restarts, STREAMS)
    expected, continuous = restarting(lambda: fresh(world.expected), batches, (), STREAMS)
    assert said([*outs, *end(made, STREAMS)]) == said([*expected, *end(continuous, STREAMS)])
    assert made.account == continuous.account


@given(worlds(), st.data())
def test_every_line_is_in_one_event_and_every_request_is_one_event(world: World, data: st.DataObject) -> None:
    """However late they come."""
    records = world.records()
    events = last_words(run(world, [late(records, data)])[1])
    for witness, slot in ((Witness.PROXY_LOG, Slot.PROXY), (Witness.ACCESS_LOG, Slot.ACCESS)):
        lines = sum(one.slot == slot for _, one in records)
        assert sum(witness in event.seen_in for event in events.values()) == lines
    ids = {one.key for _, one in records if one.key}
    assert {event.request_id for event in events.values() if event.request_id} == ids
    assert {event_id for event_id in events if event_id.startswith("api:")} == {f"api:{key}" for key in ids}


def test_a_request_whose_line_shows_its_id_is_given_no_other_line() -> None:
    """Found by the law above: the request without its first half waited on, and was given a line of its like."""
    path, proxied = "/v1/secrets/s1/payload", frozenset({Slot.CADF_REQUEST})
    unseen = proxied | {Slot.CADF_RESPONSE}
    requests = [
        Asked(0, START, 0, path, 200, "user-1", "198.51.100.1", "lb1", direct=False, lost=unseen, named=False),
        Asked(1, START, 0, path, 200, "user-1", "198.51.100.2", "lb1", direct=False, lost=proxied, named=True),
        Asked(2, START, 0, path, 200, "user-1", "198.51.100.3", "lb1", direct=True, lost=frozenset(), named=True),
    ]
    world = World(requests, 0, SETUPS["audit and proxy"])
    events = last_words(run(world, [world.records()])[1])
    assert events["api:req-1"].initiator.address == "198.51.100.2"
    assert sum(Witness.PROXY_LOG in event.seen_in for event in events.values()) == 2


@given(worlds())
def test_every_request_is_who_it_was_whatever_happened_beside_it(world: World) -> None:
    events = last_words(run(world, [world.records()])[1])
    for asked in world.requests:
        event = events.get(f"api:{asked.key}")
        told = {one.slot for _, one in world.records() if one.key == asked.key}
        if event is None or not told - {Slot.PROXY, Slot.ACCESS}:
            continue
        assert event.initiator.user_id == asked.user
        if told - {Slot.PROXY, Slot.ACCESS, Slot.SERVICE_NOTE}:
            assert event.path == asked.path
            assert event.status in {asked.status, None}


@st.composite
def complete(draw: st.DrawFn) -> World:
    """A world in which no log lacks what names a request, so that what is beyond doubt must be right."""
    world = draw(worlds(ahead=(0, 300_000, SECOND, -300_000, -SECOND)))
    lines = frozenset({Slot.PROXY, Slot.ACCESS})
    return world._replace(requests=[asked._replace(lost=asked.lost & lines) for asked in world.requests])


@given(complete())
def test_an_address_that_the_proxy_proves_is_the_true_one_or_the_event_says_that_it_may_be_anothers(
    world: World,
) -> None:
    events = last_words(run(world, [world.records()])[1])
    for asked in world.requests:
        event = events.get(f"api:{asked.key}")
        if event is not None and event.initiator.address_source is AddressSource.PROXY:
            assert event.initiator.address == asked.peer
            assert not asked.direct


@given(complete())
def test_who_came_past_the_proxy_is_never_given_the_address_of_one_who_did_not(world: World) -> None:
    events = last_words(run(world, [world.records()])[1])
    for asked in world.requests:
        event = events.get(f"api:{asked.key}")
        if event is not None and event.initiator.address_source is AddressSource.ACCESS:
            assert event.initiator.address in {asked.peer, PROXY}


# What a client may write: its own id, the address that it claims, its agent


def lying(records: Batch, data: st.DataObject) -> Batch:
    """The same records with headers of the clients' choice in every log that shows them."""
    texts = st.sampled_from([None, "req-0", "req-1", "x", "198.51.100.1", PROXY, f"{PROXY}, 198.51.100.2"])
    out: list[tuple[str, Decoded]] = []
    for stream, one in records:
        told = one
        if isinstance(told, AuditRecord):
            who = replace(told.initiator, address=data.draw(texts), agent=data.draw(texts))
            told = replace(told, initiator=who, global_request_id=data.draw(texts))
        elif isinstance(told, ServiceRecord):
            told = replace(told, global_request_id=data.draw(texts))
        elif isinstance(told, AccessRecord):
            told = replace(
                told, agent=data.draw(texts), accept=data.draw(texts), global_request_id=data.draw(texts), entry="evil"
            )
        out.append((stream, told))
    return out


def shape(outs: Sequence[Output]) -> set[tuple[object, ...]]:
    """Which requests there are, who made them, which logs tell of each, and whether that is beyond doubt."""
    return {
        (
            event.request_id,
            event.event_time,
            event.initiator.user_id,
            event.path,
            event.status,
            event.seen_in,
            "join_ambiguous" in event.flags,
            event.initiator.address if event.initiator.address_source is AddressSource.PROXY else None,
        )
        for event in last_words(outs).values()
    }


@given(worlds(), st.data())
def test_headers_of_a_clients_choice_merge_hide_and_split_no_request(world: World, data: st.DataObject) -> None:
    records = world.records()
    honest = shape(run(world, [records])[1])
    assert shape(run(world, [lying(records, data)])[1]) == honest


def test_the_laws_are_not_held_by_silence() -> None:
    """The worlds above do hold all that the laws speak of."""
    alike = [
        Asked(
            n,
            START,
            0,
            "/v1/secrets/s1/payload",
            200,
            "user-1",
            f"198.51.100.{n}",
            "lb1",
            n == 3,
            frozenset(),
            named=False,
        )
        for n in range(4)
    ]
    apart = [one._replace(number=10 + one.number, at=START + 60 * SECOND * one.number) for one in alike]
    world = World([*alike, *apart, apart[1]._replace(number=20, status=401)], 0, ALL)
    events = last_words(run(world, [world.records()])[1])
    flags = {flag for event in events.values() for flag in event.flags}
    assert flags >= {"join_ambiguous", "past_proxy"}
    assert {event.initiator.address_source for event in events.values()} >= {AddressSource.PROXY, AddressSource.ACCESS}
    assert {event.evidence for event in events.values()} == {"complete", "partial", "contradictory"} - {"contradictory"}
    assert any(event_id.startswith("line:") for event_id in events)
