"""The bundled recording as records to produce: by partition, in the recorded order, and in copies."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, cast

import msgspec

from tests.servers.kafka_client import KafkaClient
from tests.support.daemon import RECORDING, Config, run_kmwatch

PARTITIONS = 4
_Json = dict[str, "str | _Json | list[_Json]"]


class Recorded(NamedTuple):
    """A record, and the partition it stood on."""

    partition: int
    value: bytes


LATER = timedelta(minutes=5)
_REQUEST_ID = re.compile(rb"req-[0-9a-f-]{36}")


class Alert(NamedTuple):
    """What tests compare of an alert's line."""

    line: str
    rule: str
    activity: int  # 1 create, 2 update, 3 close


class Reference(NamedTuple):
    """What `kmwatch replay` says of records."""

    alerts: list[Alert]
    events: int

    def lines(self) -> set[str]:
        """Ids of create and update lines: those of close come with time, which a replay brings to its end."""
        return {alert.line for alert in self.alerts if alert.activity != 3}


class _Line(msgspec.Struct):
    partition: int
    value: str


class _Analytic(msgspec.Struct):
    uid: str


class _Info(msgspec.Struct):
    analytic: _Analytic


class _Metadata(msgspec.Struct):
    uid: str


class _Finding(msgspec.Struct):
    activity_id: int
    finding_info: _Info
    metadata: _Metadata


def recording() -> list[Recorded]:
    """All records in the order they were recorded, and one ordinary request some minutes later.

    Updates of findings may be held back for a minute of event time; that request brings it, so that what a daemon sends
    does not depend on how long it is left running.
    """
    with gzip.open(RECORDING / "cadf.jsonl.gz") as lines:
        found = [msgspec.json.decode(line, type=_Line) for line in lines]
    records = [Recorded(line.partition, line.value.encode()) for line in found]
    return [*records, *later(records[0], records)]


def later(first: Recorded, records: Iterable[Recorded]) -> list[Recorded]:
    """The audit records of one request once more, as of another one some minutes later."""
    found = _REQUEST_ID.findall(first.value)[0]
    same = [record for record in records if found in record.value and record.value.startswith(b'{"oslo.')]
    return [_copy(record, 10**6, -LATER) for record in same]


def copies(number: int, apart: timedelta = timedelta(days=2)) -> list[list[Recorded]]:
    """The recording that many times, oldest first: other requests, `apart` from each other, the last as recorded."""
    original = recording()
    return [
        *([_copy(record, back, back * apart) for record in original] for back in range(number - 1, 0, -1)),
        original,
    ]


def halves_apart(records: Iterable[Recorded]) -> list[Recorded]:
    """The same records with requests on partitions 0 and 1, and their responses on 2 and 3."""
    return [Recorded(r.partition % 2 + (0 if b"audit.http.request" in r.value else 2), r.value) for r in records]


async def produce(kafka: KafkaClient, topic: str, records: Sequence[Recorded]) -> None:
    """Produce to each partition what stood there, in order."""
    by_partition: dict[int, list[bytes]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record.value)
    await asyncio.gather(*(kafka.produce(topic, partition, values) for partition, values in by_partition.items()))


def replayed(folder: Path, config: Config, records: Sequence[Recorded]) -> Reference:
    """What `kmwatch replay` makes of the records under a daemon's configuration."""
    folder.mkdir(exist_ok=True)
    given, alerts, events = folder / "records.jsonl", folder / "alerts.jsonl", folder / "events.jsonl"
    (folder / "replay.yaml").write_bytes(msgspec.json.encode(config))
    given.write_text(
        "".join(
            json.dumps({"topic": "t", "partition": r.partition, "offset": n, "value": r.value.decode()}) + "\n"
            for n, r in enumerate(records)
        )
    )
    arguments = ("--from", str(given), "--alerts", str(alerts), "--events", str(events))
    done = run_kmwatch("replay", "-c", str(folder / "replay.yaml"), *arguments)
    assert done.returncode == 0, done.stderr
    return Reference(alerts_in(alerts), len(events.read_bytes().splitlines()))


def alerts_in(path: Path) -> list[Alert]:
    """The alerts of a file of OCSF lines, in the order of the file; none if there is no file yet."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = [msgspec.json.decode(line, type=_Finding) for line in lines]
    return [Alert(f.metadata.uid, f.finding_info.analytic.uid, f.activity_id) for f in found]


def _copy(record: Recorded, number: int, back: timedelta) -> Recorded:
    return Recorded(record.partition, _altered(record.value, number, back))


def _altered(value: bytes, number: int, back: timedelta) -> bytes:
    outer = json.loads(value)
    inner = json.loads(outer["oslo.message"])
    payload = cast("_Json", inner["payload"])
    payload["id"] = _other(str(payload["id"]), number)
    payload["eventTime"] = _earlier(str(payload["eventTime"]), back)
    initiator = cast("_Json", payload["initiator"])
    if "request_id" in initiator:
        initiator["request_id"] = "req-" + _other(str(initiator["request_id"]), number)
    for reporter in cast("list[_Json]", payload.get("reporterchain", [])):
        reporter["reporterTime"] = _earlier(str(reporter["reporterTime"]), back)
    outer["oslo.message"] = json.dumps(inner)
    return json.dumps(outer).encode()


def _other(text: str, number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{number} {text}"))


def _earlier(text: str, back: timedelta) -> str:
    return (datetime.fromisoformat(text) - back).strftime("%Y-%m-%dT%H:%M:%S.%f%z")
