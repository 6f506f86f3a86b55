"""Silences, modes of declarations, severity that rises, and incidents: what becomes of a hit."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from kmwatch.core.account import Account
from kmwatch.core.constraint import ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.model import (
    DAY,
    HOUR,
    Activity,
    AddressSource,
    AuditEvent,
    Failure,
    Finding,
    Kind,
    Mode,
    Severity,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.catalogue import CATALOGUE
from kmwatch.core.silence import Silence, Silences
from kmwatch.pipeline import Router, Wants
from tests.support.scenes import EAST, NOWHERE, at, created, declarations, play, read, request

LATER = at(days=30)


def detector(
    *silences: Silence, rules: Iterable[str] = ("KMW-001",), proven: bool = True, of: Declarations | None = None
) -> Detector:
    """A detector of these rules alone."""
    wanted = set(rules)
    chosen = {m.id: m.defaults if m.id in wanted else replace(m.defaults, mode=Mode.OFF) for m in CATALOGUE}
    hushed = Silences(silences, proven=proven)
    return Detector(of or declarations(), chosen, 100, Account(), proxy_expected=True, silences=hushed)


def silence(**scope: object) -> Silence:
    fields: dict[str, object] = {"expires": LATER, "rules": frozenset({"KMW-001"}), **scope}
    return Silence("quiet", **fields)  # type: ignore[arg-type]


def fate(lines: Iterable[Finding]) -> set[tuple[Mode, str | None]]:
    return {(line.mode, line.silence) for line in lines}


HEARD, HUSHED = {(Mode.ENFORCE, None)}, {(Mode.SHADOW, "quiet")}


@pytest.mark.parametrize(
    ("scope", "heard"),
    [
        ({}, False),
        ({"rules": None}, False),
        ({"rules": frozenset({"KMW-005"})}, True),
        ({"callers": frozenset({"mallory"})}, False),
        ({"callers": frozenset({"eve"})}, True),
        ({"secrets": frozenset({"s1"})}, False),
        ({"secrets": frozenset({"s2"})}, True),
        ({"networks": ranges(["10.1.0.0/16"])}, False),
        ({"networks": ranges(["10.2.0.0/16"])}, True),
        ({"callers": frozenset({"mallory"}), "secrets": frozenset({"s2"})}, True),
        ({"expires": at(days=-1)}, True),
        ({"expires": at(0)}, True),
        ({"expires": at(0) + 1}, False),
    ],
)
def test_a_silence_covers_what_all_its_keys_fit_until_it_ends(scope: dict[str, object], heard: bool) -> None:  # noqa: FBT001
    made = detector(silence(**scope))
    lines = [*play(made, [read(1, "mallory", "s1", at())]), *made.flush()]
    assert fate(lines) == (HEARD if heard else HUSHED)


def test_a_caller_of_the_map_is_silenced_by_name() -> None:
    made = detector(silence(callers=frozenset({"octavia"})))
    assert fate(play(made, [read(1, "octavia", "unknown", at())])) == HUSHED


def test_what_is_silenced_is_recorded_and_counted_and_goes_to_no_sink() -> None:
    made = detector(silence(secrets=frozenset({"s1"})))
    lines = play(made, [read(1, "mallory", "s1", at()), read(2, "mallory", "s1", at(1))])
    account = made._account
    assert (account.hits, account.silenced) == ({"KMW-001": 2}, {"KMW-001": 2})
    assert account.shadow == {"KMW-001": len(lines)}
    assert Router({"all": Wants()}).route(lines[0]).sinks == ()


def test_what_is_heard_and_what_is_not_are_two_findings_of_one_caller() -> None:
    made = detector(silence(secrets=frozenset({"s1"})))
    lines = play(made, [read(1, "mallory", "s1", at()), read(2, "mallory", "s2", at(1))])
    assert fate(lines) == HEARD | HUSHED
    assert created(lines) == 2
    assert len({line.uid for line in lines}) == 2


def test_a_burst_that_tells_of_anything_else_is_heard() -> None:
    denied = [request(n, Kind.RETRIEVAL, "eve", "s1", at(n), failure=Failure.DENIED) for n in range(9)]
    other = request(10, Kind.RETRIEVAL, "eve", "s2", at(10), failure=Failure.DENIED)
    quiet = silence(rules=frozenset({"KMW-013"}), secrets=frozenset({"s1"}))
    assert fate(play(detector(quiet, rules=["KMW-013"]), [*denied, other])) == HEARD
    same = request(10, Kind.RETRIEVAL, "eve", "s1", at(10), failure=Failure.DENIED)
    assert fate(play(detector(quiet, rules=["KMW-013"]), [*denied, same])) == HUSHED


@pytest.mark.parametrize(("proven", "expected"), [(True, HEARD), (False, HUSHED)])
def test_an_address_that_a_client_may_have_written_silences_nothing_where_it_could_be_proven(
    proven: bool,  # noqa: FBT001
    expected: set[tuple[Mode, str | None]],
) -> None:
    told = read(1, "mallory", "s1", at())
    claimed = replace(told, initiator=replace(told.initiator, address_source=AddressSource.AUDIT))
    made = detector(silence(networks=ranges(["10.0.0.0/8"])), proven=proven)
    assert fate(play(made, [claimed])) == expected


# Modes of declarations


def test_a_declaration_in_shadow_explains_and_what_breaks_it_is_recorded_only() -> None:
    of = declarations(mode=Mode.SHADOW)
    assert play(detector(of=of), [read(1, "octavia", "s1", at())]) == []
    late = detector(rules=["KMW-028"], of=of)
    lines = play(late, [read(1, "octavia", "s1", at()), read(2, "octavia", "s1", at(days=91))])
    assert fate(lines) == {(Mode.SHADOW, None)}


def test_a_declaration_that_is_off_explains_nothing() -> None:
    assert fate(play(detector(of=declarations(mode=Mode.OFF)), [read(1, "octavia", "s1", at())])) == HEARD


# Severity that rises


def forged(told: AuditEvent) -> AuditEvent:
    return replace(told, flags=("address_forged",))


@pytest.mark.parametrize(
    ("rule", "told", "severity"),
    [
        ("KMW-001", read(1, "mallory", "s1", at()), Severity.HIGH),
        ("KMW-001", forged(read(1, "mallory", "s1", at())), Severity.CRITICAL),
        ("KMW-001", read(1, "mallory", "decoy", at()), Severity.CRITICAL),
        ("KMW-009", forged(request(1, Kind.ACL_CHANGE, "mallory", "s1", at())), Severity.HIGH),
        ("KMW-022", forged(read(1, "mallory", "decoy", at())), Severity.CRITICAL),
        ("KMW-016", forged(request(1, Kind.LIST, "mallory", None, at(), failure=Failure.DENIED)), Severity.LOW),
    ],
)
def test_a_decoy_or_a_forged_address_makes_a_finding_one_step_graver(
    rule: str, told: AuditEvent, severity: Severity
) -> None:
    (line,) = play(detector(rules=[rule]), [told])
    assert line.severity is severity


def test_an_address_found_to_be_forged_later_makes_an_open_finding_graver_once() -> None:
    made = detector()
    early = read(1, "mallory", "s1", at())
    unseen = replace(early, initiator=replace(early.initiator, address=None, address_source=AddressSource.NONE))
    lines = made.early(unseen)
    lines += made.observe(forged(early), unseen)[1]
    lines += made.observe(forged(early), forged(early), again=True)[1]
    assert [(line.activity, line.severity) for line in lines] == [
        (Activity.CREATE, Severity.HIGH),
        (Activity.UPDATE, Severity.CRITICAL),
    ]


# Incidents

THREE = ("KMW-001", "KMW-009", "KMW-012", "KMW-047")


def a_raid(user: str = "eve-other", *, address: str = EAST) -> list[AuditEvent]:
    """A cross-project read (two detections), and then an ACL."""
    return [read(1, user, "s1", at(), address), request(2, Kind.ACL_CHANGE, user, "s1", at(10), address=address)]


def test_three_detections_on_one_caller_within_an_hour_are_one_incident_that_lists_them() -> None:
    made = detector(rules=THREE)
    lines = play(made, a_raid())
    (incident,) = [line for line in lines if line.rule == "KMW-047"]
    assert incident.message == "3 detections within an hour on eve-other: KMW-001, KMW-009, KMW-012"
    assert set(incident.related) == {line.uid for line in lines if line.rule != "KMW-047"}
    assert incident.severity is Severity.HIGH
    assert incident.counts.events == 2
    assert (incident.reason, incident.time) == ("several_detections", at(10))
    assert [line.activity for line in made.flush() if line.rule == "KMW-047"] == [Activity.CLOSE]


def test_two_detections_or_two_callers_are_no_incident() -> None:
    for happens in (a_raid()[:1], [a_raid()[0], a_raid("mallory")[1]]):
        made = detector(rules=THREE)
        assert [line for line in [*play(made, happens), *made.flush()] if line.rule == "KMW-047"] == []


def test_detections_more_than_an_hour_apart_are_no_incident() -> None:
    made = detector(rules=THREE)
    first, second = a_raid()
    later = replace(second, event_time=first.event_time + HOUR, observed_time=first.event_time + HOUR)
    assert [line for line in play(made, [first, later]) if line.rule == "KMW-047"] == []


def test_a_fourth_detection_updates_the_incident_and_another_finding_of_one_listed_does_not() -> None:
    made = detector(rules=(*THREE, "KMW-016"))
    denied = request(3, Kind.LIST, "eve-other", None, at(20), failure=Failure.DENIED)
    lines = [line for line in play(made, [*a_raid(), denied]) if line.rule == "KMW-047"]
    assert [line.activity for line in lines] == [Activity.CREATE, Activity.UPDATE]
    assert "4 detections" in lines[-1].message
    assert len(lines[-1].related) == 4


def test_an_incident_is_as_grave_as_the_gravest_of_it() -> None:
    made = detector(rules=THREE)
    happens = [forged(event) for event in a_raid()]
    assert [line.severity for line in play(made, happens) if line.rule == "KMW-047"] == [Severity.CRITICAL]


def test_an_incident_with_a_decoy_in_it_is_critical() -> None:
    made = detector(rules=("KMW-009", "KMW-016", "KMW-022", "KMW-047"))
    decoy = request(4, Kind.LIST, "eve-other", "decoy", at(5))
    denied = request(3, Kind.LIST, "eve-other", None, at(20), failure=Failure.DENIED)
    quiet = replace(decoy, target=replace(decoy.target, type="secret"))
    lines = play(made, [quiet, request(2, Kind.ACL_CHANGE, "eve-other", "s1", at(10)), denied])
    (incident,) = [line for line in lines if line.rule == "KMW-047"]
    assert (incident.severity, incident.time) == (Severity.CRITICAL, at(20))


def test_an_incident_of_lesser_findings_is_as_grave_as_its_own_severity() -> None:
    made = detector(rules=("KMW-009", "KMW-016", "KMW-022", "KMW-047"))
    denied = request(3, Kind.LIST, "eve-other", None, at(20), failure=Failure.DENIED)
    lines = play(made, [request(2, Kind.ACL_CHANGE, "eve-other", "s1", at(10)), denied])
    assert [line.rule for line in lines] == ["KMW-009", "KMW-016"]
    low = detector(rules=("KMW-009", "KMW-012", "KMW-016", "KMW-047"))
    lines = play(low, [*a_raid()[::-1], denied])
    assert [line.severity for line in lines if line.rule == "KMW-047"] == [Severity.HIGH]


def test_what_is_silenced_makes_no_incident() -> None:
    made = detector(silence(rules=frozenset({"KMW-001"})), rules=THREE)
    assert [line for line in play(made, a_raid()) if line.rule == "KMW-047"] == []


def test_requests_without_an_identity_make_no_incident() -> None:
    made = detector(rules=THREE)
    nobody = [replace(e, initiator=replace(e.initiator, user_id=None)) for e in a_raid(address=NOWHERE)]
    assert [line for line in play(made, nobody) if line.rule == "KMW-047"] == []


def test_callers_that_are_quiet_for_an_hour_are_forgotten() -> None:
    made = detector(rules=THREE)
    play(made, a_raid())
    told = next(state for state in made.states() if state.name == "KMW-047/told")
    assert len(told) == 1
    made.pulse(Pulse(at(days=2) // DAY * DAY + DAY))
    assert len(told) == 0
