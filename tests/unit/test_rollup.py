from __future__ import annotations

from kmwatch.core.model import Activity, Citation, Finding, Kind, Mode, Secret, Severity
from kmwatch.core.rollup import MOST_EVENTS, RollUp
from kmwatch.core.rules.base import Hit, Meta, Settings, cite
from tests.support.audit import UNEXPLAINED, declared, event

HOUR = 1000
SETTINGS = Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR)
META = Meta("KMW-001", 1, "unexplained-read", ("T1555.006",), SETTINGS, counts=False)


def rollup(limit: int = 100, settings: Settings = SETTINGS) -> RollUp:
    return RollUp(META, settings, declared(inventory=[Secret("s1", "lb-key", "private")]), limit)


def citation(
    number: int,
    time: int | None = None,
    secret: str = "s1",  # noqa: S107  (an id)
    address: str = "10.0.0.1",
    *,
    status: int = 200,
    flags: tuple[str, ...] = (),
) -> Citation:
    base = cite(event(number, Kind.RETRIEVAL, at=number if time is None else time, secret=secret, address=address))
    return Citation(
        **{name: getattr(base, name) for name in base.__struct_fields__} | {"status": status, "flags": flags}
    )


def hit(*citations: Citation, key: str = "alice", severity: Severity | None = None) -> Hit:
    return Hit(key, citations, "alice read it", UNEXPLAINED, "no_declaration", severity)


def activities(lines: list[Finding]) -> list[Activity]:
    return [line.activity for line in lines]


def test_the_first_hit_creates_a_finding() -> None:
    (line,) = rollup().hit(hit(citation(5)))
    assert (line.activity, line.rule, line.time, line.severity) == (Activity.CREATE, "KMW-001", 5, Severity.MEDIUM)
    assert (line.counts.events, line.counts.secrets, line.counts.addresses) == (1, 1, 1)
    assert (line.event_ids, line.start_time, line.end_time) == (("api:req-5",), 5, 5)
    assert line.secrets == (Secret("s1", "lb-key", "private"),)
    assert (line.reason, line.message, line.techniques) == ("no_declaration", "alice read it", ("T1555.006",))


def test_more_of_the_same_is_counted_and_told_at_the_end() -> None:
    findings = rollup()
    (created,) = findings.hit(hit(citation(1)))
    assert findings.hit(hit(citation(2))) == []
    assert findings.hit(hit(citation(3))) == []
    (closed,) = findings.close_due(1 + HOUR)
    assert (closed.activity, closed.uid, closed.time) == (Activity.CLOSE, created.uid, 1 + HOUR)
    assert closed.counts.events == 3
    assert [c.event_id for c in closed.citations] == ["api:req-2", "api:req-3"]
    assert closed.event_ids == ("api:req-1", "api:req-2", "api:req-3")
    assert closed.message == "closed after 3 requests; last: alice read it"
    assert closed.secrets == ()


def test_a_new_secret_a_new_address_and_a_graver_severity_are_told_at_once() -> None:
    findings = rollup()
    findings.hit(hit(citation(1)))
    (secret,) = findings.hit(hit(citation(2, secret="s2")))
    assert (secret.activity, secret.secrets, secret.counts.secrets) == (Activity.UPDATE, (Secret("s2"),), 2)
    (address,) = findings.hit(hit(citation(3, address="10.0.0.2")))
    assert (address.activity, address.secrets, address.counts.addresses) == (Activity.UPDATE, (), 2)
    (graver,) = findings.hit(hit(citation(4), severity=Severity.HIGH))
    assert (graver.activity, graver.severity) == (Activity.UPDATE, Severity.HIGH)
    assert findings.hit(hit(citation(5), severity=Severity.LOW)) == []


def test_every_line_has_an_id_of_its_own_and_the_finding_keeps_one() -> None:
    findings = rollup()
    lines = [line for n in range(1, 6) for line in findings.hit(hit(citation(n, secret=f"s{n}")))]
    lines += findings.close_all()
    assert activities(lines) == [Activity.CREATE, *[Activity.UPDATE] * 2, Activity.CLOSE]
    assert len({line.uid for line in lines}) == 1
    assert len({line.line_uid for line in lines}) == len(lines)


def test_ids_depend_on_what_was_found_alone() -> None:
    made = [[*findings.hit(hit(citation(1))), *findings.close_all()] for findings in (rollup(), rollup())]
    assert made[0] == made[1]
    other = rollup().hit(hit(citation(1), key="bob"))
    assert other[0].uid != made[0][0].uid


def test_the_same_request_twice_counts_once() -> None:
    findings = rollup()
    findings.hit(hit(citation(1)))
    assert findings.hit(hit(citation(1))) == []
    assert findings.close_all()[0].counts.events == 1


def test_what_was_not_found_names_no_secret() -> None:
    (line,) = rollup().hit(hit(citation(1, status=404)))
    assert (line.secrets, line.counts.secrets) == ((), 0)


def test_a_finding_ends_exactly_when_its_time_is_over_and_the_next_hit_begins_another() -> None:
    findings = rollup()
    (first,) = findings.hit(hit(citation(1)))
    assert findings.next_deadline() == 1 + HOUR
    assert findings.close_due(HOUR) == []
    assert len(findings.close_due(1 + HOUR)) == 1
    assert findings.next_deadline() is None
    (second,) = findings.hit(hit(citation(2000)))
    assert (second.activity, second.uid != first.uid) == (Activity.CREATE, True)


def test_findings_end_in_the_order_of_their_deadlines() -> None:
    findings = rollup()
    for number, key in ((3, "c"), (1, "a"), (2, "b")):
        findings.hit(hit(citation(number), key=key))
    assert [line.time for line in findings.close_due(10**9)] == [1 + HOUR, 2 + HOUR, 3 + HOUR]


def test_at_the_end_of_the_input_every_finding_closes_at_its_last_request() -> None:
    findings = rollup()
    findings.hit(hit(citation(1), key="a"))
    findings.hit(hit(citation(2), key="b"))
    findings.hit(hit(citation(7), key="b"))
    assert [(line.activity, line.time) for line in findings.close_all()] == [(Activity.CLOSE, 1), (Activity.CLOSE, 7)]
    assert findings.close_all() == []


def test_a_full_finding_closes_and_the_next_hit_begins_another() -> None:
    findings = rollup()
    lines = [line for n in range(1, MOST_EVENTS + 1) for line in findings.hit(hit(citation(n, time=5)))]
    assert activities(lines) == [Activity.CREATE, Activity.CLOSE]
    assert (lines[-1].counts.events, lines[-1].flags) == (MOST_EVENTS, ("full",))
    assert len(lines[-1].event_ids) == MOST_EVENTS
    (again,) = findings.hit(hit(citation(MOST_EVENTS + 1, time=5)))
    assert (again.activity, again.uid != lines[0].uid) == (Activity.CREATE, True)
    assert len(findings.close_due(5 + HOUR)) == 1  # the first one's deadline is the second one's too: it closes once


def test_a_finding_that_is_crowded_out_closes_early_and_says_so() -> None:
    findings = rollup(limit=2)
    for number, key in enumerate(("a", "b"), 1):
        findings.hit(hit(citation(number), key=key))
    lines = findings.hit(hit(citation(3), key="c"))
    assert activities(lines) == [Activity.CREATE, Activity.CLOSE]
    assert (lines[1].event_ids, lines[1].flags) == (("api:req-1",), ("evicted",))
    assert findings.episodes.evicted == 1
    assert len(findings.close_all()) == 2


def test_a_finding_that_closed_early_does_not_lend_its_id_to_the_next() -> None:
    findings = rollup(limit=1)
    window = citation(1), citation(2)
    (first,) = findings.hit(hit(*window, key="a"))
    findings.hit(hit(citation(3), key="b"))
    again = findings.hit(hit(window[0], citation(4), key="a"))[0]  # the window still begins with the same request
    assert again.uid != first.uid
    assert again.line_uid != first.line_uid


def test_a_late_request_makes_its_line_late() -> None:
    findings = rollup()
    findings.hit(hit(citation(10)))
    (line,) = findings.hit(hit(citation(5, secret="s2", flags=("late",))))
    assert line.flags == ("late",)
    assert (line.start_time, line.end_time) == (5, 10)
    assert line.event_ids == ("api:req-5", "api:req-10")


def test_shadow_mode_makes_the_same_lines_marked() -> None:
    shadow = Settings(1, 0, Severity.MEDIUM, Mode.SHADOW, HOUR)
    (line,) = rollup(settings=shadow).hit(hit(citation(1)))
    assert line.mode is Mode.SHADOW
