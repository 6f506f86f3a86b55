"""The ledger of retrievals: which events become rows, what a row keeps, and what late evidence does to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.constraint import inside, parse_address, ranges
from kmwatch.core.detect import Judged
from kmwatch.core.expected import Expected
from kmwatch.core.ledger import Rows, note, place, places, row_of, storable
from kmwatch.core.model import SECOND, Kind, Match, Nearest, Reason
from kmwatch.core.record import Note, ServiceRecord, Slot
from kmwatch.core.step import Output
from tests.support.audit import BOTH, EXPLAINED, SECRET, START, UNEXPLAINED, engine, event, halves, merge, step


def rows(*judged: Judged) -> Rows:
    found = Rows()
    note(found, judged)
    return found


def test_a_retrieval_becomes_a_row_and_nothing_else_does() -> None:
    found = rows(Judged(event(1), EXPLAINED), Judged(event(2, Kind.LIST), None))
    assert list(found) == ["api:req-1"]


def test_a_row_has_who_what_where_and_the_verdict() -> None:
    near = Nearest("own", "networks", "10.0.0.0/24", "10.9.0.1")
    read = row_of(event(1, address="10.9.0.1"), Match(False, Reason.NETWORK, "own", "alice", near))  # noqa: FBT003
    assert (read.event_id, read.event_time, read.secret_id, read.request_id) == ("api:req-1", START, SECRET, "req-1")
    assert (read.user_id, read.project_id, read.address, read.agent) == ("user-1", "project-1", "10.9.0.1", "curl/8")
    assert (read.explained, read.declaration, read.more.reason) == (False, "own", Reason.NETWORK)
    assert (read.more.caller, read.more.nearest) == ("alice", near)


def test_the_last_telling_of_a_request_counts() -> None:
    found = rows(Judged(event(1), UNEXPLAINED), Judged(event(1), EXPLAINED, again=True))
    assert [read.explained for read in found.values() if read is not None] == [True]


def test_a_request_that_was_no_retrieval_after_all_takes_its_row_back() -> None:
    assert rows(Judged(event(1), EXPLAINED), Judged(event(1, Kind.OTHER), None, again=True)) == {"api:req-1": None}


# Late evidence, through the core


def told(*outputs: Output) -> Rows:
    found = Rows()
    note(found, merge(outputs).judged)
    return found


def service(slot: int, what: Note | None = None, *, at: int = START + SECOND) -> ServiceRecord:
    path = None if slot == Slot.SERVICE_NOTE else f"/v1/secrets/{SECRET}"
    status, method = (None, None) if path is None else (200, "GET")
    return ServiceRecord(
        slot, "req-1", at, "req-1", None, "user-1", "project-1", method=method, path_raw=path, status=status, note=what
    )


def test_a_legacy_read_that_only_a_late_service_log_shows_gets_its_row_then() -> None:
    """The audit trail shows a metadata read; the service log, which comes minutes later, that a payload went out."""
    core = engine(expected=Expected(BOTH | Slot.SERVICE_END, settle=30 * SECOND))
    first = step(core, [("audit", record) for record in halves(1, path=f"/v1/secrets/{SECRET}")])
    later, _ = halves(2, at=START + 300 * SECOND)
    second = step(core, [("audit", later)])
    before = told(first, second)
    third = step(core, [("log", service(Slot.SERVICE_NOTE, Note.LEGACY)), ("log", service(Slot.SERVICE_END))])
    after = told(third, core.flush())
    assert "api:req-1" not in before
    assert (read := after["api:req-1"]) is not None
    assert read.secret_id == SECRET
    assert "legacy_read" in read.more.flags


# Texts and addresses


@given(st.text(st.characters(), max_size=600))
def test_whatever_a_text_holds_any_database_takes_it(text: str) -> None:
    kept = storable(text)
    assert len(kept) <= 255
    assert "\0" not in kept
    kept.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=255))
def test_an_ordinary_text_is_kept_as_it_is(text: str) -> None:
    assert storable(text) == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_texts_that_differ_beyond_the_cut_stay_apart(one: str, other: str) -> None:
    long = "x" * 300
    assert (storable(long + one) == storable(long + other)) == (
        storable(long + one, 9999) == storable(long + other, 9999)
    )


@given(
    st.ip_addresses().map(str) | st.sampled_from(("::ffff:10.0.0.9", "", "unknown", "10.0.0.1:80", "fe80::1%eth0")),
    st.sampled_from(("10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "128.0.0.0/1", "::ffff:0:0/96")),
)
def test_an_address_lies_in_a_networks_range_of_keys_exactly_if_it_lies_in_the_network(
    address: str, network: str
) -> None:
    key, (first, last) = place(address), places(network)
    assert (key is not None and first <= key <= last) == inside(parse_address(address), ranges([network]))


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        places("tomorrow")


def test_a_row_keeps_no_text_longer_than_any_index_takes() -> None:
    long = event(1, secret="s" * 9999, user="u" * 9999, address="a" * 9999)
    read = row_of(replace(long, request_id="r" * 9999), UNEXPLAINED)
    for text in (read.secret_id, read.user_id, read.user_name, read.address, read.request_id):
        assert text is not None
        assert len(text) == 255
