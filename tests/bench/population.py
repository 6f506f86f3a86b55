"""What a million secrets and a hundred thousand callers cost the detections: memory, rate, and how much is stored.

    ./dev population [--secrets N] [--callers N] [--events N] [--limit N]

Events are made, not decoded: this measures the core alone. Each caller reads secrets of its own project, in turns that
leave no caller quiet; one read in a hundred is refused, one event in fifty is a list, an ACL change or a deletion.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time

from kmwatch.core.account import Account
from kmwatch.core.callermap import AllowEntry, CallerEntry, CallerMap, ProjectSelector, SecretGroup
from kmwatch.core.declaration import Declarations
from kmwatch.core.detect import Detector
from kmwatch.core.directory import Identities
from kmwatch.core.model import (
    DAY,
    SECOND,
    AddressSource,
    AuditEvent,
    Evidence,
    Failure,
    Initiator,
    Kind,
    Micros,
    Outcome,
    Secret,
    Target,
    Witness,
)
from kmwatch.core.pulse import Pulse
from kmwatch.core.rules.catalogue import Surroundings

START: Micros = 1_795_466_871_000_000
_PROJECTS = 1000
_SLICE = 10_000
_OTHERS = (Kind.LIST, Kind.ACL_CHANGE, Kind.DELETE)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="./dev population", description=__doc__)
    for name, value in (("secrets", 1_000_000), ("callers", 100_000), ("events", 1_000_000), ("limit", 1_000_000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    empty = _memory()
    declarations = Declarations(_map(), Identities(), _inventory(given.secrets))
    known = _memory()
    detector = Detector(
        declarations, {}, given.limit, Account(), proxy_expected=False, given=Surroundings(learning=DAY)
    )
    gc.collect()
    gc.freeze()
    rates = list[float]()
    rows = size = 0
    events = _events(given.events, given.secrets, given.callers)
    began = slice_began = process_time()
    for number, event in enumerate(events, 1):
        detector.observe(event)
        if number % _SLICE == 0:
            detector.tick(event.observed_time)
            detector.pulse(Pulse(event.observed_time))
            rates.append(_SLICE / (process_time() - slice_began))
            for state in detector.states():
                changes = [len(value or b"") for _, value in state.take_changes()]
                rows, size = rows + len(changes), size + sum(changes)
            slice_began = process_time()
    took = process_time() - began
    full = _memory()
    _say(given, (empty, known, full), rates, (rows, size, took))
    for state in sorted({s.name: s for s in detector.states()}.values(), key=len, reverse=True)[:8]:
        sys.stdout.write(f"  {state.name:24} {len(state):>9,} keys, {state.evicted:,} made room\n")


def _say(
    given: argparse.Namespace,
    memory: tuple[float, float, float],
    rates: list[float],
    stored: tuple[int, int, float],
) -> None:
    empty, known, full = memory
    rows, size, took = stored
    tenth = max(len(rates) // 10, 1)
    first, last = sum(rates[:tenth]) / tenth, sum(rates[-tenth:]) / tenth
    sys.stdout.write(
        f"{given.secrets:,} secrets, {given.callers:,} callers, {given.events:,} events, at most {given.limit:,} keys\n"
        f"memory: {empty:.0f} MiB at the start, {known - empty:.0f} MiB more for the inventory, "
        f"{full - known:.0f} MiB more for what detections remember\n"
        f"rate: {first:,.0f} events a second of CPU in the first tenth, {last:,.0f} in the last ({took:.0f} s in all)\n"
        f"stored: {rows:,} rows, {size / 2**20:.0f} MiB, {rows / given.events:.2f} rows an event\n"
    )


def _memory() -> float:
    """Resident memory in MiB."""
    gc.collect()
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def _map() -> CallerMap:
    """Whoever acts in a project reads the secrets of all, under one wildcard: what makes detections remember most."""
    projects = tuple(ProjectSelector(id=f"project-{number}") for number in range(_PROJECTS))
    callers = (CallerEntry("tenants", projects=projects),)
    groups = (SecretGroup("theirs", projects=projects),)
    return CallerMap(callers, groups, (AllowEntry("own", callers=("tenants",), groups=("theirs",)),))


def _inventory(many: int) -> Iterator[Secret]:
    for number in range(many):
        yield Secret(_secret(number), f"name-{number}", "opaque", f"project-{number % _PROJECTS}", None)


def _secret(number: int) -> str:
    return f"{number:08x}-611b-402c-b6b3-ea85285d55bb"


def _events(many: int, secrets: int, callers: int) -> Iterator[AuditEvent]:
    for number in range(many):
        caller = number % callers
        project = caller % _PROJECTS
        turn = number // _PROJECTS * 7919
        secret = (project + _PROJECTS * (turn % max(secrets // _PROJECTS, 1))) % secrets
        kind = _OTHERS[number // 50 % 3] if number % 50 == 0 else Kind.RETRIEVAL
        yield _event(number, kind, (f"user-{caller:06}", f"project-{project}"), _secret(secret), number % 100 == 1)


def _event(number: int, kind: Kind, who: tuple[str, str], secret: str, refused: bool) -> AuditEvent:  # noqa: FBT001
    user, project = who
    at = START + number * SECOND // 10
    path = f"/v1/secrets/{secret}/payload"
    return AuditEvent(
        event_id=f"api:req-{number:08x}-611b-402c-b6b3-ea85285d55bb",
        event_time=at,
        kind=kind,
        outcome=Outcome.FAILURE if refused else Outcome.SUCCESS,
        failure=Failure.DENIED if refused else None,
        status=403 if refused else 200,
        method="GET",
        path=path,
        path_raw=path,
        request_id=f"req-{number:08x}-611b-402c-b6b3-ea85285d55bb",
        global_request_id=None,
        initiator=Initiator(user, user, project, None, (), "10.0.0.1", AddressSource.AUDIT, "bench"),
        target=Target("secret", secret, path),
        evidence=Evidence.COMPLETE,
        seen_in=(Witness.CADF,),
        observed_time=at,
    )


if __name__ == "__main__":
    main()
