"""The memory of every detection splits by its key: N partitions find exactly what one process finds.

What docs/adr/0009 builds on. The catalogue is walked, so that a new detection is held to the law, or has no line in
`splits.SPLITS` and fails.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
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
    MINUTE,
    SECOND,
    AddressSource,
    AuditEvent,
    Failure,
    Finding,
    Initiator,
    Kind,
    Mode,
    Outcome,
    Rate,
    Severity,
    Target,
    Witness,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Case, Hit, Rule, Settings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.splits import EVERYWHERE, OWN_KEYS_ONLY, SPLITS, by_feed
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
# Of those that split, the ones that such a story gives nothing to say: they need an inventory, or days.
QUIET = {"KMW-003", "KMW-006", "KMW-011", "KMW-012", "KMW-014"}
FEED = {rule for rule, split in SPLITS.items() if split is by_feed}
Told = tuple[AuditEvent, AuditEvent | None] | Pulse  # an event, as it was told before; or a minute


def declared() -> Declarations:
    near = ("192.0.2.0/24",)
    callers = tuple(CallerEntry(f"c{n}", users=(UserSelector(id=f"user-{n}"),), networks=near) for n in range(4))
    names = tuple(caller.name for caller in callers)
    return Declarations(
        CallerMap(
            callers=callers,
            groups=(SecretGroup("own", ids=("s0", "s1", "s2")), SecretGroup("far", ids=("s3",))),
            allow=(
                AllowEntry("own", callers=names[:3], groups=("own",), rate=Rate(1, 5 * MINUTE)),
                AllowEntry("far", callers=names, groups=("far",)),
            ),
            decoys=(Decoy(DECOY, "bait"),),
        ),
        Identities(),
        (),
    )


DECLARED = declared()


def story(chance: random.Random, length: int) -> list[Told]:
    """What a detector is told: requests in the order of time, some of them again, and the minutes that pass."""
    out: list[Told] = []
    now, minute, records = BEGIN, BEGIN, {"p0": 0, "p1": 0}
    told: list[AuditEvent] = []
    heard: dict[Witness, int] = {}
    for number in range(length):
        now += chance.choice((SECOND, 5 * SECOND, 40 * SECOND))
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
        for witness in made.seen_in:
            heard[witness] = now
        records[chance.choice(("p0", "p1"))] += 1
        told.append(made)
        out.append((made, None))
    return out


def _request(chance: random.Random, number: int, now: int) -> AuditEvent:
    failure, kind = chance.choice(FAILURES), chance.choice(KINDS)
    secret = chance.choice(("s0", "s1", "s2", "s3", "x0", "x1", "x2", DECOY))
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


def detector(rule: str) -> Detector:
    of = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
    of[rule] = SOON
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
    made = [detector(rule) for _ in range(partitions)]
    if rule in OWN_KEYS_ONLY:
        for number, process in enumerate(made):
            process._rules = [(Owning(r, number, partitions), rollup) for r, rollup in process._rules]
    out: list[list[Finding]] = [[] for _ in made]
    feed = place("feed", partitions)
    for one in told:
        if isinstance(one, Pulse):
            for number, process in enumerate(made):
                out[number] += process.pulse(one) if number == feed else process.tick(one.now)
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
    told = story(random.Random(seed), length)  # noqa: S311
    parts = split(rule, told, partitions)
    assert said(line for part in parts for line in part) == said(whole(rule, told))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in QUIET | FEED])
def test_the_law_is_no_empty_one(rule: str) -> None:
    """Each detection that splits speaks in such a story, from more than one partition."""
    told = story(random.Random(7), 2000)  # noqa: S311
    parts = split(rule, told, 4)
    assert said(line for part in parts for line in part) == said(whole(rule, told))
    assert sum(bool(part) for part in parts) >= 2


def test_a_wrong_key_breaks_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "KMW-005", lambda one: frozenset({one.target.id or ""}))
    told = story(random.Random(7), 2000)  # noqa: S311
    assert said(line for part in split("KMW-005", told, 4) for line in part) != said(whole("KMW-005", told))
