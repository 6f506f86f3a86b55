"""The daemon and its sinks: reload, heartbeats, an outbox that is full, and a store in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmwatch.condition import Status
from tests.servers.fakes import TOKEN, FakeHec
from tests.servers.kafka import KafkaServer
from tests.support.daemon import Config, Daemon, configuration, file_sink, kafka_source, run_kmwatch
from tests.support.recorded import PARTITIONS, produce, recording
from tests.support.store import outbox
from tests.support.threaded import Threaded


@pytest.fixture
def splunk() -> Iterator[Threaded[FakeHec]]:
    """A collector that is not listening yet."""
    with Threaded(FakeHec()) as receiver:
        yield receiver


def records(folder: Path) -> Config:
    """The recording as a file that is followed: the daemon stays when it has read it."""
    path = folder / "records.jsonl"
    given = [{"topic": "t", "partition": 0, "offset": n, "value": r.value.decode()} for n, r in enumerate(recording())]
    path.write_text("".join(json.dumps(record) + "\n" for record in given))
    return {"file": {"paths": [str(path)], "follow": True}}


def is_judged(status: Status) -> bool:
    """All is read, and nothing waits for its turn: no line will come any more, but for closing ones an hour later."""
    account = status.account
    return account.records.consumed == len(recording()) and account.records.waiting == 0


def hec(splunk: Threaded[FakeHec], token: str, **more: object) -> Config:
    return {"name": "splunk", "splunk_hec": {"url": splunk.receiver.url, "token": token}, "required": False, **more}


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def beats_of(path: Path) -> list[Any]:
    """What the heartbeats among the lines of a file tell."""
    return [line["unmapped"]["kmwatch"] for line in lines_of(path) if line["class_uid"] == 6002]


def rewrite(daemon: Daemon, config: Config) -> None:
    daemon.config.write_text(json.dumps({**config, "http": {"listen": f"127.0.0.1:{daemon.port}"}}))


def reload(daemon: Daemon, event: str, times: int) -> None:
    daemon.send(signal.SIGHUP)
    daemon.wait_until(lambda _: sum(line.event == event for line in daemon.log()) == times, f"{event} {times} times")


def test_a_reload_takes_sinks_and_credentials_keeps_what_waits_and_keeps_the_last_good_one(
    tmp_path: Path, splunk: Threaded[FakeHec]
) -> None:
    token = tmp_path / "token"
    token.write_text("wrong\n")
    base = configuration(tmp_path, records(tmp_path), [file_sink(tmp_path), hec(splunk, f"file:{token}")])
    splunk.start()
    with Daemon(tmp_path, base) as daemon:
        daemon.start()
        daemon.wait_until(
            lambda s: is_judged(s) and any(sink.state == "paused" for sink in s.sinks), "the token is refused"
        )
        waiting = daemon.status().account.sinks["splunk"].pending
        assert waiting == len(outbox(tmp_path / "kmwatch.db")) > 10

        rewrite(daemon, {**base, "sinks": [{"name": "splunk", "splunk_hec": {"url": "nonsense"}}]})
        reload(daemon, "reload_failed", 1)
        assert {sink.name for sink in daemon.status().sinks} == {"archive", "splunk"}
        assert daemon.metrics()["kmwatch_config_last_reload_success"] == 0

        token.write_text(f"{TOKEN}\n")  # nothing else changes: the credential is read anew
        other = {"name": "other", "file": {"path": str(tmp_path / "other.jsonl")}, "detections": ["KMW-001"]}
        rewrite(daemon, {**base, "sinks": [hec(splunk, f"file:{token}"), other]})
        reload(daemon, "reloaded", 1)
        status = daemon.wait_until(lambda s: s.account.sinks["splunk"].pending == 0, "what waited is delivered")
        assert [sink.name for sink in status.sinks] == ["splunk", "other"]
        assert daemon.metrics()["kmwatch_config_last_reload_success"] == 1
        assert daemon.terminate() == 0
        text = daemon.output()
    assert set(splunk.receiver.received) == {line.line for line in outbox(tmp_path / "kmwatch.db")}
    assert TOKEN not in text
    assert "wrong" not in text


def test_a_heartbeat_reaches_the_sinks_that_want_it_and_tells_the_account(tmp_path: Path) -> None:
    wanted: Config = {"name": "beats", "file": {"path": str(tmp_path / "beats.jsonl")}, "heartbeat": "1s"}
    config = configuration(tmp_path, records(tmp_path), [wanted, file_sink(tmp_path)])
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        daemon.wait_until(is_judged, "all is judged")
        told = len(beats_of(tmp_path / "beats.jsonl"))
        daemon.wait_until(lambda _: len(beats_of(tmp_path / "beats.jsonl")) == told + 2, "heartbeats come")
        assert daemon.terminate() == 0
    own = beats_of(tmp_path / "beats.jsonl")[-1]
    assert (own["consumed"], own["joined"], own["waiting"]) == (len(recording()), len(recording()), 0)
    assert own["balanced"]
    assert own["ready"]
    seen = {witness["name"]: witness["last_seen"] for witness in own["witnesses"]}
    assert seen["cadf"].startswith("2026-")
    assert all(line["class_uid"] == 2004 for line in lines_of(tmp_path / "alerts.jsonl"))


def test_a_standby_sends_no_heartbeat_until_it_takes_over(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = asyncio.run(kafka.create_topic(partitions=1))
    configs = [
        configuration(
            tmp_path,
            kafka_source(kafka.bootstrap, topic),
            [{"name": "beats", "file": {"path": str(tmp_path / f"{who}.jsonl")}, "heartbeat": "1s"}],
        )
        for who in ("first", "second")
    ]
    with Daemon(tmp_path, configs[0], name="first") as first, Daemon(tmp_path, configs[1], name="second") as second:
        first.start()
        first.wait_until_ready()
        second.start()
        second.wait_until_serving()
        began = len(lines_of(tmp_path / "first.jsonl"))
        first.wait_until(lambda _: len(lines_of(tmp_path / "first.jsonl")) >= began + 3, "the active one tells")
        assert lines_of(tmp_path / "second.jsonl") == []
        assert first.terminate() == 0
        second.wait_until(lambda _: bool(lines_of(tmp_path / "second.jsonl")), "the other one tells")
        assert second.terminate() == 0
    told = [line["unmapped"]["kmwatch"]["ready"] for line in lines_of(tmp_path / "second.jsonl")]
    assert all(told)


def test_a_full_outbox_holds_the_partitions_keeps_the_membership_and_says_so(
    kafka: KafkaServer, tmp_path: Path, splunk: Threaded[FakeHec]
) -> None:
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    names = [f"splunk-{number}" for number in range(1, 9)]  # each line counts for each of them
    sinks = [{**hec(splunk, TOKEN, required=True), "name": name} for name in names]
    config = configuration(tmp_path, kafka_source(kafka.bootstrap, topic), sinks, limits={"outbox": 100})
    alerts = recording()
    most = len(alerts) * 9 // 10
    asyncio.run(produce(kafka, topic, alerts[:most]))
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        daemon.wait_for_log("outbox_full")
        asyncio.run(produce(kafka, topic, alerts[most:]))
        ready = daemon.get("/readyz")
        assert ready is not None
        assert ready.status == 503
        assert b"outbox full" in ready.body
        held = daemon.status().account.records.consumed
        daemon.wait_until(lambda s: sum(s.lag.values()) > 0, "the group is still ours and lags")
        assert daemon.status().active
        assert daemon.status().account.records.consumed == held
        splunk.start()
        daemon.wait_until(
            lambda s: (
                s.account.records.consumed == len(alerts)
                and sum(s.lag.values()) == 0
                and all(s.account.sinks[name].pending == 0 for name in names)
            ),
            "all is read and delivered",
        )
        daemon.wait_until_ready()
        assert daemon.terminate() == 0
    assert set(splunk.receiver.received) == {line.line for line in outbox(tmp_path / "kmwatch.db")}


def test_a_disk_that_is_full_is_told_and_nothing_is_skipped(kafka: KafkaServer, tmp_path: Path) -> None:
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    config = configuration(tmp_path, kafka_source(kafka.bootstrap, topic), [file_sink(tmp_path)])
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        daemon.wait_until_ready()
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        asyncio.run(produce(kafka, topic, recording()))
        line = daemon.wait_for_log("store_failed")
        assert "nothing is lost" in line.error
        ready = daemon.get("/readyz")
        assert ready is not None
        assert ready.status == 503
        daemon.kill()
        resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE)  # ours was never changed
        daemon.start()
        daemon.wait_until(lambda s: s.account.records.consumed == len(recording()), "a restart reads it all")
        daemon.wait_until(lambda s: s.account.sinks["archive"].pending == 0, "and delivers")
        assert daemon.status().account.balanced
        assert daemon.terminate() == 0


def test_a_store_that_is_damaged_ends_the_daemon_with_what_to_do_and_a_backup_goes_on(
    kafka: KafkaServer, tmp_path: Path
) -> None:
    topic = asyncio.run(kafka.create_topic(partitions=PARTITIONS))
    config = configuration(tmp_path, kafka_source(kafka.bootstrap, topic), [file_sink(tmp_path)])
    half = len(recording()) // 2
    store = tmp_path / "kmwatch.db"
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        asyncio.run(produce(kafka, topic, recording()[:half]))
        daemon.wait_until(lambda s: s.account.records.consumed == half, "half is read")
        assert daemon.terminate() == 0  # which folds the write-ahead log into the file
        backup = store.read_bytes()
        store.write_bytes(backup[:4096] + os.urandom(len(backup) - 4096))
        asyncio.run(produce(kafka, topic, recording()[half:]))
        daemon.start()
        assert daemon.wait() == 3
        assert "restore a backup" in daemon.output() or "cannot open the store" in daemon.output()
        for file in tmp_path.glob("kmwatch.db*"):
            file.unlink()
        store.write_bytes(backup)
        daemon.start()
        daemon.wait_until(lambda s: s.account.records.consumed == len(recording()), "it goes on where the backup was")
        assert daemon.terminate() == 0
    assert {line["metadata"]["uid"] for line in lines_of(tmp_path / "alerts.jsonl")} == {
        line.line for line in outbox(store)
    }


def test_dead_letters_are_sent_again_by_a_running_daemon(tmp_path: Path, splunk: Threaded[FakeHec]) -> None:
    splunk.receiver.fault = "413"
    splunk.start()
    config = configuration(tmp_path, records(tmp_path), [hec(splunk, TOKEN)])
    with Daemon(tmp_path, config) as daemon:
        daemon.start()
        status = daemon.wait_until(
            lambda s: is_judged(s) and s.account.sinks["splunk"].pending == 0, "all is judged, and dead"
        )
        dead = status.account.sinks["splunk"].dead
        assert dead == len(outbox(tmp_path / "kmwatch.db")) > 10
        splunk.receiver.fault = None
        listed = run_kmwatch("outbox", "-c", str(daemon.config), "--output", "json").stdout.splitlines()
        assert len(listed) == dead
        assert all(json.loads(line)["state"] == "dead" for line in listed)
        assert run_kmwatch("outbox", "-c", str(daemon.config), "retry").returncode == 0
        daemon.wait_until(
            lambda s: s.account.sinks["splunk"].delivered == dead and s.account.sinks["splunk"].pending == 0,
            "they are delivered",
        )
        assert daemon.status().account.balanced
        assert daemon.terminate() == 0
    assert set(splunk.receiver.received) == {line.line for line in outbox(tmp_path / "kmwatch.db")}
