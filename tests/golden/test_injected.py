"""A recording in which a client writes into the web server's log (data/injected): every read of theirs is told of."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kmwatch.config.load import load
from tests.golden.replaying import Replayed, lines, run

INJECTED = Path(__file__).parent / "data" / "injected"
LOGS = ("cadf.jsonl.gz", "service.log.gz", "haproxy.log.gz", "uwsgi.log.gz")
THIEF = "127.66.9.9"


def replayed(folder: Path, *, proxy_log: bool) -> Replayed:
    shutil.copytree(INJECTED, folder, dirs_exist_ok=True)
    settings = folder / "kmwatch.yaml"
    if not proxy_log:
        text = settings.read_text(encoding="utf-8")
        text = text[: text.index("proxy_log:\n")].replace("proxy_log: expected", "proxy_log: absent")
        settings.write_text(text, encoding="utf-8")
    paths = [folder / name for name in LOGS if proxy_log or name != "haproxy.log.gz"]
    return asyncio.run(run(load(settings, {}), paths, folder))


@pytest.fixture(scope="module")
def labels() -> list[Any]:
    return lines((INJECTED / "labels.jsonl").read_bytes())


def thefts(told: Replayed, labels: list[Any]) -> set[str]:
    """The ids of the seven reads: Octavia's from the first one on, for not all of their answers could be read."""
    events = {
        event["request_id"]: event for event in lines(told.events) if event["initiator"]["user_name"] == "octavia"
    }
    first = next(label["request_id"] for label in labels if label["attack"])
    began = events[first]["event_time"]
    return {event["event_id"] for event in events.values() if event["event_time"] >= began}


def cited(told: Replayed) -> set[str]:
    return {uid for alert in lines(told.alerts) for uid in alert["unmapped"]["kmwatch"]["event_ids"]}


def test_with_all_logs_every_read_of_the_thief_is_cited_and_no_ordinary_request(
    tmp_path: Path, labels: list[Any]
) -> None:
    told = replayed(tmp_path, proxy_log=True)
    stolen = thefts(told, labels)
    assert len(stolen) == len([label for label in labels if label["attack"]]) == 7
    assert stolen <= cited(told)
    ordinary = {f"api:{label['request_id']}" for label in labels if not label["attack"]}
    assert not ordinary & cited(told)
    reasons = {alert["unmapped"]["kmwatch"]["reason"] for alert in lines(told.alerts)}
    assert {"past_proxy", "unseen_by_proxy"} <= reasons


def test_without_the_proxys_log_the_beginning_of_each_broken_line_names_the_thief(
    tmp_path: Path, labels: list[Any]
) -> None:
    told = replayed(tmp_path, proxy_log=False)
    broken = [event for event in lines(told.events) if "line_doubtful" in event["flags"]]
    assert len(broken) == 5
    assert {(event["initiator"]["address"], event["outcome"]) for event in broken} == {(THIEF, "unknown")}
    assert any(event["event_id"] in cited(told) for event in broken)
    where = {
        json.dumps(evidence.get("src_endpoint"))
        for alert in lines(told.alerts)
        for evidence in alert.get("evidences", ())
        if alert["finding_info"]["analytic"]["uid"] == "KMW-024"
    }
    assert any(THIEF in endpoint for endpoint in where)
    ordinary = {f"api:{label['request_id']}" for label in labels if not label["attack"]}
    assert not ordinary & cited(told)
