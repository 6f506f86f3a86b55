"""What the backend served against what the API asked for: KMW-035 to KMW-040, from records to findings."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from kmwatch.core.behind import Window
from kmwatch.core.model import MINUTE, SECOND, Kind, Micros, Secret, Severity
from kmwatch.core.record import AuditRecord, BackendRecord, Deed, Result, Slot
from kmwatch.core.state import Memory, Row
from kmwatch.core.step import BackendClock, Engine
from kmwatch.telemetry.status import totals
from tests.support.audit import START, balances, halves
from tests.support.backed import (
    KEYS,
    MILLI,
    MOUNT,
    ROLE,
    STORED,
    alarms,
    engine,
    hsm,
    read,
    run,
    store,
)

Records = list[AuditRecord | BackendRecord]
WORK = Window("work", START, START + MINUTE, ("barbican-manage",), None, "SEC-1")


def vault(records: Records, **changes: object) -> dict[str, set[str]]:
    return alarms(run(engine(clients=[ROLE], inventory=STORED, **changes), records).findings)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ the account of reads


def test_each_read_with_its_decrypt_is_silent() -> None:
    records: Records = []
    for number in range(20):
        records += [*read(number, number * 300 * MILLI), hsm(number, number * 300 * MILLI + 50 * MILLI)]
    assert alarms(run(engine(), records).findings) == {}


def test_a_decrypt_that_nobody_asked_for_is_found() -> None:
    out = run(engine(), [*read(1, 0), hsm(1, 50 * MILLI), hsm(2, 5 * SECOND)])
    assert alarms(out.findings) == {"KMW-035": {"backend:2"}}
    assert {finding.severity for finding in out.findings if finding.rule == "KMW-035"} == {Severity.CRITICAL}


def test_a_second_decrypt_within_an_honest_read_is_told_as_a_pair() -> None:
    assert alarms(run(engine(), [*read(1, 0), hsm(1, 50 * MILLI), hsm(2, 60 * MILLI)]).findings) == {
        "KMW-035": {"backend:1", "backend:2"}
    }


def test_no_finding_cites_the_requests_that_were_open() -> None:
    out = run(engine(), [*read(1, 0), hsm(1, 50 * MILLI), hsm(2, 60 * MILLI)])
    told = [finding for finding in out.findings if finding.rule == "KMW-035"]
    assert all(not event_id.startswith("api:") for finding in told for event_id in finding.event_ids)
    assert "api:req-1" in told[0].message


@pytest.mark.parametrize(
    "excuse",
    [
        halves(1, at=START, path="/v1/secrets/s1/payload", status=406),
        halves(1, at=START, path="/v1/secrets/s1/payload", status=403),
        halves(1, at=START, path="/v1/secrets/s1/acl"),
        halves(1, at=START, path="/v1/orders", action="create", status=202),
        halves(1, at=START, path="/v1/secrets", action="create", status=201),
    ],
)
def test_what_cannot_have_reached_the_backend_for_a_payload_excuses_nobody(
    excuse: tuple[AuditRecord, AuditRecord],
) -> None:
    assert alarms(run(engine(), [*excuse, hsm(1, 50 * MILLI)]).findings) == {"KMW-035": {"backend:1"}}


def test_the_read_of_a_secret_that_another_plugin_keeps_excuses_nobody() -> None:
    kept = [Secret("s1", plugin="SimpleCryptoPlugin")]
    assert alarms(run(engine(inventory=kept), [*read(1, 0), hsm(1, 50 * MILLI)]).findings) == {"KMW-035": {"backend:1"}}


@pytest.mark.parametrize(("off", "found"), [(-100 * MILLI, False), (100 * MILLI, False), (400 * MILLI, True)])
def test_clocks_may_differ_by_the_declared_error(off: Micros, found: bool) -> None:  # noqa: FBT001
    records: Records = [*read(1, 0), hsm(1, 50 * MILLI + off)]
    assert bool(alarms(run(engine(), records).findings)) is found
    generous = engine(clock=BackendClock(clock_error=SECOND))
    assert alarms(run(generous, records).findings) == {}


def test_a_lost_response_is_told_as_what_would_explain_it_and_is_no_critical_one() -> None:
    out = run(engine(), [read(1, 0)[0], hsm(1, 50 * MILLI)])
    told = [finding for finding in out.findings if finding.rule == "KMW-035"]
    assert {finding.severity for finding in told} == {Severity.MEDIUM}
    assert told[0].reason == "audit_gap"
    assert "api:req-1" in told[0].message


def test_where_the_trail_has_lost_records_a_surplus_says_so() -> None:
    records: Records = [read(1, 0)[0], hsm(1, MINUTE)]
    told = [finding for finding in run(engine(), records).findings if finding.rule == "KMW-035"]
    assert {finding.severity for finding in told} == {Severity.HIGH}
    assert "1 requests of late lack audit records" in told[0].message


def test_a_read_that_failed_is_its_own_decrypts_excuse() -> None:
    records: Records = [*halves(1, at=START, path="/v1/secrets/s1/payload", status=500), hsm(1, 50 * MILLI)]
    assert alarms(run(engine(), records).findings) == {}


def test_by_key_a_read_of_another_secret_is_no_excuse() -> None:
    records: Records = [*read(1, 0, "s2"), *read(2, 0, "s1"), store(1, 50 * MILLI), store(2, 60 * MILLI, port=2)]
    assert vault(records) == {"KMW-035": {"backend:1", "backend:2"}}


# ------------------------------------------------------------------------------------------ payloads taken unseen


def test_a_get_that_the_backend_shows_to_have_taken_the_payload_is_told_as_a_read_of_it() -> None:
    records: Records = [*halves(1, at=START, path="/v1/secrets/s1"), hsm(1, 50 * MILLI)]
    out = run(engine(), records)
    last = {judged.event.event_id: judged for judged in out.judged}["api:req-1"]
    assert last.event.kind is Kind.RETRIEVAL
    assert "legacy_read" in last.event.flags
    assert "accept_unknown" not in last.event.flags
    assert last.match is not None
    assert {"KMW-001", "KMW-018"} <= {finding.rule for finding in out.findings}
    assert alarms(out.findings) == {}


def test_of_two_that_may_have_taken_it_neither_is_accused() -> None:
    records: Records = [
        *halves(1, at=START, path="/v1/secrets/s1"),
        *halves(2, at=START + 10 * MILLI, path="/v1/secrets/s2"),
        hsm(1, 50 * MILLI),
    ]
    out = run(engine(), records)
    assert {judged.event.kind for judged in out.judged} == {Kind.METADATA_READ}
    assert alarms(out.findings) == {}


def test_a_metadata_read_without_a_decrypt_stays_what_it_is() -> None:
    out = run(engine(), [*halves(1, at=START, path="/v1/secrets/s1"), *read(2, SECOND), hsm(2, SECOND + 50 * MILLI)])
    assert {judged.event.kind for judged in out.judged if judged.event.event_id == "api:req-1"} == {Kind.METADATA_READ}


def test_a_strangers_connection_does_not_hide_behind_a_metadata_read() -> None:
    honest: Records = [*read(1, 0), store(1, 50 * MILLI)]
    shadow: Records = [*halves(2, at=START + SECOND, path="/v1/secrets/s1"), store(2, SECOND + 50 * MILLI, port=666)]
    assert vault([*honest, *shadow]) == {"KMW-035": {"backend:2"}}


# ------------------------------------------------------------------------------------------ clients and sessions


def test_a_client_nobody_declared_is_told_at_once_and_uses_up_no_request() -> None:
    of = engine()
    records: Records = [*read(1, 0), hsm(1, 50 * MILLI), hsm(2, 60 * MILLI, name="other-app")]
    out = run(of, [*records, hsm(3, 20 * SECOND, Deed.OTHER)], end=False)
    assert alarms(out.findings) == {"KMW-035": {"backend:2"}}
    assert alarms([*out.findings, *of.flush().findings]) == {"KMW-035": {"backend:2"}}


@pytest.mark.parametrize("who", [{"name": "barbican-api", "host": "elsewhere"}, {"name": "hsm-monitor", "host": None}])
def test_the_right_name_on_another_host_or_a_client_without_leave_may_not_log_in(who: dict[str, str | None]) -> None:
    records: Records = [*read(1, 0), hsm(1, 50 * MILLI), hsm(2, 20 * MILLI, Deed.LOGIN, **who)]  # type: ignore[arg-type]
    assert alarms(run(engine(), records).findings) == {"KMW-036": {"backend:2"}}


@pytest.mark.parametrize("deed", [Deed.LOGIN, Deed.UNWRAP])
def test_a_session_that_no_request_needs_is_found_and_one_that_a_request_needs_is_not(deed: Deed) -> None:
    records: Records = [*read(1, 0), hsm(1, 10 * MILLI, deed), hsm(2, 50 * MILLI), hsm(3, 20 * SECOND, deed)]
    assert alarms(run(engine(), records).findings) == {"KMW-036": {"backend:3"}}


def test_one_request_needs_two_logins_and_one_key_at_most() -> None:
    records: Records = [*read(1, 0), hsm(9, 50 * MILLI), *(hsm(n, n * MILLI, Deed.LOGIN) for n in (1, 2, 3))]
    assert len(alarms(run(engine(), records).findings)["KMW-036"]) == 3
    records = [*read(1, 0), hsm(9, 50 * MILLI), *(hsm(n, n * MILLI, Deed.LOGIN) for n in (1, 2))]
    assert alarms(run(engine(), records).findings) == {}


def test_a_log_without_clients_supports_the_account_all_the_same() -> None:
    records: Records = [*read(1, 0), hsm(1, 50 * MILLI, name=None, host=None), hsm(2, 5 * SECOND, name=None, host=None)]
    assert alarms(run(engine(), records).findings) == {"KMW-035": {"backend:2"}}


def test_a_login_to_the_store_over_a_connection_that_serves_no_request_is_found() -> None:
    login = {"path": "auth/approle/login", "mount": "auth/approle/"}
    ours: Records = [*read(1, 0), store(1, 10 * MILLI, Deed.LOGIN, **login), store(2, 50 * MILLI)]  # type: ignore[arg-type]
    theirs = store(3, 20 * MILLI, Deed.LOGIN, port=666, **login)  # type: ignore[arg-type]
    assert vault([*ours, theirs]) == {"KMW-036": {"backend:3"}}


def test_other_tenants_of_a_shared_store_are_of_no_interest() -> None:
    theirs = {"role": "webapp", "address": "10.9.9.9", "mount": "apps/", "path": "apps/data/x"}
    records: Records = [store(1, 0, **theirs), store(2, SECOND, Deed.CHANGE, **theirs)]  # type: ignore[arg-type]
    assert vault(records) == {}


# ------------------------------------------------------------------------------------------ what is never done


def test_a_key_read_out_is_critical_and_a_failed_attempt_is_high() -> None:
    for result, severity in ((Result.OK, Severity.CRITICAL), (Result.FAILED, Severity.HIGH)):
        out = run(engine(), [hsm(1, 0, Deed.EXTRACT, result=result)])
        assert {finding.severity for finding in out.findings if finding.rule == "KMW-037"} == {severity}


def test_a_wrong_pin_is_medium_and_the_security_officer_high() -> None:
    wrong = run(engine(), [hsm(1, 0, Deed.LOGIN, result=Result.REFUSED)])
    assert alarms(wrong.findings) == {"KMW-038": {"backend:1"}}
    officer = run(engine(), [hsm(1, 0, Deed.LOGIN, privileged=True, name="hsm-admin")])
    severities = {finding.severity for finding in officer.findings if finding.rule == "KMW-038"}
    assert severities == {Severity.HIGH}


def test_nobody_elses_wrong_pin_is_excused_by_a_read_that_fails_at_that_moment() -> None:
    failing = halves(1, at=START, path="/v1/secrets/s1/payload", status=500)
    stranger = hsm(1, 50 * MILLI, Deed.LOGIN, result=Result.REFUSED, name="pkcs11-tool", host="jump03")
    officer = hsm(2, 50 * MILLI, Deed.LOGIN, result=Result.REFUSED, privileged=True)
    for refused in (stranger, officer):
        assert alarms(run(engine(), [*failing, refused]).findings) == {"KMW-038": {refused.event_id}}


def test_a_refusal_within_the_key_managers_own_failing_read_is_its_own() -> None:
    failing = halves(1, at=START, path="/v1/secrets/s1/payload", status=500)
    refused = store(1, 50 * MILLI, result=Result.REFUSED)
    assert vault([*failing, refused]) == {}
    assert vault([*read(1, 0), store(2, 10 * MILLI), refused]) == {"KMW-038": {"backend:1"}}


@pytest.mark.parametrize(
    ("path", "mount"), [("sys/policies/acl/x", "sys/"), ("auth/token/create", "auth/token/"), (KEYS["s1"], MOUNT)]
)
def test_a_change_of_policies_tokens_or_stored_versions_is_found(path: str, mount: str) -> None:
    assert vault([store(1, 0, Deed.CHANGE, path=path, mount=mount)]) == {"KMW-039": {"backend:1"}}


def test_a_response_that_is_wrapped_by_hand_is_a_remark_for_a_person() -> None:
    out = run(engine(clients=[ROLE]), [store(1, 0, Deed.EXTRACT, path="sys/wrapping/wrap", mount="sys/")])
    assert next(finding.severity for finding in out.findings if finding.rule == "KMW-037") is Severity.MEDIUM


def enabled(number: int, at: Micros) -> BackendRecord:
    return replace(root(number, at, "sys/audit/file"), detail="update sys/audit/file")


def root(number: int, at: Micros, path: str) -> BackendRecord:
    return store(number, at, Deed.CHANGE, path=path, mount="sys/", role=None, address="10.0.0.9", privileged=True)


def test_the_set_up_of_a_store_whose_log_begins_in_our_sight_is_information() -> None:
    out = run(
        engine(clients=[ROLE]),
        [enabled(1, 0), root(2, SECOND, "sys/mounts/kv"), root(3, 2 * SECOND, "sys/policies/acl/kv")],
    )
    told = [finding for finding in out.findings if finding.rule in ("KMW-038", "KMW-039")]
    assert {finding.severity for finding in told} == {Severity.INFORMATIONAL}
    assert {event_id for finding in told for event_id in finding.event_ids} == {"backend:1", "backend:2", "backend:3"}


@pytest.mark.parametrize(
    "before",
    [
        [],  # its log was there before us
        [enabled(1, 0), store(2, SECOND, Deed.LOGIN, path="auth/approle/login", mount="auth/approle/")],  # in use
        [enabled(1, 0), store(2, SECOND, Deed.WRITE)],
        [enabled(1, 0), root(2, 70 * MINUTE, "sys/mounts/kv")],  # nobody sets up for so long
        [store(1, 0, Deed.OTHER), enabled(2, SECOND)],  # switched off and on again
    ],
)
def test_a_store_in_use_is_not_being_set_up(before: Records) -> None:
    late = root(
        9,
        80 * MINUTE if len(before) == 2 and before[1].observed_time > START + MINUTE else 5 * SECOND,
        "sys/policies/acl/kv",
    )
    found = vault([*before, late])
    assert "backend:9" in found["KMW-038"]
    assert "backend:9" in found["KMW-039"]


def test_a_key_that_is_an_address_is_a_key_of_the_hsm_all_the_same() -> None:
    stolen = replace(hsm(1, 0), path="https://hsm.example/keys/mkek")
    assert alarms(run(engine(), [stolen]).findings) == {"KMW-035": {"backend:1"}}


def test_a_request_without_a_response_is_told_when_none_has_come() -> None:
    seal = store(1, 0, Deed.CHANGE, path="sys/seal", mount="sys/", result=Result.UNKNOWN, half="request")
    assert vault([seal]) == {"KMW-039": {"backend:1"}}


@pytest.mark.parametrize(
    ("deed", "asking"), [(Deed.WRITE, ("create", "/v1/secrets")), (Deed.DELETE, ("delete", "/v1/secrets/s1"))]
)
def test_a_payload_stored_or_deleted_behind_the_api_is_found(deed: Deed, asking: tuple[str, str]) -> None:
    action, path = asking
    asked = halves(1, at=START, action=action, path=path, status=201 if action == "create" else 204)
    assert vault([*asked, *read(2, 0), store(9, 20 * MILLI), store(1, 50 * MILLI, deed)]) == {}
    assert vault([*read(2, 0), store(9, 20 * MILLI), store(1, 50 * MILLI, deed)]) == {"KMW-039": {"backend:1"}}


def test_an_hsm_keeps_no_payloads_so_encrypting_more_is_nothing() -> None:
    assert alarms(run(engine(), [hsm(1, 0, Deed.WRITE)]).findings) == {}


# ------------------------------------------------------------------------------------------ silence, work announced


def test_reads_that_the_backend_does_not_show_are_a_silent_log() -> None:
    records: Records = [record for number in range(3) for record in read(number, number * SECOND)]
    out = run(engine(), records)
    told = [finding for finding in out.findings if finding.rule == "KMW-040"]
    assert told[0].event_ids == ("api:req-0", "api:req-1", "api:req-2")
    assert told[0].subject == "backend"


@pytest.mark.parametrize(
    "clock", [BackendClock(), BackendClock(shows_reads=False)], ids=["its records tell", "declared"]
)
def test_a_log_that_never_shows_reads_lacks_none(clock: BackendClock) -> None:
    reads = [record for number in range(5) for record in read(number, number * SECOND)]
    unwrap = replace(hsm(9, 50 * MILLI, Deed.UNWRAP), blind=clock.shows_reads)
    assert alarms(run(engine(clock=clock), [*reads, unwrap]).findings) == {}


def test_two_are_not_enough_and_a_read_that_it_shows_ends_the_count() -> None:
    lacking: Records = [*read(1, 0), *read(2, SECOND)]
    shown: Records = [*read(3, 2 * SECOND), hsm(3, 2 * SECOND + 50 * MILLI)]
    assert "KMW-040" not in alarms(run(engine(), [*lacking, *shown, *read(4, 3 * SECOND)]).findings)


def test_announced_work_is_listed_and_alarms_nobody() -> None:
    work = [
        hsm(n, n * SECOND, deed, name="barbican-manage")
        for n, deed in enumerate((Deed.LOGIN, Deed.UNWRAP, Deed.CHANGE))
    ]
    quiet = run(engine(windows=[WORK]), work)
    assert alarms(quiet.findings) == {}
    listed = {
        event_id for finding in quiet.findings for event_id in finding.event_ids if finding.reason == "maintenance"
    }
    assert listed == {"backend:0", "backend:1", "backend:2"}
    assert set(alarms(run(engine(), work).findings)) == {"KMW-036", "KMW-039"}


def test_a_window_of_one_client_covers_no_other() -> None:
    assert alarms(run(engine(windows=[WORK]), [hsm(1, SECOND, Deed.CHANGE)]).findings) == {"KMW-039": {"backend:1"}}


# ------------------------------------------------------------------------------------------ laws


def busy() -> Records:
    """A minute of reads, some at once, with four thefts among them."""
    records: Records = []
    for number in range(60):
        at = number * 900 * MILLI
        records += [*read(number, at), hsm(number, at + 50 * MILLI)]
        if number % 3 == 0:
            records += [*read(1000 + number, at + 30 * MILLI), hsm(1000 + number, at + 90 * MILLI)]
        if number % 15 == 7:
            records.append(hsm(5000 + number, at + 60 * MILLI))
    return records


def lines(records: Records, batch: int = 10_000) -> set[str]:
    of, out = engine(), []
    for start in range(0, len(records), batch):
        of.take("s", records[start : start + batch])
        of.advance()
        out += of.work(10_000)[0].findings
    out += of.flush().findings
    assert balances(of)
    return {finding.line_uid for finding in out}


def in_time(records: Records) -> Records:
    return sorted(records, key=lambda record: record.observed_time)


def test_every_theft_in_busy_traffic_is_counted_once() -> None:
    out = run(engine(), busy())
    told = [finding for finding in out.findings if finding.rule == "KMW-035"]
    thefts = {f"backend:{5000 + number}" for number in (7, 22, 37, 52)}
    assert thefts <= set(told[-1].event_ids)
    hits = engine()
    run(hits, busy())
    assert hits.account.hits["KMW-035"] == 4


@pytest.mark.parametrize("seed", range(5))
def test_order_within_the_lateness_repetition_and_batches_make_no_difference(seed: int) -> None:
    random, records = Random(seed), in_time(busy())  # noqa: S311  (a shuffle, no secret)
    mixed = [*records, *random.sample(records, 30)]
    mixed.sort(key=lambda record: record.observed_time + random.randrange(8 * SECOND))
    assert lines(mixed, random.randint(1, 80)) == lines(records)


@pytest.mark.parametrize("cut", [1, 60, 150, 200])
def test_a_restart_in_the_middle_makes_no_difference(cut: int) -> None:
    records = in_time(busy())
    first, rows, out = engine(), dict[tuple[str, str], Row](), []
    memory = Memory(first)
    first.take("s", records[:cut])
    first.advance()
    out += first.work(10_000)[0].findings
    for row in memory.changes():
        rows[row.kind, row.key] = row
    second = engine()
    Memory(second).restore(row for row in rows.values() if row.value is not None)
    second.take("s", records[cut:])
    second.advance()
    out += second.work(10_000)[0].findings
    out += second.flush().findings
    assert {finding.line_uid for finding in out} == lines(records)


def held(of: Engine) -> dict[str, int]:
    """How much of everything the engine holds."""
    ledger = of.backend.ledger
    out = {keyed.name: len(keyed) for keyed in of.states() if keyed.name.startswith("backend/")}
    out |= {f"{name} by second": sum(map(len, pool._at.values())) for name, pool in ledger.pools.items()}
    return {**out, "queue": len(ledger._queue), "order": len(of.order.waiting)}


@pytest.mark.parametrize(
    "ahead",
    [
        [hsm(number, number * 100 * MILLI) for number in range(2000)],
        [store(n, n * 100 * MILLI, half="request", result=Result.UNKNOWN) for n in range(2000)],
        [
            store(number, number * 100 * MILLI, result=Result.REFUSED, role=None, address="10.9.9.9")
            for number in range(999)
        ],
    ],
    ids=["reads", "requests without responses", "refusals"],
)
def test_memory_is_bounded_when_the_backends_log_is_far_ahead_and_every_record_is_judged(ahead: Records) -> None:
    of = engine(limit=100)
    run(of, ahead, end=False)
    assert max(held(of).values()) <= 200
    assert balances(of)


def test_memory_is_bounded_when_the_backends_log_is_far_behind() -> None:
    of = engine(limit=100)
    run(of, [record for number in range(2000) for record in read(number, number * 100 * MILLI)], end=False)
    assert max(held(of).values()) <= 200
    assert balances(of)


def test_a_theft_is_not_crowded_out_by_a_flood_of_refusals() -> None:
    flood: Records = [
        store(number, number * MILLI, result=Result.REFUSED, role=None, address="10.0.0.1") for number in range(1, 1000)
    ]
    of = engine(clients=[ROLE], inventory=STORED, limit=100)
    theft = store(5000, 100 * MILLI)
    assert (
        "backend:5000"
        in alarms(run(of, [*read(1, -SECOND), store(6000, -SECOND + 50 * MILLI), theft, *flood]).findings)["KMW-035"]
    )


def test_where_the_account_had_to_forget_requests_a_surplus_says_so_and_the_crowding_is_told() -> None:
    crowd = [record for number in range(400) for record in read(number, number * 50 * MILLI)]
    out = run(
        engine(limit=100),
        [
            *crowd,
            hsm(1, 19 * SECOND + 960 * MILLI),
            hsm(2, 19 * SECOND + 970 * MILLI),
            hsm(3, 19 * SECOND + 980 * MILLI),
            hsm(4, 19 * SECOND + 990 * MILLI),
            hsm(5, 2 * MINUTE),
        ],
    )
    told = [finding for finding in out.findings if finding.rule == "KMW-035"]
    assert {finding.reason for finding in told} == {"crowded"}
    assert max(finding.severity for finding in told) is Severity.HIGH
    assert any("backend/reads/covers" in finding.message for finding in out.findings if finding.rule == "KMW-046")


def test_the_account_shows_what_was_evaluated_of_each_log() -> None:
    of = engine()
    run(of, [*read(1, 0), hsm(1, 50 * MILLI), hsm(1, 50 * MILLI), hsm(2, SECOND, Deed.OTHER)])
    assert of.account.behind == {"backend": 2}
    shown = totals(of)
    assert shown.balanced
    assert (shown.records.consumed, shown.records.joined, shown.records.duplicate) == (5, 4, 1)


def test_where_no_backend_is_expected_its_records_are_unwanted_and_counted() -> None:
    of = engine()
    of._witnesses = {}
    run(of, [hsm(1, 0)])
    assert of.account.streams["s"].ignored == {"unwanted": 1}


def test_halves_of_an_operation_are_one_and_come_in_any_order() -> None:
    asked = store(1, 50 * MILLI, half="request", result=Result.UNKNOWN)
    answer = replace(store(1, 51 * MILLI, half="response"), slot=Slot.BACKEND)
    for halves_ in ([asked, answer], [replace(asked, observed_time=START + 52 * MILLI), answer]):
        of = engine(clients=[ROLE], inventory=STORED)
        assert alarms(run(of, [*read(1, 0), *halves_]).findings) == {}
        assert balances(of)
        assert of.account.behind == {"backend": 1}


@pytest.mark.parametrize(
    ("shown", "cause"),
    [
        ([hsm(99, 5 * SECOND, Deed.UNWRAP, result=Result.FAILED)], "shows 'C_unwrap'"),
        ([hsm(99, -SECOND, Deed.OTHER)], "has shown nothing since"),
        ([hsm(99, 9 * SECOND + 50 * MILLI, Deed.OTHER)], "shows no failure"),
    ],
)
def test_an_outage_says_what_the_backends_log_shows_of_its_cause(shown: Records, cause: str) -> None:
    failing = [
        r for n in range(10) for r in halves(n, at=START + n * SECOND, path="/v1/secrets/s1/payload", status=500)
    ]
    told = [finding for finding in run(engine(), [*shown, *failing]).findings if finding.rule == "KMW-033"]
    assert cause in told[-1].message
