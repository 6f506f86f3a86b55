"""Laws of the inventory as an input: what it tells, and who waits for it, depends on nothing but its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, SecretGroup, UserSelector
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities
from kmwatch.core.holdings import Holdings
from kmwatch.core.model import MINUTE, SECOND, Kind, Micros, Reason, Secret
from kmwatch.core.record import AuditRecord, Decoded, Rejected, StockRecord
from kmwatch.core.state import Memory
from kmwatch.core.step import Engine, Output
from kmwatch.core.stocked import Patience
from kmwatch.ports import INVENTORY
from kmwatch.sources.inventory import InventorySource
from kmwatch.wire.stock import decode, make
from kmwatch.wire.stock import record as stock
from tests.support.audit import BOTH, DECOY, START, balances, engine, record, step
from tests.support.laws import Batch, Rows, Said, cut, end, restarting, said

LATENESS = 10 * SECOND
PATIENCE = Patience(3 * MINUTE, 100)
STREAMS = ("p0", "p1")
NAMES = ("lb-1", "vol-1")
IDS = ("s1", "s2", "s3", "s4")


def declarations(inventory: Sequence[Secret] = ()) -> Declarations:
    """A map that can decide of nothing but by the inventory: by name, by creator; and a decoy."""
    return Declarations(
        CallerMap(
            callers=(CallerEntry("alice", users=(UserSelector(id="user-1"),)),),
            groups=(SecretGroup("load-balancer", names=("lb-*",)),),
            allow=(
                AllowEntry("lb", callers=("alice",), groups=("load-balancer",)),
                AllowEntry("own", callers=("alice",), created_by_caller=True),
            ),
            decoys=(Decoy(DECOY, "bait"),),
        ),
        Identities(),
        inventory,
    )


def fresh(patience: Patience = PATIENCE, inventory: Sequence[Secret] = ()) -> Engine:
    """An engine without memory; the streams of the journal and of the records may hold time up."""
    made = engine(declarations(inventory), lateness=LATENESS, patience=patience)
    made.watermark.expect(STREAMS)
    return made


secrets = st.builds(
    Secret,
    st.sampled_from(IDS),
    name=st.sampled_from(NAMES),
    creator_id=st.sampled_from(["user-1", "user-2"]),
    created=st.integers(START - MINUTE, START) | st.none(),
    expires=st.integers(START, START + 60 * MINUTE) | st.none(),
    containers=st.sampled_from([(), ("c1",)]),
    deleted=st.booleans(),
)


@st.composite
def days(draw: st.DrawFn) -> list[tuple[str, Decoded]]:
    """A base, then reads and lines of the journal, in the order of their time."""
    reads: list[AuditRecord] = []
    lines = [stock(make(0, None, draw(st.lists(secrets, max_size=2)), base=True))]
    now = START
    for number in range(draw(st.integers(1, 20))):
        now += draw(st.integers(0, 100 * SECOND))
        if draw(st.booleans()):
            gone = draw(st.lists(st.sampled_from(IDS), max_size=1))
            read = draw(st.none() | st.integers(START, now))
            lines.append(stock(make(1 + number, now, draw(st.lists(secrets, max_size=2)), gone, read)))
        else:
            path = f"/v1/secrets/{draw(st.sampled_from([*IDS, DECOY]))}/payload"
            reads.append(record(number, BOTH, at=now, path=path, user=draw(st.sampled_from(["user-1", "user-2"]))))
    items: list[tuple[Micros, str, Decoded]] = [(line.observed_time, "p1", line) for line in lines]
    items += [(one.observed_time, "p0", one) for one in reads]
    return [(stream, one) for _, stream, one in sorted(items, key=lambda item: item[:2])]


def run(batches: Sequence[Batch]) -> Said:
    made, outs = fresh(), []
    for batch in batches:
        outs.append(step(made, batch))
        assert balances(made)
    return said([*outs, *end(made, STREAMS)])


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(days(), sizes)
def test_how_records_and_journal_are_cut_into_batches_is_irrelevant(items: Batch, by: list[int]) -> None:
    assert run(cut(items, by)) == run([items])


@given(days(), sizes, st.sets(st.integers(0, 20)))
@settings(max_examples=60)
def test_a_restart_at_any_cut_equals_a_continuous_run(items: Batch, by: list[int], restarts: set[int]) -> None:
    outs, made = restarting(fresh, cut(items, by), restarts, STREAMS)
    calm, other = restarting(fresh, cut(items, by), (), STREAMS)
    assert said([*outs, *end(made, STREAMS)]) == said([*calm, *end(other, STREAMS)])
    assert made.account == other.account
    assert sorted(made.detector.declarations.secrets(), key=repr) == sorted(
        other.detector.declarations.secrets(), key=repr
    )


def test_the_laws_are_not_held_by_silence() -> None:
    """Reads wait, and leave by each of the ways there are."""
    reads = [
        record(number, BOTH, at=START + number * SECOND, path=f"/v1/secrets/s{number}/payload") for number in (1, 2, 3)
    ]
    lines = [stock(make(0, None, (), base=True)), stock(make(1, START + 20 * SECOND, [Secret("s1", "lb-1")])),
             stock(make(2, START + 40 * SECOND, (), (), START + 2500_000))]  # fmt: skip
    late = record(9, BOTH, at=START + 300 * SECOND, path="/v1/secrets")
    made, waiting, outs = fresh(), list[int](), list[Output]()
    one_by_one: list[Batch] = [[("p1", line)] for line in lines]
    for batch in (one_by_one[0], [("p0", one) for one in reads], *one_by_one[1:], [("p0", late)]):
        outs.append(step(made, batch, STREAMS))
        waiting.append(made.parked)
    judged = {one.event.target.id: one for out in [*outs, *end(made, STREAMS)] for one in out.judged if one.match}
    assert waiting == [0, 0, 3, 2, 0]
    places = {secret: one.event.observed_time - START for secret, one in judged.items()}
    assert places["s1"] == 20 * SECOND
    assert places["s2"] == 40 * SECOND
    assert 180 * SECOND < places["s3"] <= 300 * SECOND
    assert [one.match.reason for one in judged.values() if one.match] == [
        Reason.DECLARED, Reason.SECRET_UNKNOWN, Reason.SECRET_UNKNOWN,
    ]  # fmt: skip


@given(days())
def test_every_request_is_judged_once_and_in_the_order_in_which_it_became_known(items: Batch) -> None:
    made = fresh()
    outs = [step(made, batch) for batch in cut(items, [3])]
    judged = [one.event for out in [*outs, *end(made, STREAMS)] for one in out.judged]
    assert len({event.event_id for event in judged}) == len(judged)
    assert len(judged) == sum(isinstance(one, AuditRecord) for _, one in items)
    assert [event.observed_time for event in judged] == sorted(event.observed_time for event in judged)


@given(days())
def test_a_verdict_of_secret_unknown_means_that_no_line_before_it_told_of_the_secret(items: Batch) -> None:
    made = fresh()
    outs = [step(made, batch) for batch in cut(items, [2])]
    lines = [one for _, one in items if isinstance(one, StockRecord)]
    for judged in (one for out in [*outs, *end(made, STREAMS)] for one in out.judged):
        known: set[str] = set()
        for line in lines:
            if line.observed_time <= judged.event.observed_time:
                known = (known - set(line.gone)) | {secret.id for secret in line.secrets}
        if judged.match is not None and judged.match.reason == Reason.SECRET_UNKNOWN:
            assert judged.event.target.id not in known


@given(days())
def test_waiting_delays_no_verdict_that_can_be_given(items: Batch) -> None:
    """A request that does not lack its secret has the place among events that it has without any patience."""
    with_patience, without = judged_places(items, PATIENCE), judged_places(items, Patience())
    for event_id, (at, reason) in without.items():
        if reason != Reason.SECRET_UNKNOWN:
            assert with_patience[event_id] == (at, reason)


def judged_places(items: Batch, patience: Patience) -> dict[str, tuple[Micros, Reason | None]]:
    made = fresh(patience)
    outs = [step(made, items), *end(made, STREAMS)]
    return {
        one.event.event_id: (one.event.observed_time, None if one.match is None else one.match.reason)
        for out in outs
        for one in out.judged
        if one.event.kind == Kind.RETRIEVAL
    }


@given(st.lists(st.integers(0, 30 * SECOND), min_size=120, max_size=140), sizes)
@settings(max_examples=10)
def test_a_flood_of_unknown_ids_keeps_no_more_than_the_limit_waiting_and_is_told(
    gaps: list[int], by: list[int]
) -> None:
    made, now, items = fresh(Patience(60 * MINUTE, 100)), START, list[tuple[str, Decoded]]()
    items.append(("p1", stock(make(0, None, (), base=True))))
    for number, gap in enumerate(gaps):
        now += gap
        items.append(("p0", record(number, BOTH, at=now, path=f"/v1/secrets/x{number}/payload")))
    items.append(("p0", record(999, BOTH, at=now + 2 * MINUTE, path="/v1/secrets")))
    outs = []
    for batch in cut(items, by):
        outs.append(step(made, batch, ["p1"]))
        assert made.parked <= 100
        assert balances(made)
    judged, findings = said([*outs, *end(made, STREAMS)])
    assert {finding.rule for finding in findings} >= {"KMW-001", "KMW-046"}
    assert "inventory/parked" in "".join(finding.message for finding in findings if finding.rule == "KMW-046")
    assert sum(one.match is not None for one in judged) == len(gaps)


@given(st.lists(st.tuples(st.booleans(), secrets), max_size=40))
def test_indexes_that_move_with_one_secret_are_those_of_all(changes: list[tuple[bool, Secret]]) -> None:
    moved = Holdings()
    expected: dict[str, Secret] = {}
    for there, secret in changes:
        if there:
            moved.put(secret)
            expected[secret.id] = secret
        else:
            moved.lose(secret.id)
            expected.pop(secret.id, None)
    whole = Holdings(expected.values())
    for held in (moved, whole):
        assert {secret.id: secret for secret in held} == expected
        assert set(held.members("c1") or ()) == {s.id for s in expected.values() if s.containers}
        assert [s.id for s in held.expiring(START, START + 30 * MINUTE)] == [
            s.id
            for s in sorted(expected.values(), key=lambda s: (s.expires or 0, s.id))
            if s.expires is not None and s.expires < START + 30 * MINUTE and not s.deleted
        ]
        for user in ("user-1", "user-2"):
            assert held.has_created(user) == any(s.creator_id == user for s in expected.values())
        for one in expected.values():
            newer = [
                s
                for s in expected.values()
                if s.name == one.name and s.created is not None and one.created is not None and s.created > one.created
            ]
            assert held.has_newer(one.id) == any(not s.deleted for s in newer)


@given(st.lists(st.lists(secrets, max_size=4, unique_by=lambda s: s.id), min_size=1, max_size=8), st.data())
def test_what_a_source_tells_adds_up_to_its_latest_reading_whatever_is_lost_between(
    readings: list[list[Secret]], data: st.DataObject
) -> None:
    """Readings come between batches; a claim may be lost before its news were written, and then is told again."""
    source, written, number = InventorySource(), dict[str, Secret](), 0
    source.give(readings[0])
    source.began({}, begun=False)
    for reading in readings:
        source.give(reading)
        source.began(written, begun=number > 0)
        news = source.take(START, number, waited_for=data.draw(st.booleans()))
        if data.draw(st.booleans()):
            continue  # never written
        for line in news.records:
            for gone in line.gone:
                written.pop(gone)
            written.update((secret.id, secret) for secret in line.secrets)
        number += len(news.kept)
    source.began(written, begun=number > 0)
    for line in source.take(START, number, waited_for=False).records:
        for gone in line.gone:
            written.pop(gone)
        written.update((secret.id, secret) for secret in line.secrets)
    assert written == {secret.id: secret for secret in readings[-1]}


Reading = list[Secret] | None
readings = st.none() | st.lists(secrets, max_size=3, unique_by=lambda one: one.id)


@given(days(), st.lists(st.tuples(st.integers(1, 4), readings), min_size=1, max_size=8))
def test_a_replay_with_the_journal_says_what_the_day_said(items: Batch, schedule: list[tuple[int, Reading]]) -> None:
    """Readings come between batches, of whatever size; the journal is what the daemon kept of them."""
    records = [(stream, one) for stream, one in items if isinstance(one, AuditRecord)]
    said_then, journal = day(records, schedule)
    lines = [decode(value) for value in journal]
    assert [line for line in lines if isinstance(line, Rejected)] == []
    made = fresh()
    outs = [step(made, [("p1", line) for line in lines]), step(made, records)]
    assert said([*outs, *end(made, STREAMS)]) == said_then


def day(records: Batch, schedule: list[tuple[int, Reading]]) -> tuple[Said, list[bytes]]:
    """As a daemon runs: batches as they come, with what the inventory tells put in its place beside them."""
    made = engine(declarations(), lateness=LATENESS, patience=PATIENCE)
    made.watermark.expect(("p0",))
    source, journal, outs = InventorySource(), list[bytes](), list[Output]()
    source.give(())
    source.began({}, begun=False)
    for batch, (_, reading) in zip(cut(records, [size for size, _ in schedule]), cycle(schedule), strict=False):
        if reading is not None:
            asyncio.run(source.offer(reading, made.moment()))
        news = source.take(made.moment(), len(journal), waited_for=made.parked > 0)
        made.stock(INVENTORY, news.records)
        journal += [entry.value for entry in news.kept]
        outs.append(step(made, batch))
        assert balances(made)
    return said([*outs, *end(made, ["p0"])]), journal


def test_rows_of_an_inventory_outlive_the_one_that_was_configured() -> None:
    """What is configured at a restart is a reading, not what was known."""
    made, rows = fresh(inventory=[Secret("s1", "lb-1")]), Rows()
    memory = Memory(made)
    made.stock(INVENTORY, [stock(make(0, None, [Secret("s2", "lb-2")], base=True))])
    rows.write(memory.changes())
    again = fresh(inventory=[Secret("s1", "lb-1")])
    Memory(again).restore(rows.read())
    assert [secret.id for secret in again.detector.declarations.secrets()] == ["s2"]
