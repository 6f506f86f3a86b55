"""Small recordings of other set-ups: the SAP audit middleware, and a Key Manager that parses proxy headers."""

from __future__ import annotations

import gzip

import pytest

from kmwatch.core.model import AuditEvent, Evidence, Kind
from kmwatch.wire.cadf import decode
from kmwatch.wire.recorded import unwrap
from tests.golden.labelled import HERE, Label, read
from tests.support.audit import balances, engine, step


def heard(variant: str) -> tuple[dict[str, AuditEvent], list[Label]]:
    """The events of a variant's recording by request id, and its labels."""
    with gzip.open(HERE / "data" / f"{variant}.jsonl.gz") as file:
        records = [("s", decode(*unwrap(line))) for line in file]
    made = engine()
    judged = [*step(made, records).judged, *made.flush().judged]
    assert balances(made)
    events = [one.event for one in judged]
    assert len({event.request_id for event in events}) == len(events)
    return {event.request_id or "": event for event in events}, read(HERE / "data" / f"{variant}.labels.tsv.gz")


@pytest.mark.parametrize("variant", ["sap", "proxyhdr"])
def test_every_audited_request_is_one_complete_event_of_the_right_kind(variant: str) -> None:
    events, labels = heard(variant)
    assert set(events) == {label.request_id for label in labels if label.audited}
    legacy = 0
    for label in labels:
        event = events.get(label.request_id)
        if event is None:
            continue
        assert event.evidence is Evidence.COMPLETE
        assert event.outcome in label.outcomes
        assert event.status == label.status
        assert (event.initiator.user_id, event.initiator.project_id) == label.who
        if event.kind is Kind.METADATA_READ and label.kinds == {"retrieval"}:
            legacy += 1  # the legacy read: no audit event tells it from a metadata read
            assert "accept_unknown" in event.flags
        elif label.kinds:
            assert event.kind in label.kinds
    assert legacy == 1


def test_with_proxy_headers_parsed_the_address_is_what_the_client_wrote() -> None:
    events, labels = heard("proxyhdr")
    spelled = {events[label.request_id].initiator.address for label in labels if label.request_id in events}
    assert len(spelled) > 1, "one caller, several X-Forwarded-For and Forwarded headers"
