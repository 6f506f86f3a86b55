"""No credential that a daemon holds, and no token that a record carries, is found anywhere it writes or says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from kmwatch.telemetry.http import HttpServer
from tests.servers.ports import free_port
from tests.support.daemon import RECORDING, Daemon, configuration, file_sink, run_kmwatch

CANARIES = {
    "HEC": "canary-hec-6f1d8c22",
    "HOOK": "whsec_Y2FuYXJ5LWhvb2stOWQxZjIyMTEtYW5kLW1vcmU=",
    "SEARCH": "canary-search-77ab01",
    "HTTP": "canary-http-token-5510fe",
    "IN_URL": "canary-in-url-0c9e",
    "IN_RECORD": "gAAAAABcanary-keystone-token-31c7",
}


def settings(folder: Path) -> dict[str, object]:
    """Every kind of credential, in the environment and to receivers that refuse connections."""
    nobody = f"127.0.0.1:{free_port()}"
    sinks: list[dict[str, object]] = [
        file_sink(folder),
        {"name": "splunk", "splunk_hec": {"url": f"https://{nobody}", "token": "${HEC}"}},
        {"name": "hook", "webhook": {"url": f"https://{nobody}/${{IN_URL}}", "secret": "${HOOK}"}},
        {
            "name": "search",
            "opensearch": {"url": f"https://{nobody}", "data_stream": "x", "username": "u", "password": "${SEARCH}"},
        },
    ]
    source: dict[str, object] = {"file": {"paths": [str(folder / "records.jsonl")], "follow": True}}
    return configuration(folder, source, sinks)


def records(folder: Path) -> int:
    """Real records, and ones that are damaged and carry a token."""
    token = CANARIES["IN_RECORD"]
    bad = [
        json.dumps({"event_type": "audit.http.request", "payload": {"X-Auth-Token": token}}),
        json.dumps({"oslo.message": json.dumps({"auth_token": token, "event_type": "audit.http.request"})}),
        f'{{"X-Auth-Token: {token}',
    ]
    with gzip.open(RECORDING / "cadf.jsonl.gz", "rt", encoding="utf-8") as recorded:
        real = recorded.read().splitlines()
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in (*bad, *real)), encoding="utf-8")
    return len(bad) + len(real)


def told(text: str) -> list[str]:
    """The names of the canaries in a text."""
    return [name for name, canary in CANARIES.items() if canary in text]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir()
    return place


def test_nothing_secret_reaches_logs_metrics_status_alerts_or_the_store(folder: Path) -> None:
    config = settings(folder)
    number = records(folder)
    with Daemon(folder, config) as daemon:
        with_token = json.loads(daemon.config.read_text())
        with_token["log"] = {"level": "debug"}
        daemon.config.write_text(json.dumps(with_token))
        daemon.start(environment=CANARIES)
        daemon.wait_until(lambda status: status.account.records.consumed == number, "all is read")
        daemon.wait_until(
            lambda status: all(sink.attempts for sink in status.sinks if sink.name != "archive"), "each sink has failed"
        )
        said = {
            path: answer.body.decode() for path in ("/metrics", "/status", "/readyz") if (answer := daemon.get(path))
        }
        daemon.terminate()
        said["log"] = daemon.log_file.read_text(encoding="utf-8")
    for path in sorted(folder.iterdir()):
        if path.name != "records.jsonl":
            said[path.name] = path.read_bytes().decode("latin-1")
    assert "delivery_failed" in said["log"]
    assert "kmwatch.db" in said
    assert {where: told(text) for where, text in said.items() if told(text)} == {}


def test_nothing_secret_is_said_of_a_configuration_that_is_wrong(folder: Path) -> None:
    """Values from files stand in the configuration's own text: errors name the place, never the value."""
    wrong = json.loads(json.dumps(settings(folder)))
    wrong["http"] = {"listen": "127.0.0.1:1", "token": CANARIES["HTTP"] + " with spaces"}
    wrong["sinks"][1]["splunk_hec"] = {"url": f"https://u:{CANARIES['IN_URL']}@splunk", "token": CANARIES["HEC"]}
    wrong["sinks"][2]["webhook"] = {"url": "https://h/", "secret": CANARIES["SEARCH"]}
    wrong["sinks"][3] = {"name": "x"}
    path = folder / "wrong.json"
    path.write_text(json.dumps(wrong), encoding="utf-8")
    done = run_kmwatch("check", "-c", str(path))
    assert done.returncode == 1
    assert done.stderr.count("\n") >= 3
    assert told(done.stderr + done.stdout) == []


def test_nothing_secret_is_said_when_it_crashes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault of ours ends with a trace: of code, without the values that were at hand."""
    from kmwatch.cli import main  # noqa: PLC0415

    config = settings(folder)
    config["http"] = {"listen": f"127.0.0.1:{free_port()}", "token": "${HTTP}"}
    path = folder / "kmwatch.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    (folder / "records.jsonl").touch()
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)

    def crash(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(HttpServer, "start", crash)
    assert main(["run", "-c", str(path)]) == 3
    said = capsys.readouterr()
    assert "please report it" in said.err
    assert "ZeroDivisionError" in said.err
    assert told(said.err + said.out) == []


def test_whatever_it_writes_is_for_its_own_user_alone(folder: Path) -> None:
    config = settings(folder)
    number = records(folder)
    with Daemon(folder, config) as daemon:
        daemon.start(environment=CANARIES)
        daemon.wait_until(lambda status: status.account.records.consumed == number, "all is read")
        daemon.wait_until(lambda status: status.account.sinks["archive"].delivered > 0, "an alert is written")
        modes = {
            path.name: oct(path.stat().st_mode & 0o777)
            for path in folder.iterdir()
            if path.name not in ("records.jsonl", "kmwatch.yaml", "kmwatch.log")
        }
    assert {"kmwatch.db", "alerts.jsonl"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}, modes
