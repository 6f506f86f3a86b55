"""The memory of every detection splits by its key: N partitions find exactly what one process finds.

What docs/adr/0009 builds on. The catalogue is walked, so that a new detection is held to the law, or has no line in
`splits.SPLITS` and fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.account import Account
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, Decoy, SecretGroup, UserSelector
from kmwatch.core.constraint import ranges
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Acl,
    AddressSource,
    AuditEvent,
    Failure,
    Finding,
    Initiator,
    Kind,
    Mode,
    Outcome,
    Rate,
    Secret,
    Severity,
    Target,
    Witness,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Rule, Settings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.splits import EVERYWHERE, OWN_KEYS_ONLY, SPLITS, STAGES, by_feed
from kmwatch.core.rules.unexpected_network import Network
from tests.support.audit import DECOY, START, event

BEGIN = START // MINUTE * MINUTE
SOON = Settings(2, 5 * MINUTE, Severity.HIGH, Mode.ENFORCE, 3 * MINUTE)
KINDS = (Kind.RETRIEVAL, Kind.METADATA_READ, Kind.LIST, Kind.DELETE, Kind.ACL_CHANGE, Kind.ADMINISTRATION, Kind.CREATE)
FAILURES = (None, None, None, Failure.DENIED, Failure.NOT_FOUND, Failure.UNAUTHENTICATED, Failure.SERVER_ERROR)
FLAGS = ((), (), (), ("audit_missing",), ("legacy_read",), ("path_disagrees",), ("past_proxy",), ("plain_http",))
STATUS = {Failure.DENIED: 403, Failure.NOT_FOUND: 404, Failure.UNAUTHENTICATED: 401, Failure.SERVER_ERROR: 500}
EXPECTED: dict[Witness, Any] = {Witness.CADF: "required", Witness.PROXY_LOG: "expected"}
RULES = [meta.id for meta in CATALOGUE]
DAYS = Settings(2, 14 * DAY, Severity.HIGH, Mode.ENFORCE, 3 * HOUR)
SLOW = {"KMW-006": DAYS}  # habits take days: their story goes by hours
FEED = {rule for rule, split in SPLITS.items() if split is by_feed}
Told = tuple[AuditEvent, AuditEvent | None] | Pulse  # an event, as it was told before; or a minute


def declared() -> Declarations:
    near = ("192.0.2.0/24",)
    callers = tuple(CallerEntry(f"c{n}", users=(UserSelector(id=f"user-{n}"),), networks=near) for n in range(4))
    names = tuple(caller.name for caller in callers)
    return Declarations(
        CallerMap(
            callers=callers,
            groups=(
                SecretGroup("own", ids=("s0", "s1", "s2")),
                SecretGroup("far", ids=("s3",)),
                SecretGroup("named", names=("x*",)),
            ),
            allow=(
                AllowEntry("own", callers=names[:3], groups=("own",), rate=Rate(1, 5 * MINUTE)),
                AllowEntry("far", callers=names, groups=("far",)),
                AllowEntry("any", callers=names, groups=("named",)),
            ),
            decoys=(Decoy(DECOY, "bait"),),
        ),
        Identities(),
        (
            *(Secret(name, name, project_id=f"project-{n}") for n, name in enumerate(("s0", "s1", "x0", "x1"))),
            Secret("kept", "kept", project_id="project-2", acl=Acl(users=("user-9",))),
            Secret("s2", "s2", project_id="project-1", acl=Acl(project_access=False)),
        ),
    )


DECLARED = declared()


def story(chance: random.Random, length: int, *, slow: bool = False) -> list[Told]:
    """What a detector is told: requests in the order of time, some of them again, and the minutes that pass.

    A slow one goes on for weeks, in which a caller now and then reads much in an hour.
    """
    if slow:
        return _weeks(chance, length)
    out: list[Told] = []
    now, minute, records = BEGIN, BEGIN, {"p0": 0, "p1": 0}
    told: list[AuditEvent] = []
    heard: dict[Witness, int] = {}
    script: list[Act] = []
    for number in range(length):
        now += chance.choice((SECOND, 5 * SECOND, 40 * SECOND)) if not script else SECOND
        script = script or _acts(chance) if number % 40 == 0 else script
        while now >= minute + MINUTE:
            minute += MINUTE
            rejected = {"p1": chance.choice((0, 0, 30))}
            counts = {"p0": records["p0"], "p1": records["p1"] + rejected["p1"]}
            out.append(Pulse(minute, counts, rejected, {}, dict(heard), EXPECTED))
            records = {"p0": 0, "p1": 0}
        if told and chance.random() < 0.1:
            before = chance.choice(told[-5:])
            again = replace(before, flags=chance.choice(FLAGS), observed_time=now)
            told[told.index(before)] = again
            out.append((again, before))
            continue
        made = _request(chance, number, now)
        if told and chance.random() < 0.6:  # somebody goes on, with this secret or with others
            made = replace(made, initiator=told[-1].initiator)
            if told[-1].target.id != "kept" and chance.random() < 0.6:
                made = replace(made, target=told[-1].target)
        made = _played(made, script.pop(0)) if script else made
        for witness in made.seen_in:
            heard[witness] = now
        records[chance.choice(("p0", "p1"))] += 1
        told.append(made)
        out.append((made, None))
    return out


Act = tuple[Kind, str, str, Failure | None]


def _acts(chance: random.Random) -> list[Act]:
    """What chance rarely makes of one caller: a list before reads, refusals before one, probes, a grant undone."""
    one, two = chance.sample(("user-0", "user-1", "user-2", "user-3"), 2)
    read, denied, missing = Kind.RETRIEVAL, Failure.DENIED, Failure.NOT_FOUND
    return [
        (Kind.LIST, one, "-", None), (read, one, "x0", None), (read, one, "x1", None),
        (read, one, "s2", denied), (read, one, "s2", denied), (read, one, "s2", None),
        (read, one, "y0", missing), (read, one, "y1", missing), (read, one, "y2", missing),
        (Kind.ACL_CHANGE, one, "x1", None), (read, two, "x1", None), (Kind.ACL_CHANGE, one, "x1", None),
        (Kind.DELETE, one, "x1", None),
    ]  # fmt: skip


def _played(made: AuditEvent, act: Act) -> AuditEvent:
    kind, user, secret, failure = act
    outcome = Outcome.SUCCESS if failure is None else Outcome.FAILURE
    who = Initiator(user, user, "project-1", None, (), "192.0.2.7", next(iter(AddressSource)), "curl/8")
    target = Target("secret", secret if secret != "-" else None, made.path)
    status = STATUS.get(failure, 200) if failure else 200
    return replace(
        made, kind=kind, outcome=outcome, failure=failure, status=status, initiator=who, target=target, flags=()
    )


def _weeks(chance: random.Random, length: int) -> list[Told]:
    out: list[Told] = []
    now, number = BEGIN, 0
    while number < length:
        now += chance.choice((HOUR, 5 * HOUR, 20 * HOUR))
        user, many = chance.choice(("user-0", "user-1", "user-2")), chance.choice((1, 1, 1, 12))
        for _ in range(many):
            now, number = now + SECOND, number + 1
            out.append((event(number, at=now, user=user, secret=f"s{number % 9}"), None))
    return out


def _request(chance: random.Random, number: int, now: int) -> AuditEvent:
    failure, kind = chance.choice(FAILURES), chance.choice(KINDS)
    secret = chance.choice(("s0", "s1", "s2", "s3", "x0", "x1", "x2", DECOY))
    if kind is Kind.RETRIEVAL and chance.random() < 0.2:
        secret = "kept"  # of which nobody ever changes the ACL
    user, source = chance.choice(("user-0", "user-1", "user-2", "user-3", None)), chance.choice(list(AddressSource)[:2])
    address = chance.choice(("192.0.2.7", "10.0.0.1", "10.0.0.2"))
    made = event(number, kind, at=now, secret=secret, method="DELETE" if kind is Kind.DELETE else "GET")
    return replace(
        made,
        outcome=Outcome.SUCCESS if failure is None else Outcome.FAILURE,
        failure=failure,
        status=STATUS.get(failure, 200) if failure else 200,
        initiator=Initiator(user, user, "project-1", None, (), address, source, "curl/8"),
        target=Target("consumer" if kind is Kind.ADMINISTRATION else "secret", secret, made.path),
        seen_in=chance.choice(((Witness.CADF,), (Witness.CADF, Witness.PROXY_LOG), (Witness.PROXY_LOG,))),
        flags=chance.choice(FLAGS),
    )


class Owning:
    """A rule that speaks only of the keys of its partition."""

    def __init__(self, rule: Rule, mine: int, partitions: int) -> None:
        self._rule, self._mine, self._partitions = rule, mine, partitions

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._rule, name)

    def observe(self, case: Case) -> Iterable[Hit]:
        return [hit for hit in self._rule.observe(case) if place(hit.key, self._partitions) == self._mine]


class Staged:
    """A rule whose memory lies on several processes by something of the event; each hears of its own events only."""

    def __init__(self, parts: Sequence[Any], by: Callable[[Case], str]) -> None:
        self._parts, self._by = parts, by

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._parts[0], name)

    def observe(self, case: Case) -> Iterable[Hit]:
        return list(self._of(case).observe(case))

    def note(self, case: Case) -> None:
        self._of(case).note(case)

    def pulse(self, pulse: Pulse) -> Iterable[Hit]:
        return [hit for part in self._parts for hit in part.pulse(pulse)]

    def _of(self, case: Case) -> Any:  # noqa: ANN401
        return self._parts[place(self._by(case), len(self._parts))]


def in_stages(rule: str, partitions: int) -> list[Detector]:
    """N processes for findings by the key of the hit, and behind each N for the memory of the rule."""
    made = [detector(rule) for _ in range(partitions)]
    for number, process in enumerate(made):
        behind = [detector(rule) for _ in range(partitions)]
        staged = Staged([one._rules[0][0] for one in behind], STAGES[rule])
        recorders = zip(*(one._recorders for one in behind), strict=True)
        process._recorders = [Staged(same, STAGES[rule]) for same in recorders]
        watchers: list[Any] = [(staged, rollup) for _, rollup in process._watchers]
        process._watchers = watchers
        process._rules = [(Owning(staged, number, partitions), rollup) for _, rollup in process._rules]
    return made


def detector(rule: str) -> Detector:
    of = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
    of[rule] = SLOW.get(rule, SOON)
    near = ranges(["192.0.2.0/24"])
    zones = (("near", near), ("far", ranges(["10.0.0.0/8"])))
    given = Surroundings(Network(near, plain_http=True, past_proxy=True, zones=zones), learning=0)
    return Detector(DECLARED, of, 10_000, Account(), proxy_expected=False, given=given)


def place(key: str, partitions: int) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % partitions


def whole(rule: str, told: Sequence[Told]) -> list[Finding]:
    """What one process finds."""
    made, out = detector(rule), list[Finding]()
    for one in told:
        out += made.pulse(one) if isinstance(one, Pulse) else made.observe(one[0], one[1], again=one[1] is not None)[1]
    return [*out, *made.flush()]


def split(rule: str, told: Sequence[Told], partitions: int) -> list[list[Finding]]:
    """What each of N processes finds: shown the events of its keys, and told the time by all others."""
    made = in_stages(rule, partitions) if rule in STAGES else [detector(rule) for _ in range(partitions)]
    if rule in OWN_KEYS_ONLY:
        for number, process in enumerate(made):
            process._rules = [(Owning(r, number, partitions), rollup) for r, rollup in process._rules]
    out: list[list[Finding]] = [[] for _ in made]
    feed = place("feed", partitions)
    for one in told:
        if isinstance(one, Pulse):
            for number, process in enumerate(made):
                watches = number == feed or rule in STAGES
                out[number] += process.pulse(one) if watches else process.tick(one.now)
            continue
        now, before = one
        routes = SPLITS[rule](now) | (SPLITS[rule](before) if before is not None else frozenset())
        wanted = range(partitions) if routes & EVERYWHERE else {place(route, partitions) for route in routes}
        for number, process in enumerate(made):
            if number in wanted:
                out[number] += process.observe(now, before, again=before is not None)[1]
            else:
                out[number] += process.tick(now.observed_time)
    for number, process in enumerate(made):
        out[number] += process.flush()
    return out


def said(findings: Iterable[Finding]) -> list[tuple[str, Finding]]:
    return sorted(((finding.line_uid, finding) for finding in findings), key=lambda item: item[0])


def test_every_detection_has_a_key_by_which_it_splits() -> None:
    assert sorted(SPLITS) == sorted(RULES)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 120), partitions=st.integers(2, 5))
def test_partitions_by_its_key_find_what_one_process_finds(rule: str, seed: int, length: int, partitions: int) -> None:
    told = story(random.Random(seed), length, slow=rule in SLOW)  # noqa: S311
    parts = split(rule, told, partitions)
    assert said(line for part in parts for line in part) == said(whole(rule, told))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in FEED])
def test_the_law_is_no_empty_one(rule: str) -> None:
    """Each detection that splits speaks in such a story, from more than one partition."""
    told = story(random.Random(7), 2000, slow=rule in SLOW)  # noqa: S311
    parts = split(rule, told, 4)
    assert said(line for part in parts for line in part) == said(whole(rule, told))
    assert sum(bool(part) for part in parts) >= 2


def test_a_wrong_key_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "KMW-005", lambda one: frozenset({one.target.id or ""}))
    told = story(random.Random(7), 2000)  # noqa: S311
    assert said(line for part in split("KMW-005", told, 4) for line in part) != said(whole("KMW-005", told))
