"""What the recording's evasion matrix says of each spelling: what the Key Manager served, and what it did not."""

from __future__ import annotations

import pytest

from kmwatch.core.event import audit_event
from kmwatch.core.expected import Expected
from kmwatch.core.model import AuditEvent, Kind, Outcome
from kmwatch.core.route import Route, Verb, route
from tests.support.audit import SECRET, record

ID = SECRET
SERVED_AS_PAYLOAD = [
    "/v1/orders/../secrets/{id}/payload",
    "/v1/secrets/{id}/payload//",
    "/v1/secrets//{id}/payload",
    "/v1/secrets%2F{id}%2Fpayload",
    "/v1/secrets/{id}/%70%61%79%6c%6f%61%64",
    "/v1/secrets/{id}/payload.bin",
    "//v1/secrets/{id}/payload",
    "http://127.0.0.1:19311/v1/secrets/{id}/payload",
    "/v1/secrets/{id}/%70ayload",
    "/v1/secrets/{id}/payload.css",
    "/v1/secrets/{id}/payload?transport_key_needed=true",
    "/v1/secrets/{id}/payload/",
    "/v1/secrets/{id}//payload",
    "/v1/secrets/{id}/payload?x=1",
    "/v1/secrets/{id}/payload.html",
    "/v1//secrets/{id}/payload",
    "/v1/secrets/{id}/payload.png",
    "/v1/%73ecrets/{id}/payload",
    "/v1/secrets/{id}/payload.json",
    "/v1/secrets/{id}%2Fpayload",
    "/v1/secrets/{id}/payload?",
    "/v1/secrets/{id}/payload?/acl",
    "/v1/secrets/" + "".join(f"%{ord(c):02X}" for c in ID) + "/payload",
    "/v1/secrets/{id}/payload.txt",
    "/%76%31/secrets/{id}/payload",
    "/v1/./secrets/{id}/payload",
    "/v1/secrets/{id}/payload",
    "/v1/secrets/{id}/payload?pad=" + "A" * 31_000,
    "/v1/secrets/{id}/payload" + "/" * 600,
    "/key-manager/v1/secrets/{id}/payload",
]
SERVED_AS_SECRET = [
    "/v1/secrets/{id}/index/",
    "/v1/secrets/{id}/index",
    "/v1/secrets/{id}.json",
    "/v1/secrets/{id}/",
    "/v1/secrets/{id}/index.txt",
    "/v1/secrets/{id}.bin",
    "/v1/secrets/{id}.txt",
    "/v1/secrets/" + ID[:-1] + "%62",
    "/v1/secrets/{id}",
]
NOT_SERVED = [
    ("/v1/secrets/%7B{id}%7D/payload", 404),
    ("/v1/secrets/" + ID.upper() + "/payload", 404),
    ("/v1/secrets/" + ID.replace("-", "") + "/payload", 404),
    ("/v1/secrets/{id}/payload%00", 404),
    ("/v1/secrets/{id}/%EF%BD%90ayload", 404),
    ("/v1/secrets/{id}/%2570ayload", 404),
    ("/v1/secrets/{id}/payload/.json", 500),
    ("/V1/secrets/{id}/payload", 406),
    ("/v1/secrets/{id}%5Cpayload", 404),
    ("/v1/secrets/{id}/payload/extra", 500),
    ("/v1/secrets/{id};x/payload", 404),
    ("/v1/secrets/{id}/payload;x=1", 404),
    ("/v1/secrets/{id}/Payload", 404),
    ("/v1/secrets/{id}/payload.zzz", 404),
    ("/v1/secrets/{id}/payload%0A", 404),
    ("/v1/secrets/{id}.txt/payload", 404),
    ("/v1/secrets/{id}/payload%20", 404),
    ("/v1/secrets/{id}/payload", 405),
    ("/v1/secrets/{id}/payload", 406),
]


def seen(path: str, status: int, action: str = "read") -> AuditEvent:
    whole = record(path=path.replace("{id}", ID), status=status, action=action)
    return audit_event([whole], whole.slot, Expected(), whole.observed_time, late=False)


@pytest.mark.parametrize("path", SERVED_AS_PAYLOAD)
def test_every_spelling_that_gave_out_a_payload_is_a_retrieval_of_that_secret(path: str) -> None:
    event = seen(path, 200)
    assert (event.kind, event.outcome, event.target.type, event.target.id) == (
        Kind.RETRIEVAL,
        Outcome.SUCCESS,
        "secret",
        ID,
    )
    assert event.path == f"/v1/secrets/{ID}/payload"


@pytest.mark.parametrize("path", SERVED_AS_PAYLOAD)
def test_a_refused_payload_read_is_a_retrieval_whatever_its_spelling(path: str) -> None:
    event = seen(path, 403)
    assert (event.kind, event.outcome, event.target.id) == (Kind.RETRIEVAL, Outcome.FAILURE, ID)


@pytest.mark.parametrize("path", SERVED_AS_SECRET)
def test_the_secret_itself_is_a_metadata_read_with_an_unknown_accept_header(path: str) -> None:
    event = seen(path, 200)
    assert (event.kind, event.target.id, event.path) == (Kind.METADATA_READ, ID, f"/v1/secrets/{ID}")
    assert "accept_unknown" in event.flags


@pytest.mark.parametrize(("path", "status"), NOT_SERVED)
def test_a_spelling_that_was_not_served_is_never_a_successful_retrieval(path: str, status: int) -> None:
    event = seen(path, status)
    assert event.outcome is Outcome.FAILURE
    assert event.kind in {Kind.RETRIEVAL, Kind.METADATA_READ, Kind.OTHER}  # a strange id is still an id


@pytest.mark.parametrize("action", ["update", "delete", "unknown", "read"])
def test_a_method_that_the_payload_does_not_know_is_other(action: str) -> None:
    assert seen("/v1/secrets/{id}/payload", 405, action).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("action", "path", "kind"),
    [
        ("read", "/v1/secrets/{id}/metadata/payload", Kind.METADATA_READ),
        ("read", "/v1/secrets/{id}/metadata/payload/", Kind.METADATA_READ),
        ("read", "/v1/secrets/{id}/metadata/payload.json", Kind.METADATA_READ),
        ("read", "/v1/secrets/{id}/metadata/acl", Kind.METADATA_READ),
        ("update", "/v1/secrets/{id}/metadata/acl", Kind.UPDATE),
        ("update", "/v1/secrets/{id}/metadata/payload", Kind.UPDATE),
        ("delete", "/v1/secrets/{id}/metadata/acl", Kind.UPDATE),
        ("delete", "/v1/secrets/{id}/metadata/payload", Kind.UPDATE),
        ("update", "/v1/secrets/{id}/metadata", Kind.UPDATE),
    ],
)
def test_a_metadata_key_named_payload_or_acl_is_a_decoy(action: str, path: str, kind: Kind) -> None:
    event = seen(path, 200, action)
    assert event.kind is kind
    assert "accept_unknown" not in event.flags


@pytest.mark.parametrize("path", ["acl", "acl/", "acl?x=1", "%61cl", "acl.json", "/acl", "acl/index"])
def test_every_spelling_of_an_acl_change_is_one(path: str) -> None:
    assert seen(f"/v1/secrets/{{id}}/{path}", 200, "update").kind is Kind.ACL_CHANGE
    assert seen(f"/v1/secrets/{{id}}/{path}", 200, "delete").kind is Kind.ACL_CHANGE
    assert seen(f"/v1/secrets/{{id}}/{path}", 200).kind is Kind.ACL_READ


@pytest.mark.parametrize(
    ("action", "path", "kind", "target"),
    [
        ("read/list", "/v1/secrets", Kind.LIST, "secret"),
        ("read/list", "/v1/secrets.json", Kind.LIST, "secret"),
        ("create", "/v1/secrets", Kind.CREATE, "secret"),
        ("update", "/v1/secrets/index", Kind.CREATE, "secret"),
        ("update", "/v1/secrets/{id}", Kind.PAYLOAD_WRITE, "secret"),
        ("delete", "/v1/secrets/{id}", Kind.DELETE, "secret"),
        ("delete", "/v1/secrets/{id}/index", Kind.DELETE, "secret"),
        ("read/get", "/v1/secrets/{id}/payload", Kind.RETRIEVAL, "secret"),
        ("update", "/v1/secrets/{id}/consumers", Kind.CONSUMER_CHANGE, "secret"),
        ("create", "/v1/containers", Kind.CONTAINER_CREATE, "container"),
        ("read", "/v1/containers/{id}", Kind.CONTAINER_READ, "container"),
        ("delete", "/v1/containers/{id}", Kind.CONTAINER_DELETE, "container"),
        ("update", "/v1/containers/{id}/acl", Kind.ACL_CHANGE, "container"),
        ("delete", "/v1/containers/{id}/consumers", Kind.CONSUMER_CHANGE, "container"),
        ("create", "/v1/orders", Kind.ORDER_CREATE, "order"),
        ("read", "/v1/orders/{id}", Kind.ORDER_READ, "order"),
        ("delete", "/v1/orders/{id}", Kind.ORDER_DELETE, "order"),
        ("update", "/v1/project-quotas/p", Kind.ADMINISTRATION, "quota"),
        ("update", "/v1/secret-stores/{id}/preferred", Kind.ADMINISTRATION, "secret_store"),
        ("update", "/v1/secret-stores***", Kind.ADMINISTRATION, "secret_store"),  # as the log driver masks it
        ("delete", "/v1/transport_keys/{id}", Kind.ADMINISTRATION, "transport_key"),
        ("read", "/v1/quotas", Kind.OTHER, "quota"),
        ("read", "/", Kind.VERSION, "version"),
        ("read", "/v1/", Kind.VERSION, "version"),
        ("read", "/v1/nothing", Kind.OTHER, "unknown"),
        ("read", "/v2/secrets/{id}/payload", Kind.OTHER, "unknown"),
        ("unknown", "/v1/secrets/{id}/payload", Kind.OTHER, "secret"),
    ],
)
def test_method_and_path_say_what_a_request_does(action: str, path: str, kind: Kind, target: str) -> None:
    event = seen(path, 200, action)
    assert (event.kind, event.target.type) == (kind, target)


@pytest.mark.parametrize("path", ["/v1/secrets/{id}/new-route", "/v1/secrets/{id}/payload/extra", "/v1/orders/{id}/x"])
def test_a_success_on_a_route_we_do_not_know_is_flagged(path: str) -> None:
    event = seen(path, 200)
    assert event.kind is Kind.OTHER
    assert "unrouted_success" in event.flags


def test_an_unrouted_path_keeps_the_target_it_names() -> None:
    way: Route = route(f"/v1/secrets/{ID}/payload/extra", served=False)
    assert (way.routed, way.target_type, way.target_id, way.kind(Verb.READ)) == (False, "secret", ID, Kind.OTHER)


def test_the_path_as_sent_is_kept_beside_the_canonical_one() -> None:
    event = seen("/v1//secrets/{id}/%70ayload.json?x=1", 200)
    assert event.path_raw == f"/v1//secrets/{ID}/%70ayload.json?x=1"
    assert event.target.path == f"/v1/secrets/{ID}/payload.json"
