"""Laws of the engine: neither batches, nor the order of arrival, nor duplicates, nor restarts change what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from kmwatch.core.detect import Judged
from kmwatch.core.model import SECOND, Finding
from kmwatch.core.record import AuditRecord, Decoded, Ignored, Rejected, RejectReason, Slot
from kmwatch.core.state import Memory
from kmwatch.core.step import Engine
from kmwatch.ports import Commit
from kmwatch.store.sqlite import SqliteStore
from tests.support import audit
from tests.support.audit import BOTH, DECOY, START, balances, engine, record, step
from tests.support.laws import cut, end, of_requests, said

LATENESS = 10 * SECOND
RULES = {name: audit.settings(3, 60 * SECOND, 45 * SECOND) for name in ("KMW-005", "KMW-013", "KMW-015", "KMW-019")}
STREAMS = ("p0", "p1", "p2")
NOISE: tuple[Decoded, ...] = (Ignored.NOT_AUDIT, Rejected(RejectReason.NOT_JSON, "x"))
Arrival = tuple[int, str, Decoded]  # when it arrives, on which stream


@st.composite
def requests(draw: st.DrawFn, *, whole: bool = False) -> list[AuditRecord]:
    """The records of a few minutes' requests, some of them without their other half, in the order of their time."""
    out: list[AuditRecord] = []
    now = START
    for number in range(draw(st.integers(1, 25))):
        now += draw(st.integers(0, 20 * SECOND))
        target = draw(st.sampled_from(["s1", "s2", "s3", "s4", "own-1", DECOY]))
        what = draw(
            st.sampled_from(
                [
                    ("read", f"/v1/secrets/{target}/payload", 200),
                    ("read", f"/v1/secrets/{target}/payload", 403),
                    ("read", f"/v1/secrets/{target}", 404),
                    ("delete", f"/v1/secrets/{target}", 204),
                    ("update", f"/v1/secrets/{target}/acl", 200),
                    ("read/list", "/v1/secrets", 200),
                ]
            )
        )
        slots = (1, 2) if whole else draw(st.sampled_from([(1, 2), (1, 2), (1, 2), (3,), (1,), (2,)]))
        user, took = (
            draw(st.sampled_from(["user-1", "user-2"])),
            draw(st.integers(0, 3 * SECOND) | st.integers(0, 90 * SECOND)),
        )
        for slot in slots:
            action, path, status = what
            out.append(record(number, slot, at=now, took=took, action=action, path=path, status=status, user=user))
    return sorted(out, key=lambda one: one.observed_time)


@st.composite
def arrivals(draw: st.DrawFn, *, whole: bool = False) -> list[tuple[str, Decoded]]:
    """Records on several partitions, each up to half the lateness later than it was made, with noise between."""
    out: list[Arrival] = []
    for one in draw(requests(whole=whole)):
        out.append((one.observed_time + draw(st.integers(0, LATENESS // 2)), draw(st.sampled_from(STREAMS)), one))
        if draw(st.integers(0, 9)) == 0:
            noise = draw(st.sampled_from(NOISE))
            out.append((one.observed_time, draw(st.sampled_from(STREAMS)), noise))
    return [(stream, one) for _, stream, one in sorted(out, key=lambda item: item[:2])]


def fresh() -> Engine:
    made = engine(rules=RULES, lateness=LATENESS, settle=30 * SECOND)
    made.watermark.expect(STREAMS)
    return made


def run(batches: Sequence[Sequence[tuple[str, Decoded]]]) -> tuple[list[Judged], list[Finding]]:
    made = fresh()
    outs = []
    for batch in batches:
        outs.append(step(made, batch))
        assert balances(made)
    return said([*outs, *end(made, STREAMS)])


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(arrivals(), sizes)
def test_how_the_records_are_cut_into_batches_is_irrelevant(items: list[tuple[str, Decoded]], by: list[int]) -> None:
    assert run(cut(items, by)) == run([items])


@given(arrivals(), sizes)
def test_events_are_even_judged_in_the_same_order_however_the_records_are_cut(
    items: list[tuple[str, Decoded]], by: list[int]
) -> None:
    assert judged_by(cut(items, by)) == judged_by([items])


def judged_by(batches: Sequence[Sequence[tuple[str, Decoded]]]) -> list[Judged]:
    """Events as they are judged, unsorted."""
    made = fresh()
    outs = [step(made, batch) for batch in batches]
    return [judged for out in [*outs, *end(made, STREAMS)] for judged in out.judged]


@given(requests(whole=True), st.randoms(use_true_random=False), sizes)
def test_the_order_of_arrival_within_the_lateness_is_irrelevant(
    records: list[AuditRecord], random: object, by: list[int]
) -> None:
    draw = random.randrange  # type: ignore[attr-defined]
    late = [(one.observed_time + draw(LATENESS), draw(3), one) for one in records]
    shuffled = [(STREAMS[part], one) for _, part, one in sorted(late, key=lambda item: item[0])]
    assert run(cut(shuffled, by)) == run([[("p0", one) for one in records]])


@given(arrivals(), st.data())
def test_a_record_that_comes_again_changes_nothing_but_the_count(
    items: list[tuple[str, Decoded]], data: st.DataObject
) -> None:
    twice: list[tuple[str, Decoded]] = []
    again = 0
    for stream, one in items:
        twice.append((stream, one))
        if isinstance(one, AuditRecord) and data.draw(st.booleans()):
            twice.append((data.draw(st.sampled_from(STREAMS)), one))
            again += 1
    made = fresh()
    outs = [step(made, batch) for batch in cut(twice, [3])]
    events, findings = said([*outs, *end(made, STREAMS)])
    once, found = run(cut(items, [3]))
    assert events == once
    assert of_requests(findings) == of_requests(found)
    assert sum(stream.duplicate for stream in made.account.streams.values()) == again


@given(arrivals())
def test_events_are_judged_in_the_order_in_which_they_were_known(items: list[tuple[str, Decoded]]) -> None:
    places = [judged.event.observed_time for judged in judged_by(cut(items, [4]))]
    assert places == sorted(places)


@given(arrivals())
def test_every_finding_begins_once_and_ends_once(items: list[tuple[str, Decoded]]) -> None:
    _, findings = run([items])
    lines: dict[str, list[str]] = {}
    for finding in findings:
        lines.setdefault(finding.uid, []).append(finding.activity.name)
    for activities in lines.values():
        assert activities.count("CREATE") == activities.count("CLOSE") == 1
    assert len({finding.line_uid for finding in findings}) == len(findings)


@given(arrivals(), sizes, st.sets(st.integers(0, 30)))
@settings(max_examples=40)
def test_a_restart_from_the_store_at_any_cut_equals_a_continuous_run(
    items: list[tuple[str, Decoded]], by: list[int], restarts: set[int]
) -> None:
    batches = cut(items, by)
    with TemporaryDirectory() as folder:
        got, account = asyncio.run(restarting(Path(folder) / "state.db", batches, restarts))
    made = fresh()
    outs = [step(made, batch) for batch in batches]
    assert got == said([*outs, *end(made, STREAMS)])
    assert account == made.account


async def restarting(
    path: Path, batches: Sequence[Sequence[tuple[str, Decoded]]], restarts: set[int]
) -> tuple[tuple[list[Judged], list[Finding]], object]:
    """Run with a commit after each batch, and begin again from the store's rows after some of them."""
    store = SqliteStore(path, "test", lambda: 0.0)
    outs = []
    made, memory = await claimed(store)
    for number, batch in enumerate(batches):
        outs.append(step(made, batch))
        await store.commit(Commit([], memory.changes(), [], []))
        if number in restarts:
            await store.close()
            store = SqliteStore(path, "test", lambda: 0.0)
            made, memory = await claimed(store)
    await store.close()
    return said([*outs, *end(made, STREAMS)]), made.account


async def claimed(store: SqliteStore) -> tuple[Engine, Memory]:
    made = fresh()
    memory = Memory(made)
    memory.restore((await store.claim()).rows)
    made.watermark.expect(STREAMS)
    return made, memory


def test_the_laws_are_not_held_by_silence() -> None:
    """The strategies above do make findings of every kind that they can."""
    steps = [
        record(n, BOTH, at=START + n * SECOND, path=f"/v1/secrets/{DECOY}", status=403, user="x") for n in range(5)
    ]
    steps += [record(9 + n, Slot.CADF_RESPONSE, at=START + n, path=f"/v1/secrets/s{n}/payload") for n in range(4)]
    _, findings = run([[("p0", one) for one in steps]])
    assert {finding.rule for finding in findings} == {"KMW-001", "KMW-005", "KMW-013", "KMW-016", "KMW-022", "KMW-047"}


def test_a_slow_request_that_only_its_end_shows_meets_the_findings_of_its_end_in_any_batch() -> None:
    short = {"KMW-001": audit.settings(1, 60 * SECOND, 45 * SECOND)}
    slow = record(500, Slot.CADF_RESPONSE, at=START + 40 * SECOND, took=20 * SECOND)
    passing = [record(n, BOTH, at=START + n * SECOND, took=0, path="/v1/secrets") for n in (65, 120)]
    records = [record(0, BOTH), passing[0], slow, passing[1]]  # time alone closes the first finding before it comes
    told = []
    for size in (1, 1000):
        made = engine(rules=short, lateness=LATENESS)
        outs = [step(made, batch) for batch in cut([("p0", one) for one in records], [size])]
        told.append(said([*outs, *end(made, STREAMS)]))
    assert told[0] == told[1]
    created = [finding.event_ids for finding in told[0][1] if finding.activity.name == "CREATE"]
    assert created == [("api:req-0",), ("api:req-500",)]
