"""Scenes for detections: requests in, findings out, written as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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
    Activity,
    AddressSource,
    AuditEvent,
    Failure,
    Finding,
    Kind,
    Micros,
    Mode,
    Secret,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.base import Settings
from kmwatch.core.rules.catalogue import CATALOGUE, Surroundings
from kmwatch.core.rules.unexpected_network import Network
from tests.support.audit import START, event

Happening = AuditEvent | Pulse
EAST, WEST, NOWHERE = "10.1.0.9", "10.2.0.9", "203.0.113.9"
BASE: Micros = START // DAY * DAY + 12 * HOUR  # noon: an hour is not cut in two


def at(seconds: float = 0, *, days: float = 0) -> Micros:
    """A moment of a scene."""
    return BASE + int(seconds * SECOND) + int(days * DAY)


def read(number: int, user: str, secret: str, time: Micros, address: str = EAST) -> AuditEvent:
    """A payload is read."""
    return request(number, Kind.RETRIEVAL, user, secret, time, address=address)


def request(
    number: int,
    kind: Kind,
    user: str | None,
    secret: str | None,
    time: Micros,
    *,
    address: str = EAST,
    failure: Failure | None = None,
) -> AuditEvent:
    """Any request; a user acts in the project its name ends with, `project` if it has no dash."""
    made = event(number, kind, at=time, secret=secret, failure=failure, user=user, address=address)
    project = "project" if user is None or "-" not in user else user.rpartition("-")[2]
    who = replace(made.initiator, project_id=project, address_source=AddressSource.PROXY)
    return replace(made, initiator=who, method={Kind.ACL_CHANGE: "PUT", Kind.DELETE: "DELETE"}.get(kind, "GET"))


def pulse(time: Micros) -> Pulse:
    """A whole minute is over."""
    return Pulse(time // MINUTE * MINUTE)


def owned(number: int, **more: object) -> Secret:
    """A secret of `project`, made by carol."""
    fields: dict[str, object] = {"name": f"lb-{number}", "project_id": "project", "creator_id": "carol", **more}
    return Secret(f"s{number}", **fields)  # type: ignore[arg-type]


def declarations(inventory: Iterable[Secret] | None = None, *, mode: Mode = Mode.ENFORCE) -> Declarations:
    """Octavia reads what is called lb-*, a backup and alice read all, carol grants and cleans up what she made."""

    def caller(name: str, *tags: str) -> CallerEntry:
        return CallerEntry(name, users=(UserSelector(id=name),), tags=tags)

    return Declarations(
        CallerMap(
            callers=(caller("octavia"), caller("backup", "backup"), caller("alice"), caller("carol")),
            groups=(SecretGroup("lb", names=("lb-*",)), SecretGroup("named", ids=("s1",))),
            allow=(
                AllowEntry("lb", callers=("octavia",), groups=("lb",), mode=mode),
                AllowEntry("exact", callers=("alice",), groups=("named",)),
                AllowEntry("any", callers=("backup", "alice")),
                AllowEntry("own", callers=("carol",), created_by_caller=True, actions=(Kind.ACL_CHANGE, Kind.DELETE)),
            ),
            decoys=(Decoy("decoy", "bait"),),
        ),
        Identities(),
        [owned(number) for number in range(1, 31)] if inventory is None else inventory,
    )


ZONES = Network(zones=(("east", ranges(["10.1.0.0/16"])), ("west", ranges(["10.2.0.0/16"]))))
GIVEN = Surroundings(ZONES, learning=3 * DAY)


@dataclass(frozen=True)
class Scene:
    """What happens, and what one rule makes of it."""

    name: str
    rule: str
    happens: Sequence[Happening]
    cites: frozenset[int] | None = None  # numbers of the requests its findings cite; None: it is silent
    findings: int = 1
    map: Callable[[], Declarations] = declarations
    chosen: Settings | None = None
    given: Surroundings = field(default=GIVEN)
    says: str = ""  # words of the message

    def detector(self) -> Detector:
        """A detector whose other rules are off."""
        of = {meta.id: replace(meta.defaults, mode=Mode.OFF) for meta in CATALOGUE}
        of[self.rule] = self.chosen or next(meta.defaults for meta in CATALOGUE if meta.id == self.rule)
        return Detector(self.map(), of, 1000, Account(), proxy_expected=True, given=self.given)


def play(detector: Detector, happens: Iterable[Happening]) -> list[Finding]:
    """Show a detector what happens."""
    out: list[Finding] = []
    for one in happens:
        if isinstance(one, Pulse):
            out += detector.pulse(one)
        else:
            out += detector.observe(one)[1]
    return out


def restarted(scene: Scene, before: Detector) -> Detector:
    """Another process that goes on with what the first has stored."""
    after = scene.detector()
    rows = [(state.name, *row) for state in before.states() for row in state.take_changes()]
    states = {state.name: state for state in after.states()}
    for name, key, value in rows:
        if value is not None:
            states[name].restore(key, value)
    after.restored()
    return after


def created(lines: Iterable[Finding]) -> int:
    """How many findings began."""
    return sum(line.activity is Activity.CREATE for line in lines)


def cited(lines: Iterable[Finding]) -> frozenset[int]:
    """The numbers of the requests that lines cite."""
    return frozenset(int(event_id.rpartition("-")[2]) for line in lines for event_id in line.event_ids)


PRIVATE = Acl(project_access=False, users=("dave-other",))
