"""Audit events whose texts oslo.utils masked on their way into a log (kmwatch.core.mask)."""

from __future__ import annotations

from itertools import permutations

from msgspec.structs import replace

from kmwatch.core.model import Initiator, Kind, Witness
from kmwatch.core.record import AuditRecord
from tests.support.audit import START, halves
from tests.support.joining import Joining
from tests.support.witnesses import ALL, line, processed

WHOLE = "/v1/secret-stores/global"
MASKED = "/v1/secret-stores***"


def both(path: str, agent: str) -> tuple[AuditRecord, AuditRecord]:
    """The two audit events of a request, as one transport tells them."""
    one, other = halves(1, path=path, took=0)
    who = replace(one.initiator, agent=agent)
    return replace(one, initiator=who), replace(other, initiator=who)


def masked() -> tuple[AuditRecord, AuditRecord]:
    """As the log driver writes them."""
    return both(MASKED, "x token-a***")


def test_a_masked_copy_contradicts_nothing_and_the_whole_one_counts_in_any_order() -> None:
    seen = set()
    for order in permutations([*both(WHOLE, "x token-a/1 b"), *masked()]):
        parts = Joining(ALL)
        for copy in order:
            parts.add(copy)
        parts.flush()
        seen.add((parts.last.path, parts.last.initiator.agent, parts.last.flags))
    ((path, agent, flags),) = seen
    assert (path, agent) == (WHOLE, "x token-a/1 b")
    assert not {"conflicting_duplicate", "phases_disagree"} & set(flags)


def test_the_service_log_tells_what_a_mask_hides_and_lines_without_an_id_find_it() -> None:
    parts = Joining(ALL)
    for half in masked():
        parts.add(half)
    parts.add(processed(1, path=WHOLE))
    parts.add(line(path=WHOLE))
    parts.flush()
    assert (parts.last.path, parts.last.target.id) == (WHOLE, "global")
    assert "path_disagrees" not in parts.last.flags
    assert Witness.PROXY_LOG in parts.last.seen_in


def test_a_mask_hides_no_other_path() -> None:
    parts = Joining(ALL)
    for half in masked():
        parts.add(half)
    parts.add(processed(1, path="/v1/quotas"))
    parts.flush()
    assert "path_disagrees" in parts.last.flags


def test_copies_that_differ_in_more_than_a_mask_contradict_each_other() -> None:
    first, second = both(WHOLE, "x"), masked()
    parts = Joining(ALL)
    for half in (*first, *(replace(half, initiator=Initiator("user-2"), observed_time=START) for half in second)):
        parts.add(half)
    parts.flush()
    assert "conflicting_duplicate" in parts.last.flags


def test_a_change_of_secret_stores_is_administration_under_a_mask_too() -> None:
    parts = Joining()
    for half in masked():
        parts.add(replace(half, action="update"))
    assert (parts.last.kind, parts.last.target.type) == (Kind.ADMINISTRATION, "secret_store")
