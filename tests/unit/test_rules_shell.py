"""Detections about kmwatch itself: changes of its configuration, memory that is full, findings that come too late."""

from __future__ import annotations

from msgspec.structs import replace

from kmwatch.core.account import Account
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, SecretGroup
from kmwatch.core.declared import declared as names
from kmwatch.core.detect import Detector
from kmwatch.core.model import MINUTE, SECOND, Activity, Finding, Micros, Mode, Severity
from kmwatch.core.rules.base import Settings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.configuration_changed import ConfigurationChanged
from kmwatch.core.rules.detection_lag import META, DetectionLag
from kmwatch.core.silence import Silence
from kmwatch.telemetry.selfwatch import SelfWatch
from tests.support.audit import declared
from tests.support.findings import finding
from tests.support.scenes import BASE, at, declarations, play, pulse, read

OFF = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}


def only(rule: str, limit: int = 100, given: Surroundings | None = None) -> Detector:
    of = {**OFF, rule: next(meta.defaults for meta in CATALOGUE if meta.id == rule)}
    return Detector(declarations(), of, limit, Account(), proxy_expected=True, given=given or Surroundings())


# KMW-045


def goes_by(**digests: str) -> Surroundings:
    return Surroundings(declared={name.replace("_", "/"): digest for name, digest in digests.items()})


def next_run(before: Detector, given: Surroundings) -> Detector:
    after = only("KMW-045", given=given)
    states = {state.name: state for state in after.states()}
    for state in before.states():
        for key, value in state.take_changes():
            if value is not None:
                states[state.name].restore(key, value)
    after.restored()
    return after


def test_045_tells_what_was_added_removed_and_changed_since_the_last_run() -> None:
    first = only("KMW-045", given=goes_by(allow_a="1", allow_b="2", silences_s="3"))
    assert play(first, [pulse(at()), pulse(at(60))]) == []
    second = next_run(first, goes_by(allow_a="1", allow_b="9", detections_d="4"))
    (line,) = play(second, [pulse(at(120)), pulse(at(180))])
    assert line.message == (
        "the configuration was changed: added detections/d (4); removed silences/s; changed allow/b (9)"
    )
    assert (line.subject, line.reason) == ("configuration", "allow+detections+silences")
    assert play(next_run(second, goes_by(allow_a="1", allow_b="9", detections_d="4")), [pulse(at(240))]) == []


def test_045_a_first_run_and_a_restart_are_no_change() -> None:
    first = only("KMW-045", given=goes_by(allow_a="1"))
    assert play(first, [pulse(at())]) == []
    assert play(next_run(first, goes_by(allow_a="1")), [pulse(at(60))]) == []


def test_045_tells_of_the_first_thing_that_is_declared_at_all() -> None:
    first = only("KMW-045", given=goes_by())
    play(first, [pulse(at())])
    (line,) = play(next_run(first, goes_by(silences_s="1")), [pulse(at(60))])
    assert "added silences/s" in line.message


def test_045_names_no_more_than_a_reader_can_take() -> None:
    first = only("KMW-045", given=goes_by())
    play(first, [pulse(at())])
    (line,) = play(next_run(first, goes_by(**{f"allow_{n:03}": "1" for n in range(50)})), [pulse(at(60))])
    assert "allow/019 (1) and 30 more" in line.message


def test_045_holds_no_more_names_than_its_limit() -> None:
    rule = ConfigurationChanged(10, {f"allow/{n}": "1" for n in range(50)})
    list(rule.pulse(pulse(at())))
    (state,) = rule.states()
    assert (len(state), state.evicted) == (10, 0)


def test_a_digest_changes_with_its_own_thing_and_with_no_other() -> None:
    entry = AllowEntry("a", callers=("c",))
    whole = CallerMap((CallerEntry("c"),), (SecretGroup("g", ids=("s",)),), (entry,), (Decoy("d", "bait"),))
    settings = {"KMW-001": Settings(1, 0, Severity.HIGH, Mode.ENFORCE, MINUTE)}
    silence = Silence("s", BASE, digest="x")
    before = names(whole, settings, (silence,))
    assert sorted(before) == ["allow/a", "callers/c", "decoys/bait", "detections/KMW-001", "secrets/g", "silences/s"]
    after = names(replace(whole, allow=(replace(entry, expires=BASE),)), settings, (silence,))
    assert {name for name in before if before[name] != after[name]} == {"allow/a"}


# KMW-046


def test_046_tells_which_memory_had_to_make_room_and_how_much() -> None:
    of = {**OFF, "KMW-004": next(m.defaults for m in CATALOGUE if m.id == "KMW-004")}
    of["KMW-046"] = next(meta.defaults for meta in CATALOGUE if meta.id == "KMW-046")
    made = Detector(declarations(), of, 5, Account(), proxy_expected=True)
    reads = [read(n, f"user-{n}", "s1", at(n)) for n in range(8)]
    assert play(made, [pulse(at()), *reads[:5], pulse(at(60))]) == []
    lines = play(made, [*reads[5:], pulse(at(120)), pulse(at(180))])
    assert [(line.activity, line.subject) for line in lines] == [(Activity.CREATE, "KMW-004/callers")]
    assert "3 of its least recent keys were forgotten" in lines[0].message
    assert (lines[0].reason, made._account.hits["KMW-046"]) == ("evicted", 1)


# KMW-029


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.micros: Micros = BASE

    def now(self) -> float:
        return self.micros / SECOND

    def monotonic(self) -> float:
        return self.now()


LAG = META.defaults
SLOW, QUICK = 61 * SECOND, 60 * SECOND


def minutes(lag: DetectionLag, lags: list[list[Micros]], since: int = 0) -> list[str]:
    """Deliveries minute by minute; returns what was said, with its minute."""
    said = []
    for minute, of_minute in enumerate(lags, since):
        now = BASE + minute * MINUTE
        if of_minute:
            lag.delivered(now, of_minute)
        hit = lag.judge(now)
        if hit is not None:
            said.append(f"{minute}: {'over' if hit.closes else hit.message}")
    return said


def test_029_speaks_when_the_objective_was_missed_for_a_whole_window_and_when_it_is_met_again() -> None:
    lag = DetectionLag(LAG)
    assert minutes(lag, [[SLOW]] * 5 + [[QUICK]] * 7) == [
        "4: 5 of 5 alert lines reached a sink later than 60 s after their event, for 5 min",
        "10: over",
    ]


def test_029_is_silent_for_four_minutes_for_one_in_a_hundred_and_for_what_is_in_time() -> None:
    assert minutes(DetectionLag(LAG), [[SLOW]] * 4 + [[QUICK]] * 3) == []
    assert minutes(DetectionLag(LAG), [[QUICK] * 99 + [SLOW]] * 10) == []
    assert minutes(DetectionLag(LAG), [[QUICK]] * 10) == []
    assert len(minutes(DetectionLag(LAG), [[QUICK] * 98 + [SLOW]] * 10)) == 1


def test_029_minutes_without_deliveries_say_nothing() -> None:
    assert minutes(DetectionLag(LAG), [[SLOW], [], [], [], [SLOW]]) != []
    assert minutes(DetectionLag(LAG), [[SLOW], [], [], [], []]) == []


def test_029_goes_from_deliveries_to_a_finding_and_its_end() -> None:
    clock = Clock()
    watch = SelfWatch(LAG, declared(), clock)
    said: list[Finding] = []
    for minute in range(20):
        clock.micros = BASE + minute * MINUTE
        old = 70 * SECOND if minute < 6 else SECOND
        watch.delivered(
            [replace(finding(), time=clock.micros - old), replace(finding(), activity=Activity.CLOSE, time=0)]
        )
        said += watch.notices()
    assert [(line.rule, line.activity, line.subject) for line in said] == [
        ("KMW-029", Activity.CREATE, "delivery"),
        ("KMW-029", Activity.CLOSE, "delivery"),
    ]
    assert len({line.uid for line in said}) == 1


def test_029_does_not_hear_itself_and_says_nothing_when_it_is_off() -> None:
    clock = Clock()
    for settings, rule in ((LAG, "KMW-029"), (replace(LAG, mode=Mode.OFF), "KMW-001")):
        watch = SelfWatch(settings, declared(), clock)
        for minute in range(20):
            clock.micros = BASE + minute * MINUTE
            watch.delivered([replace(finding(), rule=rule, time=0)])
            assert watch.notices() == []
