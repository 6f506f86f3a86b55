"""Vault's audit device: what the Key Manager does on it, and everything that it never does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.record import BackendRecord, Deed, Rejected, RejectReason, Result
from kmwatch.wire.decode import Reader
from kmwatch.wire.vault import deed_of
from tests.support.backed import recorded


def read(line: bytes) -> BackendRecord:
    found = Reader().decode(line, None)
    assert isinstance(found, BackendRecord)
    return found


MEANT = {
    ("create", "barbican/data/"): Deed.WRITE,
    ("read", "barbican/data/"): Deed.READ,
    ("delete", "barbican/data/"): Deed.DELETE,
    ("update", "barbican/data/"): Deed.CHANGE,
    ("list", "barbican/"): Deed.EXTRACT,
    ("read", "barbican/metadata/"): Deed.EXTRACT,
    ("read", "barbican/subkeys/"): Deed.EXTRACT,
    ("update", "barbican/undelete/"): Deed.EXTRACT,
    ("delete", "barbican/metadata/"): Deed.CHANGE,
    ("update", "barbican/destroy/"): Deed.CHANGE,
    ("update", "barbican/delete/"): Deed.CHANGE,
    ("header", "barbican/data/"): Deed.OTHER,
    ("read", "sys/storage/raft/snapshot"): Deed.EXTRACT,
    ("read", "sys/"): Deed.OTHER,
    ("update", "sys/policies/"): Deed.CHANGE,
    ("delete", "sys/policies/"): Deed.CHANGE,
    ("update", "sys/mounts/barbican/tune"): Deed.CHANGE,
    ("delete", "sys/audit/file"): Deed.CHANGE,
    ("update", "sys/audit/file"): Deed.CHANGE,
    ("update", "sys/audit/test"): Deed.OTHER,
    ("update", "sys/seal"): Deed.CHANGE,
    ("update", "sys/wrapping/wrap"): Deed.EXTRACT,
    ("update", "auth/approle/login"): Deed.LOGIN,
    ("update", "auth/approle/role/"): Deed.CHANGE,
    ("update", "auth/token/"): Deed.CHANGE,
    ("read", "auth/token/lookup-self"): Deed.OTHER,
    ("read", "apps/data/"): Deed.READ,
}


def test_every_line_of_the_recording_means_what_its_operation_and_path_say() -> None:
    for line in recorded("vault.jsonl"):
        record = read(line)
        operation, _, path = record.detail.partition(" ")
        fitting = [key for key in MEANT if key[0] == operation and path.startswith(key[1])]
        assert fitting, record.detail
        assert record.deed is MEANT[max(fitting, key=lambda key: len(key[1]))], record.detail


@pytest.mark.parametrize(
    ("operation", "path", "deed"),
    [
        ("read", "kv1/key", Deed.READ),  # version 1 has keys and nothing beside
        ("update", "kv1/key", Deed.CHANGE),
        ("list", "kv1/", Deed.EXTRACT),
        ("patch", "kv1/data/key", Deed.CHANGE),
        ("update", "kv1/metadata/key", Deed.CHANGE),
        ("update", "kv1/config", Deed.CHANGE),
        ("update", "identity/entity", Deed.CHANGE),  # another way to a policy
    ],
)
def test_both_versions_of_the_key_value_store_are_understood(operation: str, path: str, deed: Deed) -> None:
    assert deed_of(operation, path, "kv1/", "kv") is deed


def test_another_version_of_a_payload_is_more_than_the_key_manager_asks() -> None:
    assert deed_of("read", "kv/data/k", "kv/", "kv", "/v1/kv/data/k?version=1") is Deed.EXTRACT


@pytest.mark.parametrize("path", ["auth/token/renew-self", "auth/token/lookup", "sys/tools/random", "sys/leases/renew"])
def test_updates_by_name_that_change_nobodys_rights_are_of_no_interest(path: str) -> None:
    assert deed_of("update", path, None, None) is Deed.OTHER


def test_results_are_told_by_error_and_data() -> None:
    results = {read(line).detail: read(line).result for line in recorded("vault.jsonl")}
    assert results["list barbican/metadata/"] in (Result.OK, Result.REFUSED)
    assert results["update sys/seal"] is Result.UNKNOWN
    refused = [read(line) for line in recorded("vault.jsonl") if b"permission denied" in line]
    assert {record.result for record in refused} == {Result.REFUSED}


def test_root_is_known_by_its_policy() -> None:
    by_root = {read(line).name for line in recorded("vault.jsonl") if read(line).privileged}
    assert by_root == {"root"}


def test_no_value_and_no_token_is_kept() -> None:
    for line in recorded("vault.jsonl"):
        assert "hmac-sha256" not in repr(read(line))


def test_a_shippers_envelope_changes_nothing() -> None:
    line = recorded("vault.jsonl")[0]
    assert read(json.dumps({"host": "v1", "message": line.decode()}).encode()) == read(line)


@pytest.mark.parametrize(
    ("change", "reason"), [({"time": "yesterday"}, RejectReason.BAD_TIME), ({"type": 3}, RejectReason.BAD_LINE)]
)
def test_a_damaged_line_is_rejected(change: dict[str, object], reason: RejectReason) -> None:
    found = Reader().decode(json.dumps({**json.loads(recorded("vault.jsonl")[0]), **change}).encode(), None)
    assert isinstance(found, Rejected)
    assert found.reason is reason


@given(
    st.dictionaries(
        st.sampled_from(["auth", "request", "response", "error", "type"]), st.none() | st.text() | st.integers()
    )
)
def test_any_content_is_read_or_refused(content: dict[str, object]) -> None:
    found = Reader().decode(json.dumps({"time": "2026-11-24T00:00:00Z", **content}).encode(), None)
    assert isinstance(found, BackendRecord | Rejected)


def line(path: str, operation: str = "read", *, response: dict[str, object] | None = None, **request: object) -> bytes:
    asked = {"id": "r1", "operation": operation, "path": path, "mount_type": "kv", **request}
    told = {"type": "response", "time": "2026-11-24T00:20:45Z", "auth": {"display_name": "x"}, "request": asked}
    return json.dumps({**told, "response": response if response is not None else {"data": {"a": 1}}}).encode()


KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("path", "mount"), [(f"barbican/data/{KEY}", "cloud/barbican/"), (f"cloud/barbican/data/{KEY}", "cloud/barbican/")]
)
def test_in_a_namespace_path_and_mount_have_its_name_whether_the_log_writes_it_or_not(path: str, mount: str) -> None:
    record = read(line(path, mount_point=mount, namespace={"id": "n", "path": "cloud/"}))
    assert (record.deed, record.mount, record.path) == (Deed.READ, mount, f"cloud/barbican/data/{KEY}")
    root = read(line("sys/policies/acl/x", "update", namespace={"id": "n", "path": "cloud/"}))
    assert (root.deed, root.control) == (Deed.CHANGE, True)


@pytest.mark.parametrize(
    ("path", "deed", "mount"),
    [
        (f"barbican/data/{KEY}", Deed.READ, "barbican/"),
        (f"barbican/metadata/{KEY}", Deed.EXTRACT, "barbican/"),
        (f"team/barbican/{KEY}", Deed.READ, "team/barbican/"),  # version 1
        ("transit/decrypt/k", Deed.OTHER, None),
    ],
)
def test_a_server_that_writes_no_mount_is_understood_by_the_path(path: str, deed: Deed, mount: str | None) -> None:
    record = read(line(path, mount_type=None))
    assert (record.deed, record.mount) == (deed, mount)


def test_a_payload_in_a_wrapped_response_is_read_out_in_a_way_the_key_manager_never_takes() -> None:
    wrapped = read(line(f"barbican/data/{KEY}", mount_point="barbican/", response={"wrap_info": {"ttl": 60}}))
    assert (wrapped.deed, wrapped.result) == (Deed.EXTRACT, Result.OK)
