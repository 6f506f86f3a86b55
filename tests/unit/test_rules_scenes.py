"""The catalogue as data: for each detection what fires it, what falls one short of it, and what must stay silent.

Each scene is played as it is, with a restart at every place, and with its last record late.
"""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import MINUTE, Acl, AuditEvent, Evidence, Failure, Kind
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.catalogue import Surroundings
from tests.support.scenes import (
    EAST,
    NOWHERE,
    PRIVATE,
    WEST,
    Happening,
    Scene,
    at,
    cited,
    created,
    declarations,
    owned,
    play,
    pulse,
    read,
    request,
    restarted,
)

DENIED = Failure.DENIED


def days_of_reads(user: str, days: int, each: int, first: int = 0) -> list[Happening]:
    """The same number of reads in one hour of each day."""
    return [read(first + d * each + n, user, "s1", at(n, days=d)) for d in range(days) for n in range(each)]


def reads(user: str, secrets: range, first: int, seconds: float, *, days: float = 0) -> list[Happening]:
    """One read a second of different secrets."""
    return [read(first + n, user, f"s{secret}", at(seconds + n, days=days)) for n, secret in enumerate(secrets)]


def grant(number: int, user: str, secret: str, seconds: float) -> AuditEvent:
    return request(number, Kind.ACL_CHANGE, user, secret, at(seconds))


def refused(number: int, user: str, secret: str, seconds: float) -> AuditEvent:
    return request(number, Kind.RETRIEVAL, user, secret, at(seconds), failure=DENIED)


def listed(number: int, user: str, seconds: float) -> AuditEvent:
    return request(number, Kind.LIST, user, None, at(seconds))


def deleted(number: int, user: str, secret: str, seconds: float, *, days: float = 0) -> AuditEvent:
    return request(number, Kind.DELETE, user, secret, at(seconds, days=days))


def alone(happened: AuditEvent) -> AuditEvent:
    """The same, told by the audit event alone where others should have told of it too."""
    return replace(happened, evidence=Evidence.PARTIAL, flags=("service_log_missing",))


def rotated() -> Declarations:
    return declarations([owned(1, created=at(0)), replace(owned(2, created=at(10)), name="lb-1")])


def expiring(days: float) -> Declarations:
    return declarations([owned(1, expires=at(days=days)), owned(2)])


known = partial(declarations, [owned(1, acl=PRIVATE), owned(2, acl=Acl())])

FIRING = [
    Scene(
        "a service reads a secret of its wildcard for the first time after learning",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "octavia", "s2", at(days=4))],
        frozenset({2}),
        says="for the first time, under lb",
    ),
    Scene(
        "a pair is new again when it was not seen for a week",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "octavia", "s1", at(days=7.5))],
        frozenset({2}),
    ),
    Scene(
        "what one witness told while learning was not learned",
        "KMW-003",
        [alone(read(1, "octavia", "s2", at())), read(2, "octavia", "s1", at(1)), read(3, "octavia", "s2", at(days=4))],
        frozenset({3}),
    ),
    Scene(
        "somebody reads in a project for the first time",
        "KMW-004",
        [read(1, "octavia", "s1", at()), read(2, "mallory", "s1", at(days=4))],
        frozenset({2}),
        says="in project project",
    ),
    Scene(
        "two callers new in a project are two findings",
        "KMW-004",
        [read(1, "octavia", "s1", at()), read(2, "mallory", "s1", at(days=4)), read(3, "eve", "s1", at(days=4))],
        frozenset({2, 3}),
        findings=2,
    ),
    Scene(
        "an hour of many reads after days of few",
        "KMW-006",
        [*days_of_reads("octavia", 5, 4), *reads("octavia", range(1, 21), 100, 0, days=5)],
        frozenset(range(109, 120)),
        says="made 20 reads within an hour",
    ),
    Scene(
        "a list and five secrets read",
        "KMW-007",
        [listed(1, "mallory", 0), *reads("mallory", range(1, 6), 10, 1)],
        frozenset({1, *range(10, 15)}),
        says="listed the secrets and then read at least 5",
    ),
    Scene(
        "listing again between reads does not begin the count anew",
        "KMW-007",
        [
            one
            for n in range(5)
            for one in (listed(n, "mallory", 2 * n), read(10 + n, "mallory", f"s{n}", at(2 * n + 1)))
        ],
        frozenset({0, *range(10, 15)}),
    ),
    Scene(
        "an ACL is changed and a stranger reads",
        "KMW-008",
        [grant(1, "mallory", "s1", 0), read(2, "eve", "s1", at(10))],
        frozenset({1, 2}),
        says="mallory changed the ACL of",
    ),
    Scene(
        "who read the secret before somebody else did is newly granted",
        "KMW-008",
        [
            read(1, "eve", "s1", at()),
            read(2, "bob", "s1", at(1)),
            grant(3, "mallory", "s1", 5),
            read(4, "eve", "s1", at(10)),
        ],
        frozenset({3, 4}),
    ),
    Scene(
        "an ACL is changed, read by another, and changed again",
        "KMW-010",
        [grant(1, "mallory", "s1", 0), read(2, "eve", "s1", at(10)), grant(3, "mallory", "s1", 20)],
        frozenset({1, 2, 3}),
        says="changed again, which may undo it",
    ),
    Scene(
        "an ACL is removed after the read it allowed",
        "KMW-010",
        [
            grant(1, "mallory", "s1", 0),
            read(2, "eve", "s1", at(10)),
            replace(grant(3, "mallory", "s1", 20), method="DELETE"),
        ],
        frozenset({1, 2, 3}),
        says="removed by mallory",
    ),
    Scene(
        "another project reads although the ACL does not name the reader",
        "KMW-011",
        [read(1, "eve-other", "s1", at())],
        frozenset({1}),
        map=known,
        says="although its ACL does not name them",
    ),
    Scene("another project reads and no ACL is known", "KMW-012", [read(1, "eve-other", "s1", at())], frozenset({1})),
    Scene(
        "three refusals and then a read",
        "KMW-014",
        [*[refused(n, "eve", "s1", n) for n in range(3)], read(5, "eve", "s1", at(100))],
        frozenset({0, 1, 2, 5}),
        says="at least 3 times",
    ),
    Scene(
        "a grant between refusals and read is shown",
        "KMW-014",
        [
            *[refused(n, "eve", "s1", n) for n in range(3)],
            grant(4, "carol", "s1", 50),
            read(5, "eve", "s1", at(100)),
        ],
        frozenset({0, 1, 2, 4, 5}),
        says="after carol changed its ACL",
    ),
    Scene(
        "a secret that a service reads is deleted by another",
        "KMW-020",
        [read(1, "octavia", "s1", at()), deleted(2, "mallory", "s1", 0, days=6)],
        frozenset({2}),
        says="somebody else read",
    ),
    Scene(
        "who reads and then deletes is told of too",
        "KMW-020",
        [read(1, "mallory", "s1", at()), deleted(2, "mallory", "s1", 10)],
        frozenset({2}),
        says="nobody but they",
    ),
    Scene(
        "one caller from two zones",
        "KMW-023",
        [read(1, "octavia", "s1", at(), EAST), read(2, "octavia", "s1", at(9 * 60), WEST)],
        frozenset({1, 2}),
        says="east, west",
    ),
    Scene(
        "a declaration is used after more than 90 days",
        "KMW-028",
        [read(1, "octavia", "s1", at()), read(2, "octavia", "s1", at(days=91))],
        frozenset({2}),
        says="not used for 91 days",
    ),
    Scene(
        "a declaration that was never used wakes",
        "KMW-028",
        [pulse(at()), read(1, "octavia", "s1", at(days=100))],
        frozenset({1}),
    ),
    Scene(
        "a secret in use expires within a week",
        "KMW-031",
        [read(1, "octavia", "s1", at()), pulse(at(60))],
        frozenset(),
        map=lambda: expiring(5),
        says="expire within 7 days: lb-1",
    ),
    Scene(
        "each step is told once",
        "KMW-031",
        [read(1, "octavia", "s1", at()), *[pulse(at(60, days=d)) for d in range(22)]],
        frozenset(),
        findings=4,
        map=lambda: expiring(20),
    ),
    Scene(
        "a quarter is reviewed",
        "KMW-032",
        [pulse(at()), read(1, "octavia", "s1", at(days=80)), pulse(at(days=90))],
        frozenset(),
        says="of 30 secrets 30 never expire and 29 were not read for 90 days",
    ),
]

SILENT = [
    Scene("nothing is new while learning", "KMW-003", reads("octavia", range(1, 20), 1, 0)),
    Scene(
        "a rotated secret of the same name is known",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "octavia", "s2", at(days=4))],
        map=rotated,
    ),
    Scene(
        "a secret that is declared by its id",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "alice", "s1", at(days=4))],
    ),
    Scene(
        "what nobody declared is another rule's", "KMW-003", [read(1, "a", "s1", at()), read(2, "b", "s1", at(days=4))]
    ),
    Scene(
        "what one reads that one made oneself",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "alice", "s2", at(days=4))],
        map=lambda: declarations([owned(1), owned(2, creator_id="alice")]),
    ),
    Scene(
        "records from before the end of learning, replayed, are learned and not told",
        "KMW-003",
        [read(1, "octavia", "s1", at()), read(2, "octavia", "s1", at(days=6)), read(3, "octavia", "s2", at(days=-30))],
    ),
    Scene("a caller that was seen in the project", "KMW-004", [read(n, "a", "s1", at(days=n)) for n in range(12)]),
    Scene(
        "a caller that reads every 29 days",
        "KMW-004",
        [read(n, "a", f"s{n + 1}", at(days=29 * n)) for n in range(4)],
    ),
    Scene(
        "four more than usual are not far above",
        "KMW-006",
        [*days_of_reads("a", 5, 4), *reads("a", range(1, 9), 100, 0, days=5)],
    ),
    Scene(
        "a morning after a quiet night",
        "KMW-006",
        [*days_of_reads("a", 5, 30), *reads("a", range(1, 31), 200, 0, days=5)],
    ),
    Scene("a caller without history", "KMW-006", [read(1, "b", "s1", at()), *reads("a", range(1, 31), 2, 0, days=4)]),
    Scene("a list and four secrets", "KMW-007", [listed(1, "a", 0), *reads("a", range(1, 5), 10, 1)]),
    Scene(
        "a list and one secret again and again",
        "KMW-007",
        [listed(1, "a", 0), *[read(n, "a", "s1", at(n)) for n in range(2, 20)]],
    ),
    Scene("reads before the list", "KMW-007", [*reads("a", range(1, 6), 10, 0), listed(1, "a", 10)]),
    Scene("a list long before", "KMW-007", [listed(1, "a", 0), *reads("a", range(1, 6), 10, 601)]),
    Scene("a backup does that", "KMW-007", [listed(1, "backup", 0), *reads("backup", range(1, 20), 10, 1)]),
    Scene(
        "containers were listed",
        "KMW-007",
        [
            replace(listed(1, "a", 0), target=replace(listed(1, "a", 0).target, type="container")),
            *reads("a", range(1, 6), 10, 1),
        ],
    ),
    Scene(
        "a declared granter lets somebody in", "KMW-008", [grant(1, "carol", "s1", 0), read(2, "octavia", "s1", at(10))]
    ),
    Scene("the granter reads", "KMW-008", [grant(1, "mallory", "s1", 0), read(2, "mallory", "s1", at(10))]),
    Scene("its creator reads", "KMW-008", [grant(1, "mallory", "s1", 0), read(2, "carol", "s1", at(10))]),
    Scene(
        "who read it last reads again",
        "KMW-008",
        [read(1, "eve", "s1", at()), grant(2, "m", "s1", 5), read(3, "eve", "s1", at(9))],
    ),
    Scene("another secret is read", "KMW-008", [grant(1, "mallory", "s1", 0), read(2, "eve", "s2", at(10))]),
    Scene("more than an hour later", "KMW-008", [grant(1, "mallory", "s1", 0), read(2, "eve", "s1", at(3600))]),
    Scene("two changes and no read", "KMW-010", [grant(1, "m", "s1", 0), grant(2, "m", "s1", 5)]),
    Scene(
        "a read and then two changes",
        "KMW-010",
        [read(1, "e", "s1", at()), grant(2, "m", "s1", 5), grant(3, "m", "s1", 6)],
    ),
    Scene(
        "a declared granter changes their mind",
        "KMW-010",
        [grant(1, "carol", "s1", 0), read(2, "e", "s1", at(5)), grant(3, "carol", "s1", 9)],
    ),
    Scene(
        "the second change an hour later",
        "KMW-010",
        [grant(1, "m", "s1", 0), read(2, "e", "s1", at(9)), grant(3, "m", "s1", 3600)],
    ),
    Scene("whom the ACL names", "KMW-011", [read(1, "dave-other", "s1", at())], map=known),
    Scene("a member of the project", "KMW-011", [read(1, "eve", "s2", at())], map=known),
    Scene(
        "an ACL that was seen to change",
        "KMW-011",
        [grant(1, "carol", "s1", 0), read(2, "eve-other", "s1", at(5))],
        map=known,
    ),
    Scene("no ACL is known", "KMW-011", [read(1, "eve-other", "s1", at())]),
    Scene("the same project", "KMW-012", [read(1, "eve", "s1", at())]),
    Scene("an ACL is known", "KMW-012", [read(1, "dave-other", "s1", at())], map=known),
    Scene(
        "a declared service of another project",
        "KMW-012",
        [
            replace(
                read(1, "octavia", "s1", at()),
                initiator=replace(read(1, "octavia", "s1", at()).initiator, project_id="service"),
            )
        ],
    ),
    Scene(
        "two refusals and a read", "KMW-014", [*[refused(n, "e", "s1", n) for n in range(2)], read(5, "e", "s1", at(9))]
    ),
    Scene(
        "refusals of another caller",
        "KMW-014",
        [*[refused(n, "e", "s1", n) for n in range(3)], read(5, "f", "s1", at(9))],
    ),
    Scene(
        "refusals of another secret",
        "KMW-014",
        [*[refused(n, "e", "s2", n) for n in range(3)], read(5, "e", "s1", at(9))],
    ),
    Scene(
        "refusals an hour ago", "KMW-014", [*[refused(n, "e", "s1", n) for n in range(3)], read(5, "e", "s1", at(3602))]
    ),
    Scene("nobody read it", "KMW-020", [deleted(1, "mallory", "s1", 0)]),
    Scene(
        "the last read is more than a week ago", "KMW-020", [read(1, "a", "s1", at()), deleted(2, "m", "s1", 1, days=7)]
    ),
    Scene("a declared clean-up", "KMW-020", [read(1, "octavia", "s1", at()), deleted(2, "carol", "s1", 9)]),
    Scene("a rotation", "KMW-020", [read(1, "octavia", "s1", at()), deleted(2, "mallory", "s1", 9)], map=rotated),
    Scene("one zone", "KMW-023", [read(n, "a", "s1", at(n), f"10.1.0.{n}") for n in range(1, 20)]),
    Scene(
        "the other zone ten minutes later",
        "KMW-023",
        [read(1, "a", "s1", at(), EAST), read(2, "a", "s1", at(600), WEST)],
    ),
    Scene("an address of no zone", "KMW-023", [read(1, "a", "s1", at(), EAST), read(2, "a", "s1", at(9), NOWHERE)]),
    Scene("two callers", "KMW-023", [read(1, "a", "s1", at(), EAST), read(2, "b", "s1", at(9), WEST)]),
    Scene(
        "no zones are declared",
        "KMW-023",
        [read(1, "a", "s1", at(), EAST), read(2, "a", "s1", at(9), WEST)],
        given=Surroundings(),
    ),
    Scene("a declaration used every 89 days", "KMW-028", [read(n, "octavia", "s1", at(days=89 * n)) for n in range(4)]),
    Scene("a new declaration", "KMW-028", [pulse(at()), read(1, "octavia", "s1", at(days=10))]),
    Scene("an unexplained read", "KMW-028", [pulse(at()), read(1, "mallory", "s1", at(days=100))]),
    Scene("expires, and nobody reads it", "KMW-031", [pulse(at(60))], map=lambda: expiring(5)),
    Scene(
        "expires in more than 30 days", "KMW-031", [read(1, "a", "s1", at()), pulse(at(60))], map=lambda: expiring(31)
    ),
    Scene("never expires", "KMW-031", [read(1, "a", "s2", at()), pulse(at(60))], map=lambda: expiring(5)),
    Scene("a quarter is not over", "KMW-032", [pulse(at()), pulse(at(days=89.9))]),
]


def titled(scene: Scene) -> str:
    return f"{scene.rule} {scene.name}"


@pytest.mark.parametrize("scene", FIRING, ids=titled)
def test_it_fires(scene: Scene) -> None:
    detector = scene.detector()
    lines = [*play(detector, scene.happens), *detector.flush()]
    assert created(lines) == scene.findings
    assert cited(lines) == scene.cites
    assert scene.says in lines[-1].message
    assert {line.rule for line in lines} == {scene.rule}


@pytest.mark.parametrize("scene", SILENT, ids=titled)
def test_it_stays_silent(scene: Scene) -> None:
    detector = scene.detector()
    assert [line.message for line in [*play(detector, scene.happens), *detector.flush()]] == []


@pytest.mark.parametrize("scene", [*FIRING, *SILENT], ids=titled)
def test_a_restart_at_any_place_changes_no_byte_of_what_is_said(scene: Scene) -> None:
    calm = scene.detector()
    expected = [*play(calm, scene.happens), *calm.flush()]
    places = range(1, len(scene.happens)) if len(scene.happens) < 12 else range(1, len(scene.happens), 7)
    for place in places:
        first = scene.detector()
        said = play(first, scene.happens[:place])
        second = restarted(scene, first)
        assert [*said, *play(second, scene.happens[place:]), *second.flush()] == expected


@pytest.mark.parametrize(
    "scene", [scene for scene in FIRING if not isinstance(scene.happens[-1], Pulse) and scene.findings == 1], ids=titled
)
def test_a_last_record_that_comes_late_counts_and_is_marked(scene: Scene) -> None:
    last = scene.happens[-1]
    assert isinstance(last, AuditEvent)
    late = replace(last, flags=("late",), observed_time=last.event_time + MINUTE)
    detector = scene.detector()
    lines = [*play(detector, [*scene.happens[:-1], late]), *detector.flush()]
    assert created(lines) == scene.findings
    assert any("late" in line.flags for line in lines)


@pytest.mark.parametrize("scene", FIRING, ids=titled)
def test_the_same_again_belongs_to_the_same_finding(scene: Scene) -> None:
    detector = scene.detector()
    lines = play(detector, [*scene.happens, *[h for h in scene.happens[-1:] if isinstance(h, AuditEvent)]])
    assert created(lines) == scene.findings


def test_every_detection_that_keeps_memory_of_its_own_has_scenes() -> None:
    told = {scene.rule for scene in FIRING}
    assert told == {scene.rule for scene in SILENT}
    assert {f"KMW-{n:03}" for n in (3, 4, 6, 7, 8, 10, 11, 12, 14, 20, 23, 28, 31, 32)} == told
