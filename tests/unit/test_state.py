"""The engine's memory as rows (kmwatch.core.state): what is written is all that is needed to go on."""

from __future__ import annotations

from msgspec import msgpack

from kmwatch.core.model import HOUR, MINUTE, SECOND, Finding
from kmwatch.core.record import AuditRecord, Slot
from kmwatch.core.state import Memory, Row
from kmwatch.core.step import Engine
from tests.support.audit import BOTH, DECOY, START, balances, engine, halves, record, settings, step
from tests.support.laws import Rows

RULES = {"KMW-005": settings(3, 60 * SECOND), "KMW-013": settings(3, 60 * SECOND), "KMW-015": settings(2, HOUR)}
Batch = list[tuple[str, AuditRecord]]


def batches() -> list[Batch]:
    """A busy minute: reads by two callers, refusals, probes, a decoy, a request without its response, a duplicate."""
    out: list[Batch] = []
    for second in range(30):
        at, user = START + second * SECOND, f"user-{second % 2}"
        request, response = halves(second, at=at, path=f"/v1/secrets/s{second}/payload", user=user)
        batch: Batch = [(f"p{second % 3}", request)]
        if second % 7:
            batch.append((f"p{(second + 1) % 3}", response))
        batch.append(("p0", record(100 + second, at=at, path=f"/v1/secrets/x{second}", status=404, user=user)))
        batch.append(("p1", record(200 + second, at=at, path=f"/v1/secrets/{DECOY}", status=403, user="u2")))
        if second % 5 == 0:
            batch.append(("p2", response))
        out.append(batch)
    return out


def restarted(rows: Rows, *, keys: int = 1000) -> tuple[Engine, Memory]:
    made = engine(rules=RULES, lateness=3 * SECOND, settle=8 * SECOND, keys=keys)
    memory = Memory(made)
    memory.restore(rows.read())
    made.watermark.expect(["p0", "p1", "p2"])
    return made, memory


def run(cuts: set[int], *, keys: int = 1000) -> tuple[list[Finding], Engine]:
    """All batches with a commit after each, and a restart from the rows after the batches in `cuts`."""
    rows, findings = Rows(), []
    made, memory = restarted(rows, keys=keys)
    for number, batch in enumerate(batches()):
        findings += step(made, batch).findings
        rows.write(memory.changes())
        if number in cuts:
            made, memory = restarted(rows, keys=keys)
    findings += made.flush().findings
    return findings, made


def test_a_run_with_restarts_equals_a_continuous_one() -> None:
    findings, made = run(set())
    assert {finding.rule for finding in findings} >= {"KMW-001", "KMW-005", "KMW-013", "KMW-015", "KMW-016", "KMW-022"}
    for cuts in ({0}, {14}, {3, 4, 5}, set(range(30))):
        again, other = run(cuts)
        assert again == findings
        assert other.account == made.account
        assert balances(other)


def test_it_equals_a_continuous_one_under_the_pressure_of_a_low_limit_too() -> None:
    findings, _ = run(set(), keys=2)
    assert run(set(range(30)), keys=2)[0] == findings
    assert "evicted" in {flag for finding in findings for flag in finding.flags}


def test_nothing_is_written_twice() -> None:
    made = engine()
    memory = Memory(made)
    later = record(3, at=START + 20 * SECOND)
    step(made, [("a", record(1, Slot.CADF_REQUEST)), ("a", record(2, BOTH)), ("a", later)])
    first = memory.changes()
    assert {row.kind for row in first} >= {"open", "wait", "closed", "meta"}
    assert [row.kind for row in memory.changes()] == ["meta"]


def test_what_is_over_is_deleted() -> None:
    made, rows = engine(), Rows()
    memory = Memory(made)

    def stored() -> tuple[int, int]:
        rows.write(memory.changes())
        return len(rows.of("open")), len(rows.of("wait"))

    request, response = halves(1, took=15 * SECOND)
    step(made, [("a", request)])
    assert stored() == (0, 1)
    step(made, [("a", response)])
    assert stored() == (1, 1)
    step(made, [("a", record(9, at=START + HOUR))])
    assert stored() == (0, 1)


def test_a_request_that_lingers_is_kept_until_nothing_late_is_taken_any_more() -> None:
    made, rows = engine(), Rows()
    memory = Memory(made)
    for number, at in enumerate((0, MINUTE, 9 * MINUTE)):
        slot = Slot.CADF_REQUEST if number == 0 else BOTH
        step(made, [("a", record(number, slot, at=START + at))])
        rows.write(memory.changes())
    assert (list(made.join.open), list(made.join.lingering)) == ([], ["req-0"])
    assert [row.key for row in rows.of("open")] == ["req-0"]
    step(made, [("a", record(9, at=START + 12 * MINUTE))])
    rows.write(memory.changes())
    assert (list(made.join.lingering), rows.of("open")) == ([], [])


def test_a_request_open_in_two_commits_is_written_with_all_its_records() -> None:
    made, rows = engine(), Rows()
    memory = Memory(made)
    step(made, [("a", record(1, Slot.CADF_REQUEST)), ("a", record(8, at=START + 11 * SECOND))])
    rows.write(memory.changes())
    step(made, [("b", record(1, Slot.CADF_REQUEST, path="/v1/secrets/other"))], ("a",))
    rows.write(memory.changes())
    other = engine()
    Memory(other).restore(rows.read())
    (request,) = other.join.open.values()
    assert (len(request.records), sorted(request.streams)) == (2, ["a", "b"])


def test_a_late_answer_finds_the_unanswered_request_over_a_restart() -> None:
    made, rows = engine(settle=12 * SECOND), Rows()
    memory = Memory(made)
    request, response = halves(1, took=40 * SECOND)
    (unanswered,) = step(made, [("a", request), ("a", record(2, at=START + 23 * SECOND))]).judged
    rows.write(memory.changes())
    other = engine(settle=12 * SECOND)
    Memory(other).restore(rows.read())
    step(other, [("a", response)])
    told = [unanswered, *other.flush().judged]
    assert [judged.event.outcome for judged in told if judged.event.event_id == "api:req-1"] == ["unknown", "success"]
    assert [judged.again for judged in told if judged.event.event_id == "api:req-1"] == [False, True]
    assert balances(other)


def test_records_that_wait_for_their_time_wait_on_over_a_restart() -> None:
    made, rows = engine(settle=12 * SECOND), Rows()
    memory = Memory(made)
    request, response = halves(1, took=40 * SECOND)
    made.watermark.expect(["a", "b"])  # and b says nothing, so all records wait
    step(made, [("a", request), ("a", response)])
    rows.write(memory.changes())
    other = engine(settle=12 * SECOND)
    Memory(other).restore(rows.read())
    assert [judged.event.outcome for judged in other.flush().judged] == ["unknown", "success"]
    assert balances(other)


def test_a_duplicate_is_known_after_a_restart() -> None:
    made, rows = engine(), Rows()
    memory = Memory(made)
    step(made, [("a", record()), ("a", record(2, at=START + MINUTE))])
    rows.write(memory.changes())
    other = engine()
    Memory(other).restore(rows.read())
    step(other, [("b", record())], ("a",))
    other.flush()
    assert other.account.streams["b"].duplicate == 1


def spaced(number: int) -> AuditRecord:
    """One request a minute, so that each lets the one before it become an event."""
    return record(number, at=START + number * MINUTE)


def few_closed() -> Engine:
    made = engine()
    made.join.closed._generation = 10
    return made


def test_memory_of_closed_requests_is_bounded_in_the_store_too() -> None:
    made, rows = few_closed(), Rows()
    memory = Memory(made)
    for number in range(100):
        step(made, [("a", spaced(number))])
        rows.write(memory.changes())
        if number % 7 == 3:
            made = few_closed()
            memory = Memory(made)
            memory.restore(rows.read())
    assert len(rows.of("closed")) <= 24  # two generations and the segments that span them
    duplicates = few_closed()
    Memory(duplicates).restore(rows.read())
    step(duplicates, [("b", spaced(number)) for number in range(89, 99)], ("a",))
    duplicates.flush()
    assert duplicates.account.streams["b"].duplicate == 10


def test_a_keys_segment_that_spans_two_generations_outlives_both_restarts() -> None:
    made, rows = few_closed(), Rows()
    memory = Memory(made)
    for start in (0, 8, 16):  # the second batch fills a generation and begins the next
        step(made, [("a", spaced(number)) for number in range(start, start + 8)], ("a",))
        rows.write(memory.changes())
        made = few_closed()
        memory = Memory(made)
        memory.restore(rows.read())
    step(made, [("b", spaced(number)) for number in range(13, 23)], ("a",))
    made.flush()
    assert made.account.streams["b"].duplicate == 10


def test_rows_of_a_rule_that_is_off_now_are_left_alone() -> None:
    made = engine()
    Memory(made).restore([Row("KMW-999/windows", "k", msgpack.encode([1, 2])), Row("rates", "k", msgpack.encode({}))])
    assert made.account.streams == {}


def test_a_fresh_store_restores_to_a_fresh_engine() -> None:
    made = engine()
    Memory(made).restore([])
    assert step(made, [("a", record())]).judged == []
    assert len(made.flush().judged) == 1
