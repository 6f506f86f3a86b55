"""Laws of the hot path: its short ways say what the long ones say, and spare only what would have said nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.event import audit_event, pair_event
from kmwatch.core.expected import AUDITED, Expected
from kmwatch.core.join import Join, Ready
from kmwatch.core.model import MINUTE, AddressSource, AuditEvent, Initiator, Kind, Secret
from kmwatch.core.record import AuditRecord, Sighting, Slot
from kmwatch.core.rules.base import Forgiving, Rule
from kmwatch.core.rules.catalogue import Surroundings, build
from tests.support.audit import EXPLAINED, SECRET, case, declared, event, record

paths = st.sampled_from(
    [
        f"/v1/secrets/{SECRET}/payload",
        f"/v1/secrets/{SECRET}",
        f"/v1/secrets/{SECRET}/%70ayload",
        f"/v1/secrets/{SECRET}/acl/",
        "/v1/secrets",
        "/v2/else",
        "/",
        "/v1/secrets/" + "x" * 600,
    ]
)
actions = st.sampled_from(["read", "read/list", "update", "create", "delete", "odd/action"])
statuses = st.sampled_from([None, 200, 204, 401, 403, 404, 405, 500, 503])
callers = st.sampled_from(
    [
        Initiator("user-1", "alice", "project-1", None, (), "10.0.0.1", AddressSource.AUDIT, "curl/8"),
        Initiator("user-1", "alice", "project-1", None, (), "10.0.0.2", AddressSource.AUDIT, "curl/8"),
        Initiator(),
    ]
)


@st.composite
def halves(draw: st.DrawFn) -> tuple[AuditRecord, AuditRecord]:
    """Both halves of a request, which mostly agree."""
    request = replace(
        record(1, Slot.CADF_REQUEST, path=draw(paths), action=draw(actions)), initiator=draw(callers), status=None
    )
    response = replace(
        record(1, Slot.CADF_RESPONSE, took=draw(st.integers(0, MINUTE))),
        path_raw=request.path_raw,
        action=request.action,
        initiator=replace(request.initiator),  # as great, and another object
        status=draw(statuses),
        outcome=draw(st.sampled_from(["success", "failure", "pending", "unknown"])),
        flags=draw(st.sampled_from([(), (), ("clock_skewed",)])),
        global_request_id=draw(st.sampled_from([None, "req-g"])),
    )
    changes: list[dict[str, object]] = [{}, {}, {"path_raw": "/v1/orders"}, {"action": "update"}]
    changed = replace(request, **draw(st.sampled_from(changes)))
    return replace(changed, initiator=draw(st.sampled_from([request.initiator]) | callers)), response


@given(pair=halves(), late=st.booleans())
def test_two_halves_make_the_event_that_the_general_way_makes(
    pair: tuple[AuditRecord, AuditRecord], *, late: bool
) -> None:
    now = pair[1].observed_time
    expected = audit_event(list(pair), AUDITED, Expected(), now, late=late)
    assert pair_event(*pair, now, late=late) == expected
    assert pair_event(*pair, now, late=late) == expected  # what was remembered too


def told(records: Sequence[AuditRecord], heard: Callable[[AuditEvent, Sequence[Sighting]], None] | None) -> list[Ready]:
    join, out = Join(Expected(), 100), list[Ready]()
    join.heard = heard
    join._only_audited = heard is not None  # else it takes the long way
    for one in records:
        join.add(one.key, one, "p0", one.observed_time, out.append)
    join.flush(records[-1].observed_time + MINUTE, out.append)
    return out


@given(st.lists(halves(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_join_tells_the_same_by_the_short_way_and_by_the_long_one(
    pairs: list[tuple[AuditRecord, AuditRecord]], random: object
) -> None:
    records = sorted((half for pair in pairs for half in pair), key=lambda one: (one.observed_time, one.slot))
    random.shuffle(records)  # type: ignore[attr-defined]
    made: list[AuditEvent] = []
    assert told(records, lambda event, _: made.append(event)) == told(records, None)
    assert made


FORGIVING = [rule for rule, _ in build({}, 100, declared(), Surroundings(learning=0)) if isinstance(rule, Forgiving)]


@pytest.mark.parametrize("rule", FORGIVING, ids=lambda rule: str(rule.meta.id))
@pytest.mark.parametrize("kind", [Kind.RETRIEVAL, Kind.ACL_CHANGE])
def test_what_forgives_says_nothing_of_what_a_declaration_explains(rule: Rule, kind: Kind) -> None:
    """So the detector need not show it."""
    known = declared(inventory=[Secret(SECRET, project_id="another")])
    assert list(rule.observe(case(event(1, kind), EXPLAINED, known))) == []
