from __future__ import annotations

import pytest
from msgspec.structs import replace

from kmwatch.core.model import (
    DAY,
    MINUTE,
    SECOND,
    AuditEvent,
    Failure,
    Kind,
    Match,
    Mode,
    Nearest,
    Outcome,
    Rate,
    Reason,
    Secret,
    Severity,
)
from kmwatch.core.rules.acl_widened import AclWidened
from kmwatch.core.rules.base import Hit, Rule
from kmwatch.core.rules.broken_constraint import BrokenConstraint
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings, build
from kmwatch.core.rules.decoy_touched import DecoyTouched
from kmwatch.core.rules.denied_burst import DeniedBurst
from kmwatch.core.rules.id_probing import IdProbing
from kmwatch.core.rules.mass_deletion import MassDeletion
from kmwatch.core.rules.rapid_reads import RapidReads
from kmwatch.core.rules.unexplained_read import UnexplainedRead
from kmwatch.core.rules.unfamiliar_denied import UnfamiliarDenied
from tests.support.audit import (
    DECOY,
    EXPLAINED,
    START,
    UNEXPLAINED,
    case,
    declared,
    defaults,
    engine,
    event,
    halves,
    settings,
    step,
)


def say(rule: Rule, happened: AuditEvent, match: Match | None = None) -> list[Hit]:
    """What a rule says of an event, if events of this class concern it at all."""
    if not rule.applies(happened.kind, happened.outcome, happened.failure):
        return []
    return list(rule.observe(case(happened, match)))


def constraint(reason: Reason) -> Match:
    near = Nearest("own", "networks", "10.20.0.0/24", "10.0.0.1")
    return Match(explained=False, reason=reason, declaration="own", caller="alice", nearest=near)


# KMW-001 unexplained-read


@pytest.mark.parametrize("reason", [Reason.NO_DECLARATION, Reason.EXPIRED])
def test_001_a_read_that_no_declaration_allows_is_told(reason: Reason) -> None:
    match = Match(explained=False, reason=reason)
    (hit,) = say(UnexplainedRead(defaults("KMW-001")), event(), match)
    assert (hit.key, hit.reason, hit.severity) == ("user-1", reason, None)
    assert [c.event_id for c in hit.citations] == ["api:req-1"]


@pytest.mark.parametrize("reason", [Reason.SECRET_UNKNOWN, Reason.IDENTITY_UNRESOLVED, Reason.EVIDENCE_MISSING])
def test_001_what_the_evidence_cannot_decide_is_told_at_medium(reason: Reason) -> None:
    (hit,) = say(UnexplainedRead(defaults("KMW-001")), event(), Match(explained=None, reason=reason))
    assert hit.severity is Severity.MEDIUM
    low = replace(defaults("KMW-001"), severity=Severity.LOW)
    (hit,) = say(UnexplainedRead(low), event(), Match(explained=None, reason=reason))
    assert hit.severity is Severity.LOW


def test_001_an_explained_read_is_silent() -> None:
    assert say(UnexplainedRead(defaults("KMW-001")), event(), EXPLAINED) == []


@pytest.mark.parametrize(
    "happened",
    [
        event(failure=Failure.DENIED),
        event(kind=Kind.METADATA_READ),
        event(kind=Kind.OTHER),
        replace(event(), outcome=Outcome.UNKNOWN),
    ],
)
def test_001_and_002_concern_successful_reads_only(happened: AuditEvent) -> None:
    assert say(UnexplainedRead(defaults("KMW-001")), happened, UNEXPLAINED) == []
    assert say(BrokenConstraint(defaults("KMW-002")), happened, constraint(Reason.NETWORK)) == []


# KMW-002 declaration-constraint-broken


@pytest.mark.parametrize("reason", [Reason.NETWORK, Reason.AGENT, Reason.HOURS, Reason.ACTION, Reason.RATE])
def test_a_broken_constraint_is_002_and_never_001(reason: Reason) -> None:
    match = constraint(reason)
    (hit,) = say(BrokenConstraint(defaults("KMW-002")), event(), match)
    assert (hit.reason, hit.match) == (reason, match)
    assert "10.20.0.0/24" in hit.message
    assert say(UnexplainedRead(defaults("KMW-001")), event(), match) == []


@pytest.mark.parametrize("match", [EXPLAINED, UNEXPLAINED, Match(explained=None, reason=Reason.EVIDENCE_MISSING)])
def test_002_is_silent_where_no_constraint_broke(match: Match) -> None:
    assert say(BrokenConstraint(defaults("KMW-002")), event(), match) == []


# KMW-005 rapid-distinct-reads


def reads(rule: Rule, secrets: list[str], match: Match = EXPLAINED, user: str = "user-1") -> list[Hit]:
    return [
        hit
        for number, secret in enumerate(secrets)
        for hit in say(rule, event(number, secret=secret, at=START + number * SECOND, user=user), match)
    ]


def test_005_tells_from_the_threshold_on() -> None:
    assert reads(RapidReads(settings(3), 10), ["a", "b"]) == []
    (hit,) = reads(RapidReads(settings(3), 10), ["a", "b", "c"])
    assert (hit.key, [c.target_id for c in hit.citations]) == ("user-1", ["a", "b", "c"])
    assert len(reads(RapidReads(settings(3), 10), ["a", "b", "c", "d"])) == 2


def test_005_counts_distinct_secrets() -> None:
    assert reads(RapidReads(settings(3), 10), ["a", "b"] * 20) == []


def test_005_counts_each_caller_apart() -> None:
    rule = RapidReads(settings(3), 10)
    assert reads(rule, ["a", "b"], user="x") + reads(rule, ["c", "d"], user="y") == []


def test_005_counts_within_its_window() -> None:
    rule = RapidReads(settings(2, 60 * SECOND), 10)
    assert say(rule, event(1, secret="a", at=START), EXPLAINED) == []
    assert say(rule, event(2, secret="b", at=START + 60 * SECOND), EXPLAINED) == []
    assert len(say(rule, event(3, secret="c", at=START + 120 * SECOND - 1), EXPLAINED)) == 1


def test_005_leaves_reads_under_a_declared_rate_to_002() -> None:
    limited = replace(EXPLAINED, rate=Rate(200, MINUTE))
    assert reads(RapidReads(settings(3), 10), ["a", "b", "c", "d"], limited) == []
    assert reads(RapidReads(settings(3), 10), ["a", "b", "c"], UNEXPLAINED)


def test_005_does_not_count_failed_reads() -> None:
    rule = RapidReads(settings(2), 10)
    for number in range(5):
        assert say(rule, event(number, secret=str(number), failure=Failure.DENIED), None) == []


# KMW-009 acl-widened


def test_009_tells_an_acl_change_by_no_declared_granter() -> None:
    (hit,) = say(AclWidened(defaults("KMW-009")), event(kind=Kind.ACL_CHANGE, method=None), UNEXPLAINED)
    assert "changed the ACL" in hit.message
    assert "content unknown" in hit.message
    (hit,) = say(AclWidened(defaults("KMW-009")), event(kind=Kind.ACL_CHANGE, method="DELETE"), UNEXPLAINED)
    assert "removed the ACL" in hit.message


def test_009_is_silent_for_a_declared_granter_a_container_and_a_failure() -> None:
    rule = AclWidened(defaults("KMW-009"))
    assert say(rule, event(kind=Kind.ACL_CHANGE), EXPLAINED) == []
    assert say(rule, event(kind=Kind.ACL_CHANGE, target_type="container"), UNEXPLAINED) == []
    assert say(rule, event(kind=Kind.ACL_CHANGE, failure=Failure.DENIED), UNEXPLAINED) == []
    assert say(rule, event(kind=Kind.ACL_READ), UNEXPLAINED) == []


# KMW-013 denied-burst


def test_013_counts_refusals_of_any_kind_by_one_caller() -> None:
    rule = DeniedBurst(settings(3), 10)
    kinds = [Kind.RETRIEVAL, Kind.DELETE, Kind.LIST]
    said = [say(rule, event(n, kind, at=START + n, failure=Failure.DENIED)) for n, kind in enumerate(kinds)]
    assert [len(hits) for hits in said] == [0, 0, 1]
    assert len(said[2][0].citations) == 3


def test_013_counts_requests_even_of_one_secret_but_no_other_failure() -> None:
    rule = DeniedBurst(settings(3), 10)
    for number, failure in enumerate((Failure.NOT_FOUND, Failure.CLIENT_ERROR, Failure.SERVER_ERROR, None)):
        assert say(rule, event(number, failure=failure)) == []
    said = [say(rule, event(10 + n, at=START + n, failure=Failure.DENIED)) for n in range(3)]
    assert len(said[2]) == 1


# KMW-015 secret-id-probing


def probe(rule: Rule, number: int, secret: str, *, user: str = "user-1", address: str = "10.0.0.1") -> list[Hit]:
    asked = event(number, secret=secret, at=START + number, failure=Failure.NOT_FOUND, user=user, address=address)
    return say(rule, asked)


def test_015_counts_distinct_unknown_ids() -> None:
    rule = IdProbing(settings(3), 10)
    assert [len(probe(rule, n, secret)) for n, secret in enumerate("aabbac")] == [0, 0, 0, 0, 0, 1]


def test_015_knows_ids_of_the_inventory_and_ids_seen_deleted() -> None:
    rule = IdProbing(settings(1), 10)
    known = declared(inventory=[Secret("known", deleted=True)])
    asked = event(1, secret="known", failure=Failure.NOT_FOUND)
    assert list(rule.observe(case(asked, None, known))) == []
    assert say(rule, event(2, Kind.DELETE, secret="gone")) == []
    assert probe(rule, 3, "gone") == []
    assert len(probe(rule, 4, "never-was")) == 1


def test_015_a_failed_deletion_teaches_nothing() -> None:
    rule = IdProbing(settings(1), 10)
    say(rule, event(1, Kind.DELETE, secret="there", failure=Failure.DENIED))
    assert len(probe(rule, 2, "there")) == 1


def test_015_tells_of_an_address_only_where_it_used_several_identities() -> None:
    rule = IdProbing(settings(3), 10)
    said = [probe(rule, n, f"s{n}", user=f"user-{n}") for n in range(3)]
    (hit,) = said[2]
    assert hit.key == "address:10.0.0.1"
    assert "3 callers from 10.0.0.1" in hit.message
    alone = IdProbing(settings(3), 10)
    assert [hit.key for n in range(3) for hit in probe(alone, n, f"s{n}")] == ["user-1"]


# KMW-016 unfamiliar-caller-denied


def test_016_tells_of_a_refused_caller_whom_the_map_does_not_know() -> None:
    rule = UnfamiliarDenied(defaults("KMW-016"), 10)
    (hit,) = say(rule, event(user="stranger", failure=Failure.DENIED))
    assert (hit.key, hit.reason) == ("stranger", Failure.DENIED)
    assert say(rule, event(user="user-1", failure=Failure.DENIED)) == []
    assert say(rule, event(user="stranger", failure=Failure.NOT_FOUND)) == []
    assert say(rule, event(user="stranger")) == []


def test_016_is_information_on_later_days_until_the_caller_has_been_quiet_for_a_month() -> None:
    rule = UnfamiliarDenied(defaults("KMW-016"), 10)
    days = (0, 0.9, 1, 2, 31, 61.1, 61.2)
    said = [say(rule, event(user="stranger", at=START + int(day * DAY), failure=Failure.DENIED)) for day in days]
    assert [hit.severity for (hit,) in said] == [
        None, None, *[Severity.INFORMATIONAL] * 3, None, None,
    ]  # fmt: skip
    assert say(rule, event(user="other", at=START + 2 * DAY, failure=Failure.DENIED))[0].severity is None


# KMW-019 mass-deletion


def test_019_counts_deletions_that_no_declaration_covers() -> None:
    rule = MassDeletion(settings(3), 10)
    said = [say(rule, event(n, Kind.DELETE, secret=f"s{n}", at=START + n), UNEXPLAINED) for n in range(3)]
    assert [len(hits) for hits in said] == [0, 0, 1]
    job = MassDeletion(settings(1), 10)
    assert say(job, event(1, Kind.DELETE), EXPLAINED) == []
    assert say(job, event(1, Kind.DELETE, failure=Failure.DENIED), UNEXPLAINED) == []
    assert say(job, event(1, Kind.CONTAINER_DELETE, target_type="container"), UNEXPLAINED) == []


# KMW-022 decoy-touched


@pytest.mark.parametrize(
    "happened",
    [
        event(secret=DECOY),
        event(kind=Kind.METADATA_READ, secret=DECOY, failure=Failure.DENIED),
        event(kind=Kind.ACL_CHANGE, secret=DECOY),
        replace(event(kind=Kind.OTHER, secret=DECOY), outcome=Outcome.UNKNOWN),
    ],
)
def test_022_any_touch_of_a_decoy_is_told_whatever_it_was_and_whoever_it_was(happened: AuditEvent) -> None:
    (hit,) = say(DecoyTouched(defaults("KMW-022"), declared()), happened, EXPLAINED)
    assert (hit.key, hit.reason) == ("user-1", happened.kind)
    assert DECOY in hit.message


def test_022_is_silent_for_all_else() -> None:
    rule = DecoyTouched(defaults("KMW-022"), declared())
    assert say(rule, event()) == []
    assert say(rule, event(kind=Kind.LIST, secret=None)) == []


# All of them


def test_a_rule_that_is_off_is_not_built() -> None:
    off = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
    assert build(off, 10, declared(), Surroundings()) == []
    built = [rule.meta.id for rule, _ in build({}, 10, declared(), Surroundings())]
    assert built == [meta.id for meta in CATALOGUE if meta.id != "KMW-029"], "the shell runs that one"


def test_rule_ids_are_unique_and_state_of_one_name_is_one_and_the_same() -> None:
    rules = [rule for rule, _ in build({}, 10, declared(), Surroundings())]
    states = {id(state): state.name for rule in rules for state in rule.states()}
    assert len(set(states.values())) == len(states)
    assert len({meta.id for meta in CATALOGUE}) == len(CATALOGUE) == 46


@pytest.mark.parametrize(
    ("make", "kind", "failure"),
    [
        (RapidReads, Kind.RETRIEVAL, None),
        (DeniedBurst, Kind.LIST, Failure.DENIED),
        (IdProbing, Kind.RETRIEVAL, Failure.NOT_FOUND),
        (MassDeletion, Kind.DELETE, None),
    ],
)
def test_a_counting_rule_forgets_the_quiet_and_holds_no_more_callers_than_its_limit(
    make: type[RapidReads], kind: Kind, failure: Failure | None
) -> None:
    rule = make(settings(3, 60 * SECOND), 5)
    for number in range(20):
        say(rule, event(number, kind, user=f"user-{number}", failure=failure, secret=f"s{number}"), UNEXPLAINED)
    counters = [state for state in rule.states() if not state.name.endswith("deleted")]
    assert max(len(state) for state in counters) == 5
    rule.forget(START + 60 * SECOND)
    assert [len(state) for state in counters] == [0] * len(counters)


def test_events_of_a_caller_without_identity_are_told_apart_by_address() -> None:
    rule = DeniedBurst(settings(2), 10)
    for number in range(4):
        refused = event(number, user=None, address=f"10.0.0.{number}", failure=Failure.DENIED)
        assert say(rule, refused) == []


def test_the_engine_shows_a_hit_of_each_rule_that_applies() -> None:
    made = engine(rules={"KMW-022": replace(defaults("KMW-022"), mode=Mode.SHADOW)})
    step(made, [("s", half) for half in halves(1, path=f"/v1/secrets/{DECOY}/payload", user="stranger")])
    out = made.flush()
    said = {(line.rule, line.mode, line.activity.name) for line in out.findings}
    assert said == {
        ("KMW-001", Mode.ENFORCE, "CREATE"),
        ("KMW-001", Mode.ENFORCE, "CLOSE"),
        ("KMW-022", Mode.SHADOW, "CREATE"),
        ("KMW-022", Mode.SHADOW, "CLOSE"),
    }
    assert {line.severity for line in out.findings} == {Severity.CRITICAL}, "a decoy makes the read graver"
    assert made.account.lines == {"KMW-001": 2, "KMW-022": 2}
    assert made.account.shadow == {"KMW-022": 2}
