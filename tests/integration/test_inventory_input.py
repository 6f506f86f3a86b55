"""The inventory as an input: it changes while the daemon runs, reads wait for it, a replay says what the day said."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kmwatch.core.model import SECOND, Micros
from kmwatch.wire.event import iso
from tests.golden.replaying import lines
from tests.support.audit import REQUEST, RESPONSE, START, Json, cadf, envelope
from tests.support.daemon import Config, Daemon, configuration, file_sink, run_kmwatch
from tests.support.keymanager import make_sqlite


def request(number: int, secret: str, *, at: Micros, **changes: object) -> bytes:
    """One payload read by the creator's own token, in two records on one line each, as Kafka has them."""
    initiator: Json = {
        "id": "alice-id", "name": "alice", "credential": {"token": "***", "identity_status": "Confirmed"},
        "host": {"address": "10.30.0.5", "agent": "curl/8"}, "project_id": "p1", "request_id": f"req-{uuid4()}",
    }  # fmt: skip
    said: Json = {
        "eventTime": stamp(at), "initiator": initiator, "id": str(uuid4()),
        "requestPath": f"/v1/secrets/{secret}/payload", **changes,
    }  # fmt: skip
    answered: Json = {**said, "reporterchain": [{"role": "modifier", "reporterTime": stamp(at + 50_000)}]}
    out = b""
    for offset, (event_type, event) in enumerate(((REQUEST, said), (RESPONSE, answered))):
        value = envelope(cadf(event_type, **event)).decode()
        out += json.dumps({"topic": "t", "partition": 0, "offset": 2 * number + offset, "value": value}).encode()
        out += b"\n"
    return out


def stamp(at: Micros) -> str:
    return iso(at).replace("Z", "+0000")


class Cloud:
    """A Key Manager's database, and the audit records of its API in a file that a daemon follows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database, self.records = folder / "barbican.sqlite", folder / "records.jsonl"
        make_sqlite(self.database)
        with closing(sqlite3.connect(self.database)) as db:
            self.project = db.execute("SELECT id FROM projects LIMIT 1").fetchone()[0]
        self.records.touch()
        self.number, self.time = 0, START

    def create(self, secret: str, creator: str = "alice-id") -> None:
        """What a POST leaves in the database; the audit trail shows no id of it."""
        with closing(sqlite3.connect(self.database)) as db, db:
            db.execute(
                "INSERT INTO secrets (id, created_at, updated_at, deleted, status, name, secret_type, creator_id,"
                " project_id) VALUES (?, ?, ?, 0, 'ACTIVE', 'new', 'opaque', ?, ?)",
                (secret, "2026-11-23 20:47:00", "2026-11-23 20:47:00", creator, self.project),
            )

    def read(self, secret: str) -> None:
        """A read, a second of event time after the one before."""
        with self.records.open("ab") as file:
            self.time += SECOND
            file.write(request(self.number, secret, at=self.time))
        self.number += 1

    def pass_time(self, seconds: int) -> None:
        """An ordinary request that much later."""
        self.time += seconds * SECOND
        with self.records.open("ab") as file:
            file.write(request(self.number, "x", at=self.time, requestPath="/v1/secrets", action="read/list"))
        self.number += 1

    def configuration(self, **more: object) -> Config:
        callers = self.folder / "callers.yaml"
        callers.write_text(
            "callers:\n  alice: {users: [{id: alice-id}]}\n"
            "allow:\n  - {id: own-secrets, callers: [alice], secrets: created-by-caller}\n",
            encoding="utf-8",
        )
        inventory = {"database": {"url": f"sqlite:///{self.database}"}, **more}
        source: Config = {"file": {"paths": [str(self.records)], "follow": True}}
        found = configuration(self.folder, source, [file_sink(self.folder)], callers=str(callers), inventory=inventory)
        del found["identities"]
        return found

    def alerts(self, rule: str = "KMW-001") -> list[Any]:
        """The alerts of a rule that the daemon has sent."""
        path = self.folder / "alerts.jsonl"
        found = lines(path.read_bytes()) if path.exists() else []
        return [alert for alert in found if alert["finding_info"]["analytic"]["uid"] == rule]


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def test_a_read_that_came_before_the_reading_is_judged_with_what_the_reading_says(cloud: Cloud) -> None:
    with Daemon(cloud.folder, cloud.configuration(refresh="1s", park="1h")) as daemon:
        daemon.start()
        daemon.wait_until_ready()
        known = daemon.wait_until(lambda status: status.secrets > 0, "the base is known").secrets
        cloud.read("fresh-1")
        cloud.read("never")
        cloud.pass_time(30)
        daemon.wait_until(lambda status: status.account.events.waiting == 2, "both reads wait")
        daemon.kill()  # whoever waits, waits after a restart too
        cloud.create("fresh-1")
        daemon.start()
        daemon.wait_until_ready()
        status = daemon.wait_until(lambda now: now.secrets == known + 1, "the new secret is known")
        cloud.pass_time(30)
        status = daemon.wait_until(lambda now: now.account.events.waiting == 0, "both are judged")
        assert status.account.balanced
        daemon.wait_until(lambda now: sum(sink.delivered for sink in now.account.sinks.values()) > 0, "it was sent")
        assert daemon.terminate() == 0
    told = cloud.alerts()
    assert {alert["unmapped"]["kmwatch"]["reason"] for alert in told} == {"secret_unknown"}
    assert {resource["uid"] for alert in told for resource in alert["resources"]} == {"never"}
    read = run_kmwatch("reads", "-c", str(daemon.config), "--output", "json", "--since", "2026-11-01")
    rows = {row["secret_id"]: row for row in map(json.loads, read.stdout.splitlines())}
    assert (rows["fresh-1"]["explained"], rows["fresh-1"]["declaration"]) == (True, "own-secrets")
    assert rows["never"]["explained"] is None
    replayed(cloud, daemon)


def replayed(cloud: Cloud, daemon: Daemon) -> None:
    """What a replay says of the same records with the store's journal is what the daemon has said."""
    journal, alerts = cloud.folder / "journal.jsonl", cloud.folder / "replayed.jsonl"
    assert run_kmwatch("inventory", "-c", str(daemon.config), "--journal", str(journal)).returncode == 0
    paths = ["--from", str(cloud.records), "--from", str(journal)]
    done = run_kmwatch(
        "replay",
        "-c",
        str(daemon.config),
        *paths,
        "--alerts",
        str(alerts),
        "--events",
        str(cloud.folder / "events.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    said = {alert["metadata"]["uid"] for alert in lines(alerts.read_bytes())}
    sent = {alert["metadata"]["uid"] for alert in lines((cloud.folder / "alerts.jsonl").read_bytes())}
    assert sent <= said  # the end of the input closes what the daemon would still update
    verdicts = {
        event["target"]["id"]: event["verdict"] for event in lines((cloud.folder / "events.jsonl").read_bytes())
    }
    assert verdicts["fresh-1"] == {"explained": True, "reason": "declared", "declaration": "own-secrets"}
    assert verdicts["never"]["reason"] == "secret_unknown"


def test_an_id_that_never_appears_is_told_when_its_time_is_over(cloud: Cloud) -> None:
    """No reading comes in time: the bound alone ends the waiting."""
    with Daemon(cloud.folder, cloud.configuration(refresh="1h", park="2m")) as daemon:
        daemon.start()
        daemon.wait_until_ready()
        cloud.read("never")
        cloud.pass_time(60)
        daemon.wait_until(lambda status: status.account.events.waiting == 1, "the read waits")
        assert daemon.metrics()["kmwatch_events_parked"] == 1
        assert cloud.alerts() == []
        cloud.pass_time(240)
        daemon.wait_until(lambda status: status.account.events.waiting == 0, "it is judged")
        daemon.wait_until(lambda now: sum(sink.delivered for sink in now.account.sinks.values()) > 0, "it was sent")
        assert daemon.terminate() == 0
    assert {alert["unmapped"]["kmwatch"]["reason"] for alert in cloud.alerts()} == {"secret_unknown"}
