from __future__ import annotations

import pytest

from kmwatch.core.path import elements, server_path

PAYLOAD = "/v1/secrets/s/payload"


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (PAYLOAD, PAYLOAD),
        ("//v1/secrets/s/payload", PAYLOAD),
        ("/v1//secrets///s/payload", PAYLOAD),
        ("/v1/./secrets/s/payload", PAYLOAD),
        ("/v1/orders/../secrets/s/payload", PAYLOAD),
        ("/../../v1/secrets/s/payload", PAYLOAD),
        ("/v1/secrets/s/%70ayload", PAYLOAD),
        ("/%76%31/%73ecrets/s/payload", PAYLOAD),
        ("/v1/secrets%2Fs%2fpayload", PAYLOAD),
        ("/v1/x/%2e%2e/secrets/s/payload", PAYLOAD),
        ("http://127.0.0.1:19311/v1/secrets/s/payload", PAYLOAD),
        ("HTTPS://[::1]:9311/v1/secrets/s/payload?x=1", PAYLOAD),
        ("http://host", "/"),
        ("/v1/secrets/s/payload?", PAYLOAD),
        ("/v1/secrets/s/payload%", PAYLOAD),
        ("/v1/secrets/s/payload%7", PAYLOAD),
        ("/v1/secrets/s/%70ayload%?x=%", PAYLOAD),
        ("/v1/secrets/s/payload?/acl", PAYLOAD),
        ("/v1/secrets/s/payload?u=http://x/../..", PAYLOAD),
        ("/v1/secrets/s/payload//", PAYLOAD + "/"),
        ("/v1/secrets/s/payload/.", PAYLOAD + "/"),
        ("/v1/secrets/s/payload/x/..", PAYLOAD + "/"),
        ("/v1/secrets/s/", "/v1/secrets/s/"),
        ("/", "/"),
        ("//", "/"),
        ("", ""),
    ],
)
def test_the_web_server_undoes_a_spelling(sent: str, seen: str) -> None:
    assert server_path(sent) == seen


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("/v1/secrets/s/%2570ayload", "/v1/secrets/s/%70ayload"),
        ("/v1/secrets/s/payload%3Fx", "/v1/secrets/s/payload?x"),
        ("/v1/secrets/s/payload%00", "/v1/secrets/s/payload\x00"),
        ("/v1/secrets/s;x/payload", "/v1/secrets/s;x/payload"),
        ("/v1/secrets/s/%ff", "/v1/secrets/s/�"),
        ("/v1/secrets/s/%zzx", "/v1/secrets/s/\x00x"),
        ("/v1/secrets/s/%u0070ayload", "/v1/secrets/s/\x00070ayload"),
        ("/v1/secrets/s/%%70ayload", "/v1/secrets/s/%70ayload"),
        ("/v1/secrets/s/%7%70ayload", "/v1/secrets/s/%70ayload"),
        ("/v1/secrets/S/payload", "/v1/secrets/S/payload"),
    ],
)
def test_it_decodes_once_and_leaves_the_rest_as_it_is(sent: str, seen: str) -> None:
    assert server_path(sent) == seen


@pytest.mark.parametrize("name", ["payload", "payload/", "payload.json", "payload.TXT", "payload.png", "payload.tgz"])
def test_a_known_extension_and_a_trailing_slash_do_not_count(name: str) -> None:
    assert elements(f"/v1/secrets/s/{name}", served=False) == ["v1", "secrets", "s", "payload"]


@pytest.mark.parametrize("name", ["index", "index/", "index.txt", ""])
def test_index_is_the_object_itself(name: str) -> None:
    assert elements(f"/v1/secrets/s/{name}", served=False) == ["v1", "secrets", "s"]


def test_an_unknown_extension_was_one_only_if_the_request_was_served() -> None:
    assert elements("/v1/secrets/s/payload.zzz", served=False)[-1] == "payload.zzz"
    assert elements("/v1/secrets/s/payload.zzz", served=True)[-1] == "payload"


def test_only_the_last_element_can_have_an_extension() -> None:
    assert elements("/v1/secrets/s.txt/payload.txt", served=True) == ["v1", "secrets", "s.txt", "payload"]


@pytest.mark.parametrize("name", [".json", "..json", "..", "payload."])
def test_a_name_that_is_all_extension_stays(name: str) -> None:
    assert elements(f"/v1/secrets/s/{name}", served=False)[-1] == name


def test_only_one_extension_is_stripped() -> None:
    assert elements("/v1/secrets/s/payload.txt.json", served=True)[-1] == "payload.txt"


def test_the_root_has_no_elements() -> None:
    assert elements("/", served=True) == []
