"""Edges of the detections that scenes leave out: what is let go of, how grave, how exact, and who exactly."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from kmwatch.core.callermap import CallerEntry, CallerMap, ProjectSelector, UserSelector
from kmwatch.core.constraint import ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities
from kmwatch.core.lastseen import LastSeen
from kmwatch.core.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Acl,
    AddressSource,
    AuditEvent,
    Failure,
    Kind,
    Micros,
    Outcome,
    Severity,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import cite
from kmwatch.core.rules.contradicts_entitlement import contradiction
from kmwatch.core.rules.counting import Buckets, Recent, Sparing
from kmwatch.core.rules.detection_lag import META, DetectionLag
from kmwatch.core.rules.memory_crowded import MemoryCrowded
from kmwatch.core.silence import Silence, Silences
from tests.support.audit import event
from tests.support.scenes import BASE, EAST, GIVEN, WEST, Scene, at, declarations, owned, play, pulse, read, request
from tests.unit.test_rules_scenes import FIRING, SILENT, titled

# What is let go of

FOREVER = {"KMW-028/used", "learning", "KMW-031/day", "KMW-031/told", "KMW-032/last"}  # as many as are declared


@pytest.mark.parametrize("scene", [*FIRING, *SILENT], ids=titled)
def test_all_memory_of_callers_and_secrets_ends_in_time_and_what_is_fresh_stays(scene: Scene) -> None:
    detector = scene.detector()
    play(detector, scene.happens)
    rules = [rule for rule, _ in detector._rules]
    before = {state.name: len(state) for rule in rules for state in rule.states()}
    last = max(h.event_time if isinstance(h, AuditEvent) else h.now for h in scene.happens)
    for rule in rules:
        rule.forget(last - HOUR // 2)
    kept = {state.name: len(state) for rule in rules for state in rule.states()}
    assert all(kept[name] for name, many in before.items() if many and not name.endswith("told"))
    for rule in rules:
        rule.forget(last + 500 * DAY)
    left = {state.name for rule in rules for state in rule.states() if len(state)}
    assert left <= FOREVER


SHORT = [s for s in FIRING if all(isinstance(h, AuditEvent) and abs(h.event_time - at()) < HOUR for h in s.happens)]


@pytest.mark.parametrize("scene", SHORT, ids=titled)
def test_nothing_is_let_go_of_that_can_still_matter(scene: Scene) -> None:
    detector = scene.detector()
    play(detector, scene.happens)
    states = [state for rule, _ in detector._rules for state in rule.states() if not state.name.endswith("told")]
    before = [len(state) for state in states]
    last = max(h.event_time for h in scene.happens if isinstance(h, AuditEvent))
    for rule, _ in detector._rules:
        rule.forget(last)
    assert [len(state) for state in states] == before


REASONS = {
    "KMW-003": "first_seen", "KMW-004": "first_seen", "KMW-006": "volume", "KMW-007": "sequence", "KMW-008": "sequence",
    "KMW-010": "changed removed", "KMW-011": "entitlement", "KMW-012": "cross_project",
    "KMW-014": "sequence grant_between", "KMW-020": "in_use", "KMW-023": "zones", "KMW-028": "dormant",
    "KMW-031": "expires_30d expires_7d expires_1d expired", "KMW-032": "review",
}  # fmt: skip


@pytest.mark.parametrize("scene", FIRING, ids=titled)
def test_a_finding_says_why_in_a_word_that_scripts_can_rely_on(scene: Scene) -> None:
    lines = play(scene.detector(), scene.happens)
    assert {line.reason for line in lines} <= set(REASONS[scene.rule].split())


@pytest.mark.parametrize("scene", FIRING, ids=titled)
def test_what_fails_fires_nothing(scene: Scene) -> None:
    failed = [
        replace(h, outcome=Outcome.FAILURE, failure=Failure.CLIENT_ERROR, status=400)
        if isinstance(h, AuditEvent)
        else h
        for h in scene.happens
    ]
    lines = play(scene.detector(), failed)
    assert lines == [] or scene.rule in ("KMW-023", "KMW-032"), "an address is one whether or not the request succeeds"


def test_recent_requests_are_dropped_by_their_id_and_forgotten_when_their_span_is_over() -> None:
    recent = Recent("x", 5, MINUTE, 10)
    for number in range(3):
        recent.add("k", BASE + number * SECOND, cite(event(number)))
    recent.drop("k", "api:req-1")
    recent.drop("k", "api:req-9")
    recent.drop("other", "api:req-0")
    assert [c.event_id for c in recent.within("k", BASE)] == ["api:req-0", "api:req-2"]
    recent.forget(BASE + 2 * SECOND + MINUTE - 1)
    assert len(recent.state) == 1
    recent.forget(BASE + 2 * SECOND + MINUTE)
    assert len(recent.state) == 0


def test_what_has_nothing_left_to_cite_is_forgotten() -> None:
    recent = Recent("x", 5, MINUTE, 10)
    recent.add("k", BASE, cite(event(1)))
    recent.drop("k", "api:req-1")
    recent.forget(BASE)
    assert len(recent.state) == 0


def test_a_minute_that_is_over_is_forgotten_and_the_current_one_is_not() -> None:
    sparing = Sparing("x", 1, 10)
    minute = BASE // MINUTE * MINUTE
    assert sparing.allows("k", minute + SECOND)
    assert not sparing.allows("k", minute + 2 * SECOND)
    sparing.forget(minute + 59 * SECOND)
    assert len(sparing.state) == 1
    sparing.forget(minute + MINUTE)
    assert len(sparing.state) == 0


def test_counts_are_forgotten_when_their_span_is_over() -> None:
    buckets = Buckets("x", 1, 15 * MINUTE, 10)
    buckets.add("k", BASE, 0)
    buckets.forget(BASE + 15 * MINUTE)
    assert len(buckets.state) == 1
    buckets.forget(BASE + 17 * MINUTE)
    assert len(buckets.state) == 0


# KMW-011: who is entitled

PRIVATE = owned(1, acl=Acl(project_access=False, users=("friend",)))
OPEN = owned(1, acl=Acl(project_access=True))


def caller(user: str | None, project: str | None, *roles: str) -> AuditEvent:
    told = read(1, user or "x", "s1", at())
    return replace(told, initiator=replace(told.initiator, user_id=user, project_id=project, roles=roles))


@pytest.mark.parametrize(
    ("told", "secret", "why"),
    [
        (caller("friend", "other", "member"), PRIVATE, None),
        (caller("eve", "other", "admin"), PRIVATE, "another project"),
        (caller("eve", "other"), OPEN, "another project"),
        (caller("eve", "project", "member"), PRIVATE, "it is private"),
        (caller("eve", "project", "admin"), PRIVATE, None),
        (caller("eve", "project", "member", "admin"), PRIVATE, None),
        (caller("eve", "project"), PRIVATE, None),
        (caller("carol", "project", "member"), PRIVATE, None),
        (caller("eve", "project", "member"), replace(PRIVATE, creator_id=None), None),
        (caller("eve", "project", "member"), OPEN, None),
        (caller("eve", "project", "creator"), OPEN, None),
        (caller("eve", "project", "observer"), OPEN, None),
        (caller("eve", "project", "audit"), OPEN, "no role that lets them read"),
        (caller("eve", "project", "audit", "member"), OPEN, None),
        (caller(None, "other", "member"), OPEN, None),
        (caller("eve", None, "member"), OPEN, None),
        (caller("eve", "other", "member"), replace(OPEN, project_id=None), None),
        (caller("eve", "other", "member"), replace(OPEN, acl=None), None),
    ],
)
def test_011_only_what_is_known_to_forbid_a_read_contradicts_it(
    told: AuditEvent, secret: object, why: str | None
) -> None:
    found = contradiction(told, secret)  # type: ignore[arg-type]
    assert (why is None) == (found is None)
    assert why is None or (found is not None and why in found)


@pytest.mark.parametrize("change", [{"project_id": None}, {"id": "unknown"}])
def test_012_is_silent_where_the_owner_is_not_known(change: dict[str, str | None]) -> None:
    secret = replace(owned(1), **change)
    scene = Scene("", "KMW-012", [read(1, "eve-other", "s1", at())], map=lambda: declarations([secret]))
    assert play(scene.detector(), scene.happens) == []
    nobody = replace(read(1, "eve", "s1", at()), initiator=replace(event().initiator, project_id=None))
    assert play(Scene("", "KMW-012", ()).detector(), [nobody]) == []


# KMW-020: whose reads


def deleted(days: float, seconds: float = 0) -> AuditEvent:
    return request(9, Kind.DELETE, "mallory", "s1", at(seconds, days=days))


@pytest.mark.parametrize(
    ("reads", "severity"),
    [
        ([("octavia", 0.0)], Severity.HIGH),
        ([("mallory", 0.0)], Severity.LOW),
        ([("octavia", 0.0), ("mallory", 1.0)], Severity.HIGH),
        ([("octavia", -8.0), ("mallory", 1.0)], Severity.LOW),
        ([("octavia", -5.0), ("mallory", 1.0)], Severity.HIGH),
        ([("mallory", 0.0), ("octavia", 0.5), ("mallory", 1.0)], Severity.HIGH),
    ],
)
def test_020_is_as_grave_as_it_hurts_others(reads: list[tuple[str, float]], severity: Severity) -> None:
    happens = [read(n, user, "s1", at(days=day)) for n, (user, day) in enumerate(reads)]
    (line,) = play(Scene("", "KMW-020", ()).detector(), [*happens, deleted(2)])
    assert line.severity is severity


def test_020_a_read_just_a_week_ago_still_counts() -> None:
    scene = Scene("", "KMW-020", ())
    assert len(play(scene.detector(), [read(1, "octavia", "s1", at()), deleted(7)])) == 1


def test_020_a_read_that_comes_late_counts_as_somebody_elses() -> None:
    happens = [read(1, "mallory", "s1", at(days=1)), read(2, "octavia", "s1", at(days=0.5)), deleted(2)]
    (line,) = play(Scene("", "KMW-020", ()).detector(), happens)
    assert line.severity is Severity.HIGH


# KMW-023: which requests, and how sure


def test_023_is_at_most_low_where_one_of_the_addresses_may_be_forged() -> None:
    first, second = read(1, "a", "s1", at(), EAST), read(2, "a", "s1", at(9), WEST)
    claimed = replace(second, initiator=replace(second.initiator, address_source=AddressSource.AUDIT))
    scene = Scene("", "KMW-023", ())
    assert [line.severity for line in play(scene.detector(), [first, second])] == [Severity.MEDIUM]
    assert [line.severity for line in play(scene.detector(), [first, claimed])] == [Severity.LOW]


def test_023_cites_the_latest_request_of_each_zone_exact_to_a_minute() -> None:
    happens = [read(1, "a", "s1", at(), EAST), read(2, "a", "s1", at(59), EAST), read(3, "a", "s1", at(60), EAST)]
    (line,) = play(Scene("", "KMW-023", ()).detector(), [*happens, read(4, "a", "s1", at(659), WEST)])
    assert line.event_ids == ("api:req-3", "api:req-4")


def test_023_a_late_request_does_not_replace_a_later_one() -> None:
    happens = [read(1, "a", "s1", at(300), EAST), read(2, "a", "s1", at(0), EAST), read(3, "a", "s1", at(899), WEST)]
    (line,) = play(Scene("", "KMW-023", ()).detector(), happens)
    assert line.event_ids == ("api:req-1", "api:req-3")


# KMW-029: how exact


def test_029_deliveries_of_one_minute_add_up() -> None:
    lag = DetectionLag(META.defaults)
    for minute in range(5):
        for second in range(3):
            lag.delivered(BASE + minute * MINUTE + second, [SECOND] * 40 + [HOUR])
    hit = lag.judge(BASE + 4 * MINUTE)
    assert hit is not None
    assert hit.message.startswith("15 of 615 alert lines")


def test_029_one_slow_line_among_a_hundred_of_the_same_minute_is_tolerated() -> None:
    lag = DetectionLag(META.defaults)
    for minute in range(5):
        lag.delivered(BASE + minute * MINUTE, [HOUR])
        lag.delivered(BASE + minute * MINUTE + 1, [SECOND] * 99)
    assert lag.judge(BASE + 4 * MINUTE) is None


# KMW-031 and 032: what is said of whom


def test_031_says_what_expires_by_project_and_grave_enough_to_be_read() -> None:
    inventory = [owned(n, expires=at(days=0.5 if n < 6 else 3)) for n in range(1, 8)]
    inventory[0] = replace(inventory[0], project_id=None)
    happens = [read(n, "a", f"s{n}", at()) for n in range(1, 8)]
    lines = play(Scene("", "KMW-031", (), map=lambda: declarations(inventory)).detector(), [*happens, pulse(at(60))])
    assert [(line.reason, line.subject, line.counts.secrets, line.severity) for line in lines] == [
        ("expires_1d", "project", 4, Severity.MEDIUM),
        ("expires_1d", "unknown", 1, Severity.MEDIUM),
        ("expires_7d", "project", 2, Severity.MEDIUM),
    ]
    assert lines[0].message == (
        "secrets of project project that are still read expire within 1 day: lb-2, lb-3, lb-4 and 1 more"
    )
    assert lines[0].time == pulse(at(60)).now


def test_031_says_that_it_has_expired_and_nothing_of_what_is_deleted() -> None:
    inventory = [owned(1, expires=at(days=-1)), owned(2, expires=at(days=-1), deleted=True)]
    happens: list[AuditEvent | Pulse] = [read(1, "a", "s1", at()), read(2, "a", "s2", at()), pulse(at(60))]
    (line,) = play(Scene("", "KMW-031", (), map=lambda: declarations(inventory)).detector(), happens)
    assert (line.reason, line.counts.secrets) == ("expired", 1)
    assert "have expired: lb-1" in line.message


@pytest.mark.parametrize(
    ("created", "unread"), [(at(days=-1), 1), (at(days=0), 1), (at(days=0) + 1, 0), (at(days=80), 0), (None, 1)]
)
def test_032_what_is_younger_than_the_window_is_not_unread(created: Micros | None, unread: int) -> None:
    scene = Scene("", "KMW-032", (), map=lambda: declarations([owned(1, created=created, expires=at(days=999))]))
    lines = play(scene.detector(), [pulse(at()), pulse(at(days=90))])
    assert [line.counts.secrets for line in lines] == [1] * unread


@pytest.mark.parametrize(("days", "unread"), [(0.0, 0), (-0.01, 1)])
def test_032_a_read_just_a_window_ago_still_counts(days: float, unread: int) -> None:
    scene = Scene("", "KMW-032", (), map=lambda: declarations([owned(1, expires=at(days=999))]))
    lines = play(scene.detector(), [read(1, "a", "s1", at(days=days)), pulse(at()), pulse(at(days=90))])
    assert len(lines) == unread


@pytest.mark.parametrize(("after", "told"), [(HOUR, False), (HOUR + 1, True)])
@pytest.mark.parametrize("same", [True, False])
def test_032_a_read_an_hour_after_its_successor_was_made_is_told(after: Micros, told: bool, same: bool) -> None:  # noqa: FBT001
    """In place of a list of orphans only: both secrets expire, and both are read."""
    old = owned(1, name="db", created=at(days=1), expires=at(days=999))
    new = owned(2, name="db" if same else "other", created=at(days=50), expires=at(days=999))
    scene = Scene("", "KMW-032", (), map=lambda: declarations([old, new]))
    late = [read(1, "a", "s1", at(days=50) + after), read(2, "a", "s2", at(days=60))]
    lines = play(scene.detector(), [pulse(at()), *late, pulse(at(days=90))])
    assert ["1 are still read though their successor exists" in line.message for line in lines] == [True] * (
        told and same
    )


# Silences: who exactly


@pytest.mark.parametrize(
    ("entry", "covered"),
    [
        (CallerEntry("them", users=(UserSelector(id="id-1"),)), True),
        (CallerEntry("them", users=(UserSelector(id="id-2"),)), False),
        (CallerEntry("them", users=(UserSelector(name="alice"),)), True),
        (CallerEntry("them", users=(UserSelector(name="bob"),)), False),
        (CallerEntry("them", projects=(ProjectSelector(id="p"),)), True),
        (CallerEntry("them", projects=(ProjectSelector(id="q"),)), False),
    ],
)
def test_a_silence_by_caller_asks_for_user_name_and_project_as_the_map_does(entry: CallerEntry, covered: bool) -> None:  # noqa: FBT001
    told = read(1, "id-1", "s1", at())
    told = replace(told, initiator=replace(told.initiator, user_name="alice", project_id="p"))
    of = Declarations(CallerMap(callers=(entry,)), Identities(), ())
    silence = Silence("s", at(days=9), callers=frozenset({"them"}))
    scene = Scene("", "KMW-001", (), map=lambda: of)
    detector = scene.detector()
    detector._silences = Silences([silence])
    assert [line.silence for line in play(detector, [told])] == ["s" if covered else None]


def test_where_nothing_proves_addresses_the_audit_events_address_counts() -> None:
    silence = Silence("s", at(days=9), networks=ranges(["10.0.0.0/8"]))
    told = read(1, "a", "s1", at())
    claimed = replace(told, initiator=replace(told.initiator, address_source=AddressSource.AUDIT))
    detector = Scene("", "KMW-001", ()).detector()
    detector._silences = Silences([silence])
    assert [line.silence for line in play(detector, [claimed])] == ["s"]


# How grave


@pytest.mark.parametrize(
    ("rule", "happens", "severity"),
    [
        ("KMW-004", [read(1, "carol", "s1", at()), read(2, "octavia", "s1", at(days=4))], Severity.LOW),
        ("KMW-004", [read(1, "carol", "s1", at()), read(2, "mallory", "s1", at(days=4))], Severity.MEDIUM),
        (
            "KMW-008",
            [request(1, Kind.ACL_CHANGE, "mallory", "s1", at()), read(2, "octavia", "s1", at(9))],
            Severity.MEDIUM,
        ),
        ("KMW-008", [request(1, Kind.ACL_CHANGE, "mallory", "s1", at()), read(2, "eve", "s1", at(9))], Severity.HIGH),
    ],
)
def test_what_a_declaration_explains_is_less_grave(rule: str, happens: list[AuditEvent], severity: Severity) -> None:
    (line,) = play(Scene("", rule, (), given=GIVEN).detector(), happens)
    assert line.severity is severity


def test_008_names_the_latest_granter_by_name_else_by_id() -> None:
    first, second = (request(n, Kind.ACL_CHANGE, f"granter-{n}", "s1", at(n)) for n in (1, 2))
    nameless = replace(second, initiator=replace(second.initiator, user_name=None))
    for granted in (second, nameless):
        (line,) = play(Scene("", "KMW-008", ()).detector(), [first, granted, read(3, "eve", "s1", at(9))])
        assert line.message.startswith("granter-2 changed the ACL")


def test_046_counts_what_was_forgotten_since_it_spoke_last_across_a_restart() -> None:
    rule, other = MemoryCrowded(), LastSeen("small", DAY, 2)
    rule.watched = lambda: [other.state]
    for number in range(5):
        other.see(str(number), BASE)
    assert [hit.message for hit in rule.pulse(pulse(at(60)))] == [
        "the memory small is full: 3 of its least recent keys were forgotten"
    ]
    assert list(rule.pulse(pulse(at(120)))) == []
    other.see("6", BASE)
    (stored,) = rule.states()
    other.see("7", BASE)
    rows = list(next(iter(rule.states())).take_changes())
    after = MemoryCrowded()
    (state,) = after.states()
    for key, value in rows:
        if value is not None:
            state.restore(key, value)
    assert [hit.message.split(": ")[1] for hit in after.pulse(pulse(at(180)))] == [
        "2 of its least recent keys were forgotten"
    ]
    assert stored.name == "KMW-046/owed"
