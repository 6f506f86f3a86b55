"""Detections that several witnesses of one request make possible, each shown events by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from kmwatch import assembly
from kmwatch.core.account import Account
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, UserSelector
from kmwatch.core.constraint import ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.model import (
    MINUTE,
    SECOND,
    Activity,
    AddressSource,
    AuditEvent,
    Failure,
    Finding,
    Initiator,
    Kind,
    Match,
    Micros,
    Mode,
    Outcome,
    Reason,
    Severity,
    Witness,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Rule, Settings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.conflicting_witness import ConflictingWitness
from kmwatch.core.rules.counting import MOST_CITED
from kmwatch.core.rules.key_administration import KeyAdministration
from kmwatch.core.rules.legacy_read import LegacyRead
from kmwatch.core.rules.retrieval_outage import RetrievalOutage
from kmwatch.core.rules.unauthenticated_burst import UnauthenticatedBurst
from kmwatch.core.rules.unexpected_network import Network, UnexpectedNetwork
from tests.support.audit import EXPLAINED, START, UNEXPLAINED, case, declared, defaults, event, settings
from tests.support.files import Files

INSIDE, OUTSIDE = "10.0.0.1", "203.0.113.9"
MANAGEMENT = Network(management=ranges(["10.0.0.0/8"]))


def say(
    rule: Rule, happened: AuditEvent, match: Match | None = None, declarations: Declarations | None = None
) -> list[Hit]:
    """What a rule says of an event, if events of this class concern it at all."""
    if not rule.applies(happened.kind, happened.outcome, happened.failure):
        return []
    return list(rule.observe(case(happened, match, declarations)))


def flagged(*flags: str, number: int = 1, address: str | None = INSIDE, kind: Kind = Kind.RETRIEVAL) -> AuditEvent:
    return replace(event(number, kind, address=address), flags=flags)


def proven(told: AuditEvent) -> AuditEvent:
    """The same with an address that no client can forge."""
    return replace(told, initiator=replace(told.initiator, address_source=AddressSource.ACCESS))


# KMW-017 unauthenticated-burst


def refused(number: int, address: str | None = OUTSIDE, at: Micros | None = None) -> AuditEvent:
    """A 401 as proxy or web server tells it: nobody knows who asked."""
    time = START + number * SECOND if at is None else at
    base = event(number, at=time, failure=Failure.UNAUTHENTICATED)
    source = AddressSource.NONE if address is None else AddressSource.PROXY
    return replace(base, status=401, initiator=Initiator(address=address, address_source=source), seen_in=())


def test_017_counts_401s_by_address_from_the_threshold_on() -> None:
    rule = UnauthenticatedBurst(settings(3), 10)
    said = [say(rule, refused(number)) for number in range(3)]
    assert [len(hits) for hits in said] == [0, 0, 1]
    assert (said[2][0].key, len(said[2][0].citations)) == (f"address:{OUTSIDE}", 3)


def test_017_counts_each_address_apart_and_those_without_one_together() -> None:
    rule = UnauthenticatedBurst(settings(2), 10)
    assert (
        say(rule, refused(1, "203.0.113.1")) + say(rule, refused(2, "203.0.113.2")) + say(rule, refused(3, None)) == []
    )
    (hit,) = say(rule, refused(4, None))
    assert hit.key == "address:unknown"


def test_017_counts_within_its_window_and_no_other_failure() -> None:
    rule = UnauthenticatedBurst(settings(2, MINUTE), 10)
    assert say(rule, refused(1, at=START)) + say(rule, refused(2, at=START + MINUTE)) == []
    assert say(rule, event(3, failure=Failure.DENIED)) + say(rule, event(4)) == []


def test_017_tells_of_a_flood_once_a_minute() -> None:
    rule = UnauthenticatedBurst(settings(2), 10)
    minute = START // MINUTE * MINUTE
    hits = [hit for n in range(1000) for hit in say(rule, refused(n, at=minute + n * 100_000))]
    assert len(hits) == 2


def test_017_holds_what_a_client_made_long_cut() -> None:
    rule = UnauthenticatedBurst(settings(1), 10)
    (hit,) = say(rule, refused(1, "x" * 10_000))
    assert len(hit.key) < 300
    assert len(hit.message) < 400


# KMW-018 deprecated-plaintext-read


def test_018_tells_of_a_payload_taken_by_the_deprecated_way_whoever_took_it() -> None:
    rule = LegacyRead(defaults("KMW-018"))
    for match in (EXPLAINED, UNEXPLAINED):
        (hit,) = say(rule, flagged("legacy_read"), match)
        assert (hit.key, hit.reason) == ("user-1", "legacy_read")


def test_018_is_silent_for_the_ordinary_way_a_failure_and_what_is_only_possible() -> None:
    rule = LegacyRead(defaults("KMW-018"))
    assert say(rule, event(), EXPLAINED) == []
    assert say(rule, flagged("accept_unknown", kind=Kind.METADATA_READ)) == []
    assert say(rule, replace(event(failure=Failure.NOT_FOUND), flags=("legacy_read",))) == []


def test_018_lets_declared_old_clients_be_as_long_as_their_declaration_explains_the_read() -> None:
    rule = LegacyRead(defaults("KMW-018"))
    entry = AllowEntry("own", callers=("alice",), legacy=True)
    old = Declarations(
        CallerMap((CallerEntry("alice", users=(UserSelector(id="user-1"),)),), (), (entry,)), Identities(), ()
    )
    assert say(rule, flagged("legacy_read"), EXPLAINED, old) == []
    expired = Match(explained=False, reason=Reason.EXPIRED, declaration="own", caller="alice")
    assert len(say(rule, flagged("legacy_read"), expired, old)) == 1


# KMW-024 unexpected-network


def test_024_tells_of_a_request_past_the_proxy_granted_or_not() -> None:
    rule = UnexpectedNetwork(10, Network())
    (hit,) = say(rule, proven(flagged("past_proxy")))
    assert (hit.reason, hit.key) == ("past_proxy", f"past_proxy {INSIDE}")
    probe = replace(refused(1), flags=("past_proxy",))
    (hit,) = say(rule, probe)
    assert "203.0.113.9" in hit.message


def test_024_tells_of_plain_http_only_where_that_is_declared_an_anomaly() -> None:
    assert say(UnexpectedNetwork(10, Network()), flagged("plain_http")) == []
    (hit,) = say(UnexpectedNetwork(10, Network(plain_http=True)), flagged("plain_http"))
    assert hit.reason == "plain_http"


def test_024_tells_of_an_address_outside_the_management_networks() -> None:
    rule = UnexpectedNetwork(10, MANAGEMENT)
    assert say(rule, event(address=INSIDE)) == []
    (hit,) = say(rule, event(address=OUTSIDE))
    assert hit.reason == "network"
    assert "unproven" in hit.message
    assert say(rule, event(address=None)) == []


def test_024_addresses_that_a_client_may_forge_make_one_finding_a_caller() -> None:
    rule = UnexpectedNetwork(10, MANAGEMENT)
    keys = {hit.key for n in range(10) for hit in say(rule, event(n, address=f"10.0.0.1, forged {n}"))}
    assert keys == {"network user-1"}
    keys = {hit.key for n in range(3) for hit in say(rule, proven(event(n, address=f"203.0.113.{n}")))}
    assert len(keys) == 3


def test_024_without_management_networks_takes_requests_from_anywhere() -> None:
    assert say(UnexpectedNetwork(10, Network()), event(address=OUTSIDE)) == []


def test_024_leaves_health_checks_and_the_list_of_versions_alone() -> None:
    rule = UnexpectedNetwork(10, MANAGEMENT)
    check = replace(flagged("past_proxy", address=OUTSIDE, kind=Kind.OTHER), path="/healthcheck")
    assert say(rule, check) == []
    assert say(rule, flagged("past_proxy", address=OUTSIDE, kind=Kind.VERSION)) == []


def test_024_can_be_told_to_take_what_comes_past_the_proxy() -> None:
    assert say(UnexpectedNetwork(10, Network(past_proxy=False)), flagged("past_proxy")) == []


def heard(rule: UnexpectedNetwork, minute: int, proxy: int | None) -> list[Hit]:
    """A pulse `minute` minutes after the beginning; the proxy's log was last heard `proxy` minutes after it."""
    last_seen = {} if proxy is None else {Witness.PROXY_LOG: START + proxy * MINUTE}
    return list(rule.pulse(Pulse(START + minute * MINUTE, last_seen=last_seen)))


def test_024_tells_of_an_answered_request_that_the_proxys_log_passed_over() -> None:
    rule = UnexpectedNetwork(10, Network())
    assert say(rule, flagged("address_unproven", "proxy_log_missing")) == []
    (hit,) = heard(rule, 2, proxy=1)
    assert (hit.reason, hit.key) == ("unseen_by_proxy", "unseen_by_proxy user-1")
    assert [cited.event_id for cited in hit.citations] == ["api:req-1"]
    assert heard(rule, 3, proxy=2) == [], "it is told once"


def test_024_waits_until_the_proxys_log_is_heard_again() -> None:
    rule = UnexpectedNetwork(10, Network())
    say(rule, flagged("proxy_log_missing"))
    assert heard(rule, 1, proxy=None) == []
    assert heard(rule, 5, proxy=-1) == []
    assert len(heard(rule, 6, proxy=5)) == 1


def test_024_the_end_of_the_input_tells_what_the_proxys_log_passed_over_if_there_is_one() -> None:
    rule = UnexpectedNetwork(10, Network())
    say(rule, flagged("proxy_log_missing"))
    assert list(rule.rest()) == []
    heard(rule, 1, proxy=-1)
    (hit,) = rule.rest()
    assert hit.reason == "unseen_by_proxy"


def test_024_a_line_of_the_proxy_that_comes_late_takes_its_request_back() -> None:
    rule = UnexpectedNetwork(10, Network())
    lacking = flagged("proxy_log_missing")
    say(rule, lacking)
    found = proven(replace(lacking, flags=()))
    list(rule.observe(Case(found, None, declared(), lacking)))
    assert heard(rule, 2, proxy=1) == []


def test_024_asks_no_line_of_the_proxy_for_what_was_never_answered_or_may_come_past_it() -> None:
    rule = UnexpectedNetwork(10, Network())
    say(rule, replace(flagged("proxy_log_missing"), status=None, outcome=Outcome.UNKNOWN))
    assert heard(rule, 2, proxy=1) == []
    rule = UnexpectedNetwork(10, Network(past_proxy=False))
    say(rule, flagged("proxy_log_missing"))
    assert heard(rule, 2, proxy=1) == []


def test_024_names_a_limited_number_of_requests_a_minute() -> None:
    rule = UnexpectedNetwork(10, Network())
    hits = [hit for n in range(100) for hit in say(rule, flagged("past_proxy", number=n))]
    assert len(hits) == MOST_CITED


def test_024_and_018_take_what_the_configuration_and_the_caller_map_declare(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.settings += "network: {management: [10.0.0.0/8], plain_http: alert, past_proxy: allow}\n"
    files.callers = files.callers.replace("secrets: [lb]}", "secrets: [lb], legacy: true, expires: 2027-01-31}")
    loaded = files.load()
    chosen = Network(ranges(["10.0.0.0/8"]), plain_http=True, past_proxy=False)
    assert assembly.network(loaded.settings) == chosen
    assert loaded.declarations.allows_legacy("octavia-lb")
    assert not loaded.declarations.allows_legacy("another")
    assert not loaded.declarations.allows_legacy(None)


# KMW-027 conflicting-duplicate


@pytest.mark.parametrize(
    "flag", ["conflicting_duplicate", "phases_disagree", "status_disagrees", "path_disagrees", "identity_disagrees"]
)
def test_027_tells_of_records_that_contradict_each_other(flag: str) -> None:
    (hit,) = say(ConflictingWitness(10), flagged(flag))
    assert (hit.key, hit.reason) == ("user-1", flag)


def test_027_is_silent_for_other_flags_and_for_methods_that_a_web_server_answers_itself() -> None:
    rule = ConflictingWitness(10)
    assert say(rule, event()) == []
    assert say(rule, flagged("late", "audit_missing", "address_forged")) == []
    for method in ("OPTIONS", "TRACE"):
        odd = replace(flagged("status_disagrees", kind=Kind.OTHER), method=method)
        assert say(rule, odd) == []
        assert len(say(rule, replace(odd, flags=("status_disagrees", "identity_disagrees")))) == 1


# KMW-033 retrieval-outage


def outage(failing: list[bool], threshold: int = 10, apart: Micros = SECOND) -> list[Hit]:
    rule = RetrievalOutage(settings(threshold, 5 * MINUTE), 10)
    return [
        hit
        for number, fails in enumerate(failing)
        for hit in say(
            rule,
            event(
                number,
                at=START + number * apart,
                failure=Failure.SERVER_ERROR if fails else None,
                user=f"user-{number}",
            ),
        )
    ]


def test_033_tells_when_a_fifth_of_enough_reads_fail_whoever_reads() -> None:
    assert outage([True] * 9) == []
    assert outage([True] + [False] * 9) == []
    (hit,) = outage([True, True] + [False] * 8)
    assert "2 of 10 payload reads" in hit.message
    assert [c.event_id for c in hit.citations] == ["api:req-0", "api:req-1"]
    assert len(outage([False] * 8 + [True] * 2)) == 1


def test_033_counts_within_its_window() -> None:
    assert outage([True] * 20, apart=MINUTE) == []


def test_033_reads_that_are_refused_neither_make_nor_hide_an_outage() -> None:
    rule = RetrievalOutage(settings(4, 5 * MINUTE), 10)
    for number in range(100):
        assert say(rule, event(number, at=START + number, failure=Failure.NOT_FOUND)) == []
        assert say(rule, event(number, at=START + number, failure=Failure.DENIED)) == []
    said = [say(rule, event(200 + n, at=START + 200 + n, failure=Failure.SERVER_ERROR)) for n in range(4)]
    assert [len(hits) for hits in said] == [0, 0, 0, 1]


def test_033_counts_a_read_once_though_it_is_told_again() -> None:
    rule = RetrievalOutage(settings(3, 5 * MINUTE), 10)
    failed = event(1, failure=Failure.SERVER_ERROR)
    assert say(rule, failed) == []
    for _ in range(5):
        again = case(failed)
        again.before = failed
        assert list(rule.observe(again)) == []
    assert say(rule, event(2, failure=Failure.SERVER_ERROR)) == []
    assert len(say(rule, event(3, failure=Failure.SERVER_ERROR))) == 1


def test_033_is_one_finding_however_many_reads_fail() -> None:
    detector = detector_of("KMW-033", settings(3, 5 * MINUTE))
    lines = [
        line for n in range(200) for line in detector.observe(event(n, at=START + n, failure=Failure.SERVER_ERROR))[1]
    ]
    lines += detector.flush()
    assert [line.activity for line in lines] == [Activity.CREATE, Activity.CLOSE]
    assert "200 of 200 payload reads" in lines[1].message


# KMW-034 key-administration


def administer(target_type: str, match: Match | None = UNEXPLAINED, method: str = "PUT") -> list[Hit]:
    changed = event(kind=Kind.ADMINISTRATION, target_type=target_type, secret="x", method=method)
    return say(KeyAdministration(defaults("KMW-034")), changed, match)


@pytest.mark.parametrize(
    ("target_type", "severity"),
    [("quota", Severity.LOW), ("secret_store", Severity.MEDIUM), ("transport_key", Severity.MEDIUM)],
)
def test_034_tells_of_each_change_as_gravely_as_it_is(target_type: str, severity: Severity) -> None:
    (hit,) = administer(target_type)
    assert (hit.severity, hit.reason, hit.key) == (severity, target_type, "user-1")


def test_034_a_declared_administrator_is_information() -> None:
    (hit,) = administer("secret_store", EXPLAINED)
    assert (hit.severity, hit.reason) == (Severity.INFORMATIONAL, "declared")


def test_034_a_removal_says_so_and_a_refusal_is_silent() -> None:
    (hit,) = administer("transport_key", method="DELETE")
    assert "removed" in hit.message
    failed = event(kind=Kind.ADMINISTRATION, target_type="quota", failure=Failure.DENIED)
    assert say(KeyAdministration(defaults("KMW-034")), failed) == []
    assert say(KeyAdministration(defaults("KMW-034")), event(kind=Kind.CREATE)) == []


def test_034_an_entry_of_the_map_with_the_action_administration_declares_an_administrator() -> None:
    entry = AllowEntry("admins", callers=("alice",), actions=(Kind.ADMINISTRATION,))
    known = Declarations(
        CallerMap((CallerEntry("alice", users=(UserSelector(id="user-1"),)),), (), (entry,)), Identities(), ()
    )
    changed = event(kind=Kind.ADMINISTRATION, target_type="secret_store", secret="x", method="POST")
    (line,) = detector_of("KMW-034", declarations=known).observe(changed)[1]
    assert (line.severity, line.reason, line.declaration) == (Severity.INFORMATIONAL, "declared", "admins")
    other = replace(changed, initiator=replace(changed.initiator, user_id="user-2", user_name="bob"))
    (line,) = detector_of("KMW-034", declarations=known).observe(other)[1]
    assert line.severity is Severity.MEDIUM


# Told early, then fully, then again


def detector_of(rule: str, chosen: Settings | None = None, *, declarations: Declarations | None = None) -> Detector:
    """A detector whose other rules are off."""
    of = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
    of[rule] = chosen or defaults(rule)
    return Detector(declarations or declared(), of, 100, Account(), proxy_expected=True, given=Surroundings(MANAGEMENT))


def early(told: AuditEvent) -> AuditEvent:
    """The same request before all witnesses were heard: no address, no flags."""
    who = replace(told.initiator, address=None, address_source=AddressSource.NONE)
    return replace(told, initiator=who, flags=())


@pytest.mark.parametrize(
    ("rule", "flag"),
    [
        ("KMW-018", "legacy_read"),
        ("KMW-024", "past_proxy"),
        ("KMW-025", "response_missing"),
        ("KMW-027", "path_disagrees"),
    ],
)
def test_what_rests_on_several_witnesses_is_told_when_all_were_heard_and_once(rule: str, flag: str) -> None:
    detector = detector_of(rule)
    told = flagged(flag)
    assert detector.early(early(told)) == []
    lines = detector.observe(told, early(told))[1]
    lines += detector.observe(told, told, again=True)[1]
    assert [(line.rule, line.activity) for line in lines] == [(rule, Activity.CREATE)]
    (closed,) = detector.flush()
    assert closed.counts.events == 1


def test_an_administrator_is_told_of_early_and_not_again() -> None:
    detector = detector_of("KMW-034")
    changed = event(kind=Kind.ADMINISTRATION, target_type="secret_store", secret="x", method="POST")
    lines: list[Finding] = detector.early(early(changed))
    assert len(lines) == 1
    assert [line.activity for line in detector.observe(changed, early(changed))[1]] == [Activity.UPDATE]  # its address
    assert detector.flush()[0].counts.events == 1


def test_requests_that_only_lines_tell_of_are_cited_with_their_address() -> None:
    detector = detector_of("KMW-017", settings(2))
    lines = [line for n in range(3) for line in detector.observe(refused(n))[1]]
    assert [line.citations[-1].address for line in lines] == [OUTSIDE]
