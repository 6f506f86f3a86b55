"""What the configuration says of a source's lines decides how they are read, in `run` and in `replay`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmwatch.cli import main
from tests.support.audit import RECORDING

ID, OTHER = "req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e", "req-b5f4c297-aef2-4ab4-814f-b8dc78ab301e"
HAPROXY = (
    "127.0.1.101:32957 [23/Nov/2026:20:47:51.006] front back/srv 0/0/0/600/600 200 290 - - ---- 3/2/2/2/0 0/0 "
    '{{{}}} {{{}}} "GET /v1/secrets HTTP/1.1"'
)


def service(hour: int, request_id: str) -> str:
    return (
        f"2026-11-23 {hour}:47:51.606 32595 INFO barbican.api.middleware.context [None {request_id} u p - - default "
        "default] Processed request: 200 OK - GET http://h/v1/secrets"
    )


def events(folder: Path, sources: list[object], *arguments: str, **more: object) -> list[dict[str, object]]:
    settings = {
        "sources": sources,
        "witnesses": {"cadf": "absent", "service_log": "required", "proxy_log": "expected"},
        "callers": str(RECORDING / "callers.yaml"),
        "store": {"sqlite": {"path": str(folder / "kmwatch.db")}},
        "sinks": [{"name": "archive", "file": {"path": str(folder / "alerts.jsonl")}}],
    }
    (folder / "kmwatch.yaml").write_text(json.dumps(settings | more))
    assert main(["replay", "-c", str(folder / "kmwatch.yaml"), "--events", str(folder / "out"), *arguments]) == 0
    return [json.loads(line) for line in (folder / "out").read_text().split("\n")[:-1]]


def written(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def test_each_source_has_its_own_zone(tmp_path: Path) -> None:
    berlin = written(tmp_path / "berlin.log", service(21, ID))
    utc = written(tmp_path / "utc.log", service(20, OTHER))
    got = events(tmp_path, [{"file": {"paths": [berlin]}, "zone": "Europe/Berlin"}, {"file": {"paths": [utc]}}])
    assert {str(one["event_time"])[:19] for one in got} == {"2026-11-23T20:47:51"}
    assert len(got) == 2


def test_a_replay_of_other_files_has_the_zone_that_all_sources_have(tmp_path: Path) -> None:
    log = written(tmp_path / "berlin.log", service(21, ID))
    sources: list[object] = [{"file": {"paths": [log]}, "zone": "Europe/Berlin"}]
    (one,) = events(tmp_path, sources, "--from", log)
    assert str(one["event_time"])[:19] == "2026-11-23T20:47:51"


def test_a_source_with_a_form_rejects_what_is_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = written(tmp_path / "mixed.log", service(20, ID), HAPROXY.format("curl", OTHER))
    events(tmp_path, [{"file": {"paths": [log]}, "form": "oslo_text"}])
    assert "1 rejected" in capsys.readouterr().err


def test_declared_captures_tell_the_request_of_a_proxys_line(tmp_path: Path) -> None:
    log = written(tmp_path / "service.log", service(20, ID))
    proxy = written(tmp_path / "haproxy.log", HAPROXY.format("curl/8|text/plain", f"1|{ID}"))
    captures = {
        "request_captures": ["User-Agent", "Accept"],
        "response_captures": ["X-Served", "X-Openstack-Request-Id"],
    }
    (one,) = events(tmp_path, [{"file": {"paths": [log, proxy]}}], proxy_log=captures)
    assert one["request_id"] == ID
    assert one["seen_in"] == ["service_log", "proxy_log"]
