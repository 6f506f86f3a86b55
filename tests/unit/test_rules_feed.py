"""Detections about the feed itself: gaps of the audit trail, silent witnesses, blinded reads, unreadable records."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from kmwatch.core.account import Account
from kmwatch.core.detect import Detector
from kmwatch.core.model import (
    HOUR,
    MINUTE,
    SECOND,
    Activity,
    AuditEvent,
    Finding,
    Kind,
    Micros,
    Mode,
    Severity,
    Witness,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Meta, Settings
from kmwatch.core.rules.catalogue import CATALOGUE
from kmwatch.core.rules.counting import MOST_CITED, MOST_TOLD, Buckets, Recent, Sparing
from kmwatch.wire.cef import to_cef
from kmwatch.wire.ocsf import to_ocsf
from kmwatch.wire.syslog import structured_data
from kmwatch.wire.terminal import to_terminal
from tests.support.audit import START, case, declared, defaults, event
from tests.support.cef import parse_cef

BEGIN = START // MINUTE * MINUTE
BOTH = (Witness.CADF, Witness.PROXY_LOG)
PROXY = (Witness.PROXY_LOG,)
EXPECTED = {Witness.CADF: "required", Witness.PROXY_LOG: "expected"}


def detector_of(rule: str, chosen: Settings | None = None) -> Detector:
    """A detector whose other rules are off."""
    of = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
    of[rule] = chosen or defaults(rule)
    return Detector(declared(), of, 100, Account(), proxy_expected=True)


def told(
    number: int,
    *flags: str,
    at: Micros | None = None,
    kind: Kind = Kind.RETRIEVAL,
    seen: tuple[Witness, ...] = (Witness.CADF,),
) -> AuditEvent:
    """A request in the order of time, one a second unless `at` says otherwise."""
    time = BEGIN + number * SECOND if at is None else at
    return replace(event(number, kind, at=time), flags=flags, seen_in=seen)


def lost(number: int, at: Micros | None = None, kind: Kind = Kind.RETRIEVAL) -> AuditEvent:
    """A request that the proxy saw and the audit trail lacks."""
    return told(number, "audit_missing", at=at, kind=kind, seen=PROXY)


def show(detector: Detector, events: list[AuditEvent]) -> list[Finding]:
    return [line for one in events for line in detector.observe(one)[1]]


def beat(detector: Detector, minute: int, **last_seen: int) -> list[Finding]:
    """A pulse `minute` minutes after the beginning; `last_seen` by witness, in minutes too."""
    heard = {Witness(name): BEGIN + minutes * MINUTE for name, minutes in last_seen.items()}
    expected = {Witness.CADF: "required", Witness.PROXY_LOG: "expected"}
    return detector.pulse(Pulse(BEGIN + minute * MINUTE, last_seen=heard, expected=expected))  # type: ignore[arg-type]


# KMW-025 audit-gap


def test_025_tells_of_a_request_that_the_audit_trail_lacks() -> None:
    (line,) = show(detector_of("KMW-025"), [told(1, seen=BOTH), lost(2)])
    assert (line.severity, line.reason, line.subject) == (Severity.HIGH, "audit_missing", "cadf")
    assert (line.event_ids, line.techniques) == (("api:req-2",), ("T1685.002", "T1562.008"))
    assert line.message.startswith("1 of 2 requests within 10 min lack audit records")


def test_025_tells_of_a_request_that_was_never_answered() -> None:
    (line,) = show(detector_of("KMW-025"), [told(1), told(2, "response_missing")])
    assert line.reason == "response_missing"


@pytest.mark.parametrize(("gaps", "lines"), [(1, 0), (2, 1)])
def test_025_tolerates_one_lost_record_in_two_hundred(gaps: int, lines: int) -> None:
    ordinary = [told(n, at=BEGIN + n) for n in range(300)]
    missing = [lost(1000 + n, at=BEGIN + 1000 + n) for n in range(gaps)]
    found = show(detector_of("KMW-025"), ordinary + missing)
    assert len(found) == lines
    assert [line.counts.events for line in found] == [2] * lines  # the tolerated one is cited too


def test_025_does_not_count_what_can_have_no_audit_event() -> None:
    detector = detector_of("KMW-025")
    unseen = [told(n, at=BEGIN + n, seen=PROXY) for n in range(1000)]
    assert show(detector, [told(2000), *unseen]) == []
    assert len(show(detector, [lost(3000)])) == 1


def test_025_what_came_before_the_first_audit_event_is_no_gap() -> None:
    detector = detector_of("KMW-025")
    assert show(detector, [lost(1), told(5), lost(3)]) == []
    assert len(show(detector, [lost(6)])) == 1


def test_025_late_evidence_that_fills_a_gap_is_no_finding_and_takes_it_back() -> None:
    detector = detector_of("KMW-025", replace(defaults("KMW-025"), threshold=2))
    gap = lost(2)
    assert show(detector, [told(1), gap]) == []
    assert detector.observe(told(2, "late", at=gap.event_time + MINUTE, seen=BOTH), gap, again=True)[1] == []
    assert show(detector, [lost(3)]) == []
    assert len(show(detector, [lost(4)])) == 1


def test_025_a_blackout_is_told_in_few_lines_that_name_some_requests_and_count_all() -> None:
    detector = detector_of("KMW-025")
    lines = show(detector, [told(0), *[lost(n, at=BEGIN + n) for n in range(1, 5000)]])
    assert len(lines) == 1
    assert beat(detector, 1) == []
    (closed,) = detector.flush()
    assert closed.counts.events == MOST_TOLD + MOST_CITED
    assert "4999 of 5000 requests" in closed.message


def test_025_the_end_of_the_input_tells_what_was_held_back() -> None:
    detector = detector_of("KMW-025")
    (created,) = show(detector, [told(0), *[lost(n, at=BEGIN + n) for n in range(1, 10)]])
    (closed,) = detector.flush()
    assert (created.counts.events, closed.counts.events) == (1, 9)
    assert "9 of 10 requests" in closed.message


# KMW-025 a silent witness


def test_025_a_silent_witness_is_told_where_others_saw_what_it_must_have_seen() -> None:
    detector = detector_of("KMW-025")
    assert beat(detector, 0) == []
    requests = [told(n, "proxy_log_missing", at=BEGIN + 11 * MINUTE + n) for n in range(3)]
    assert show(detector, requests) == []
    (line,) = beat(detector, 12, cadf=12, proxy_log=1)
    assert (line.reason, line.severity, line.subject) == ("witness_silent", Severity.MEDIUM, "proxy_log")
    assert (line.time, line.counts.events) == (BEGIN + 12 * MINUTE, 3)


def test_025_the_silence_of_a_required_witness_is_graver() -> None:
    detector = detector_of("KMW-025")
    beat(detector, 0, cadf=0)
    show(detector, [told(0, at=BEGIN)])
    gap, *_ = show(detector, [lost(1, at=BEGIN + 11 * MINUTE)])
    (line,) = beat(detector, 12, cadf=0, proxy_log=12)
    assert (gap.reason, line.reason, line.severity) == ("audit_missing", "witness_silent", Severity.HIGH)


def test_025_when_all_is_quiet_only_what_is_required_is_told_once_and_less_gravely() -> None:
    detector = detector_of("KMW-025")
    lines = [line for minute in range(60) for line in beat(detector, minute, cadf=0, proxy_log=minute)]
    (line,) = lines
    assert (line.subject, line.severity, line.time) == ("cadf", Severity.MEDIUM, BEGIN + 10 * MINUTE)
    assert "all is quiet" in line.message
    closed = [line for minute in range(60, 600) for line in beat(detector, minute, cadf=0, proxy_log=minute)]
    assert [line.activity for line in closed] == [Activity.CLOSE]


def test_025_nights_are_learned_and_a_longer_one_is_told() -> None:
    detector = detector_of("KMW-025")
    lines: list[Finding] = []
    for night in range(3):
        for minute in range(0, 720, 5):
            lines += beat(detector, night * 1440 + minute, cadf=night * 1440 + minute)
        for minute in range(720, 1440, 5):
            lines += beat(detector, night * 1440 + minute, cadf=night * 1440 + 715)
    assert [line.time for line in lines if line.activity is Activity.CREATE] == [BEGIN + 725 * MINUTE]
    beat(detector, 4320, cadf=4320)
    late = [line for minute in range(4325, 5400, 5) for line in beat(detector, minute, cadf=4320)]
    assert [(line.activity, line.time) for line in late][:1] == [(Activity.CREATE, BEGIN + 5230 * MINUTE)]


def test_025_a_witness_that_was_never_heard_counts_from_the_first_pulse() -> None:
    detector = detector_of("KMW-025")
    assert [line for minute in range(10) for line in beat(detector, minute)] == []
    assert [line.subject for line in beat(detector, 10)] == ["cadf"]


def test_025_a_witness_that_speaks_again_closes_its_finding() -> None:
    detector = detector_of("KMW-025")
    beat(detector, 0)
    (opened,) = beat(detector, 10)
    (closed,) = beat(detector, 13, cadf=12)
    assert (closed.activity, closed.uid, closed.time) == (Activity.CLOSE, opened.uid, BEGIN + 13 * MINUTE)
    assert closed.message == "the required witness cadf is heard again"
    assert beat(detector, 14, cadf=12) == []
    assert detector.flush() == []


def test_025_a_witness_that_is_absent_by_configuration_is_never_silent() -> None:
    detector = detector_of("KMW-025")
    assert [line for minute in range(100) for line in detector.pulse(Pulse(BEGIN + minute * MINUTE))] == []


# KMW-026 read-audit-blinded


def minutes_of(detector: Detector, kinds: list[Kind], seen: tuple[Witness, ...], minutes: int = 20) -> list[Finding]:
    """Each minute one request of each kind, then the pulse."""
    lines: list[Finding] = []
    for minute in range(minutes):
        lines += beat(detector, minute, cadf=minute, proxy_log=minute)
        at = BEGIN + minute * MINUTE
        lines += show(
            detector, [told(minute * 100 + n, at=at + n, kind=kind, seen=seen) for n, kind in enumerate(kinds)]
        )
    return lines


def test_026_tells_when_changes_arrive_and_reads_never_do() -> None:
    (line,) = minutes_of(detector_of("KMW-026"), [Kind.CREATE], (Witness.CADF,))
    assert (line.severity, line.reason, line.time) == (Severity.CRITICAL, "no_reads", BEGIN + 15 * MINUTE)
    assert (line.event_ids, line.subject) == ((), "cadf")
    assert "no other witness tells" in line.message


def test_026_is_silent_where_the_trail_shows_any_read() -> None:
    assert minutes_of(detector_of("KMW-026"), [Kind.CREATE, Kind.DELETE, Kind.LIST], (Witness.CADF,)) == []


def test_026_is_silent_where_there_is_little_to_see() -> None:
    detector = detector_of("KMW-026")
    lines = [line for minute in range(0, 200, 5) for line in beat(detector, minute)]
    for number in range(30):  # a change every two minutes is fewer than ten in fifteen
        lines += beat(detector, 200 + 2 * number)
        lines += show(detector, [told(number, at=BEGIN + (200 + 2 * number) * MINUTE, kind=Kind.CREATE)])
    assert lines == []


def test_026_is_silent_before_a_whole_window_was_watched() -> None:
    detector = detector_of("KMW-026")
    show(detector, [told(n, at=BEGIN + n, kind=Kind.CREATE) for n in range(100)])
    assert [line for minute in range(15) for line in beat(detector, minute)] == []


def test_026_is_silent_where_another_witness_shows_that_there_were_no_reads() -> None:
    assert minutes_of(detector_of("KMW-026"), [Kind.CREATE], BOTH) == []


def test_026_is_certain_where_another_witness_shows_reads_that_the_trail_lacks() -> None:
    detector = detector_of("KMW-026")
    lines: list[Finding] = []
    for minute in range(20):
        lines += beat(detector, minute)
        at = BEGIN + minute * MINUTE
        lines += show(detector, [told(minute, at=at, kind=Kind.CREATE, seen=BOTH), lost(100 + minute, at=at + 1)])
    assert (lines[0].activity, lines[0].reason) == (Activity.CREATE, "reads_missing")
    assert lines[0].event_ids
    assert "reads that it lacks" in lines[0].message


def test_026_a_change_that_is_told_again_counts_once() -> None:
    detector = detector_of("KMW-026")
    lines: list[Finding] = []
    for minute in range(0, 40, 2):
        lines += beat(detector, minute)
        change = told(minute, at=BEGIN + minute * MINUTE, kind=Kind.CREATE)
        lines += show(detector, [change])
        lines += detector.observe(change, change, again=True)[1]
    assert lines == []


# KMW-030 unparsed-records


def read(detector: Detector, minute: int, records: int, rejected: int = 0, skewed: int = 0) -> list[Finding]:
    return detector.pulse(Pulse(BEGIN + minute * MINUTE, {"logs/0": records}, {"logs/0": rejected}, {"logs/0": skewed}))


def test_030_tells_of_a_stream_with_more_than_one_unreadable_record_in_a_thousand() -> None:
    (line,) = read(detector_of("KMW-030"), 1, 999, 1)
    assert (line.severity, line.reason, line.subject) == (Severity.MEDIUM, "rejected", "logs/0")
    assert line.message == "of 999 records of logs/0 within 15 min 1 cannot be read"
    assert read(detector_of("KMW-030"), 1, 1000, 1) == []


def test_030_counts_clocks_that_cannot_be_believed_too() -> None:
    (line,) = read(detector_of("KMW-030"), 1, 10, 0, 1)
    assert (line.reason, line.message) == (
        "clock_skewed",
        "of 10 records of logs/0 within 15 min 1 tell a time that cannot be",
    )


def test_030_counts_over_its_window_and_waits_for_its_threshold() -> None:
    detector = detector_of("KMW-030", replace(defaults("KMW-030"), threshold=3))
    assert read(detector, 1, 10, 1) + read(detector, 2, 10, 1) + read(detector, 60, 10, 1) == []
    assert read(detector, 61, 10, 1) == []
    assert len(read(detector, 62, 10, 1)) == 1


def test_030_is_one_finding_a_stream_and_closes_with_its_roll_up() -> None:
    detector = detector_of("KMW-030")
    lines = [line for minute in range(30) for line in read(detector, minute, 10, 1)]
    lines += detector.advance(BEGIN + 2 * HOUR)
    assert [line.activity for line in lines] == [Activity.CREATE, Activity.CLOSE]
    assert (lines[1].start_time, lines[1].end_time) == (BEGIN, BEGIN + 29 * MINUTE)
    assert lines[1].message.startswith("closed; last: of ")
    assert len({line.line_uid for line in lines}) == 2


# Findings that cite no request


def feed_lines() -> list[Finding]:
    detector = detector_of("KMW-030")
    return [*read(detector, 1, 10, 1), *detector.flush()]


def test_the_id_of_a_finding_about_the_feed_depends_on_what_was_found_alone() -> None:
    assert feed_lines() == feed_lines()
    later = read(detector_of("KMW-030"), 2, 10, 1)
    assert later[0].uid != feed_lines()[0].uid


def test_a_finding_about_the_feed_is_valid_ocsf_and_names_its_subject() -> None:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema(
        "detection_finding", ["security_control"]
    )
    for line in feed_lines():
        alert = json.loads(to_ocsf(line))
        Draft202012Validator(schema).validate(alert)
        assert alert["unmapped"]["kmwatch"]["subject"] == "logs/0"
        assert alert["count"] == 1
        assert alert["unmapped"]["kmwatch"]["counts"]["events"] == 0


def test_a_finding_about_the_feed_is_readable_in_every_other_form() -> None:
    created = feed_lines()[0]
    extension = parse_cef(to_cef(created)).extension
    assert (extension["kmwatchSubject"], extension["msg"]) == ("logs/0", created.message)
    assert 'rule="KMW-030"' in structured_data(created)
    assert to_terminal(created, colour=False).splitlines()[1:] == [
        f"  {created.message}",
        f"  logs/0, alert {created.uid}",
    ]


def test_the_text_of_a_streams_name_reaches_no_reader_unescaped() -> None:
    evil = "a\x1b[2J\nb"
    (line,) = detector_of("KMW-030").pulse(Pulse(BEGIN, {evil: 1}, {evil: 1}))
    for shown in (to_terminal(line, colour=False), to_cef(line), to_ocsf(line).decode()):
        assert "\x1b" not in shown


# What they count with


def test_buckets_count_within_their_span_for_sure_and_forget_the_quiet() -> None:
    counts = Buckets("x", 2, 15 * MINUTE, 10)
    counts.add("a", BEGIN, 0)
    counts.add("a", BEGIN + 15 * MINUTE - 1, 1, 3)
    assert counts.sums("a", BEGIN + 15 * MINUTE - 1) == [1, 3]
    assert counts.sums("a", BEGIN + 20 * MINUTE) == [0, 3]
    counts.add("a", BEGIN + 15 * MINUTE - 1, 1, -1)
    assert counts.sums("a", BEGIN + 20 * MINUTE) == [0, 2]
    counts.forget(BEGIN + HOUR)
    assert len(counts.state) == 0


def test_what_they_count_with_is_bounded() -> None:
    counts, recent, sparing = Buckets("x", 1, HOUR, 5), Recent("y", 3, HOUR, 5), Sparing("z", 1, 5)
    for number in range(500):
        key = str(number % 20)
        counts.add(key, BEGIN + number * MINUTE, 0)
        recent.add(key, BEGIN + number, case(event(number)).citation)
        sparing.allows(key, BEGIN + number)
        recent.add("19", BEGIN + number, case(event(number)).citation)
    assert [len(state) for state in (counts.state, recent.state, sparing.state)] == [5, 5, 5]
    assert len(recent.within("19", BEGIN + 500)) == 3
    assert max(len(steps) for _, steps in counts.state.items()) <= 17


@pytest.mark.parametrize("meta", [meta for meta in CATALOGUE if not meta.early], ids=lambda meta: str(meta.id))
def test_a_rule_that_is_restored_goes_on_as_if_it_had_never_stopped(meta: Meta) -> None:
    """A restart between any two events changes nothing."""
    rule = meta.id
    flags = ("audit_missing", "proxy_log_missing", "past_proxy", "legacy_read", "status_disagrees")
    steps: list[AuditEvent | int] = []
    for minute in range(16):
        steps.append(minute)
        at = BEGIN + minute * MINUTE
        steps += [told(minute * 10 + n, at=at + n, kind=Kind.CREATE) for n in range(3)]
        steps += [replace(lost(minute * 10 + 5, at=at + 9), flags=flags)]
    outputs = []
    for restarts in (False, True):
        detector, lines, rows = detector_of(rule), list[Finding](), dict[tuple[str, str], bytes]()
        for step in steps:
            lines += detector.observe(step)[1] if isinstance(step, AuditEvent) else read_and_beat(detector, step)
            if restarts:
                for state in detector.states():
                    for key, value in state.take_changes():
                        rows.pop((state.name, key), None)
                        if value is not None:
                            rows[state.name, key] = value
                detector = detector_of(rule)
                states = {state.name: state for state in detector.states()}
                for (name, key), value in rows.items():
                    states[name].restore(key, value)
                detector.restored()
        outputs.append(lines + detector.flush())
    assert outputs[0] == outputs[1]


def read_and_beat(detector: Detector, minute: int) -> list[Finding]:
    counts = {"logs/0": 10}
    return detector.pulse(
        Pulse(BEGIN + minute * MINUTE, counts, {"logs/0": 1}, {}, {Witness.CADF: BEGIN}, EXPECTED)  # type: ignore[arg-type]
    )
