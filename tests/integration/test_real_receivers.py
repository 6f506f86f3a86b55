"""Receivers that can run here for real, beside rsyslog and Kafka: syslog-ng, Alertmanager, OpenSearch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kmwatch.core.model import Finding, Severity
from kmwatch.ports import ConfigurationError, PartialError, PermanentError, SinkError, TransientError
from kmwatch.sinks.opensearch import OpenSearchSink
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.wire.ecs import to_ecs
from kmwatch.wire.leef import to_leef
from kmwatch.wire.ocsf import to_ocsf
from tests.servers.alertmanager import Alertmanager
from tests.servers.opensearch import OpenSearch
from tests.servers.syslog_ng import SyslogNg
from tests.support import httpsinks
from tests.support.findings import beat, finding, hostile

# --------------------------------------------------------------------------------------------------------- syslog-ng


@pytest.fixture
def syslog_ng(tmp_path: Path) -> Iterator[SyslogNg]:
    with SyslogNg(tmp_path) as server:
        yield server


@pytest.mark.parametrize("form", ["ocsf", "leef"])
async def test_syslog_ng_takes_hostile_alerts_over_mutual_tls_octet_for_octet(syslog_ng: SyslogNg, form: str) -> None:
    alerts = [hostile(1), hostile(2, "\n<14>1 forged\n" * 20), hostile(3, '"]\\' * 200), finding(4), beat(5)]
    sink = SyslogSink(
        "siem", syslog_ng.address, format=form, ca=syslog_ng.ca, cert=syslog_ng.client_cert, key=syslog_ng.client_key,
        max_bytes=60_000,
    )  # fmt: skip
    await sink.send(alerts)
    await sink.close()
    messages = await syslog_ng.wait_for({alert.line_uid for alert in alerts})
    assert [message.line for message in messages] == [alert.line_uid for alert in alerts]
    assert {message.program for message in messages} == {"kmwatch"}
    bodies = [to_ocsf(alert).decode() if form == "ocsf" else to_leef(alert) for alert in alerts]
    assert [message.message for message in messages] == bodies


async def test_syslog_ng_refuses_a_client_without_a_certificate(syslog_ng: SyslogNg) -> None:
    sink = SyslogSink("siem", syslog_ng.address, ca=syslog_ng.ca)
    with pytest.raises(ConfigurationError, match="check cert, key"):
        await sink.send([finding()])
    await sink.close()


# ------------------------------------------------------------------------------------------------------ Alertmanager


async def test_alertmanager_fires_once_for_each_rule_and_severity(tmp_path: Path) -> None:
    findings = [
        finding(1), hostile(2), replace(finding(3), severity=Severity.CRITICAL), replace(finding(4), rule="KMW-005"),
    ]  # fmt: skip
    with Alertmanager(tmp_path) as server:
        sink = httpsinks.alertmanager(server.url)
        await sink.send(findings)
        await sink.send(findings)  # a repetition changes nothing
        await sink.close()
        alerts = await asyncio.to_thread(server.alerts)
    fired = {(alert["labels"]["rule"], alert["labels"]["severity"]) for alert in alerts}
    assert fired == {("KMW-001", "high"), ("KMW-001", "critical"), ("KMW-005", "high")}
    assert len(alerts) == 3
    assert {alert["status"]["state"] for alert in alerts} == {"active"}
    assert {alert["annotations"]["line"] for alert in alerts} == {"line-2", "line-3", "line-4"}  # the latest of each


# -------------------------------------------------------------------------------------------------------- OpenSearch


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    with OpenSearch(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


def sink_for(search: OpenSearch, stream: str, form: str = "ecs") -> OpenSearchSink:
    return OpenSearchSink("search", httpsinks.client(search.url), search.url, stream, format=form)


@pytest.mark.parametrize("form", ["ecs", "ocsf"])
async def test_opensearch_has_each_line_once_however_often_it_is_sent(search: OpenSearch, form: str) -> None:
    stream = f"findings-{form}"
    await search.make_data_stream(stream)
    alerts: list[Finding] = [finding(number, citations=3) for number in range(1, 21)] + [hostile(21), beat(1)]
    sink = sink_for(search, stream, form)
    for _ in range(2):
        await sink.send(alerts)
    await sink.close()
    documents = {document["_id"]: document["_source"] for document in await search.documents(stream)}
    assert set(documents) == {alert.line_uid for alert in alerts}
    assert all("@timestamp" in document for document in documents.values())


async def test_opensearch_keeps_a_document_as_it_was_sent(search: OpenSearch) -> None:
    await search.make_data_stream("findings-exact")
    sink = sink_for(search, "findings-exact")
    await sink.send([hostile(1)])
    await sink.close()
    (document,) = await search.documents("findings-exact")
    assert document["_source"] == json.loads(to_ecs(hostile(1)))


async def test_opensearch_refuses_one_document_and_takes_the_others(search: OpenSearch) -> None:
    """A mapping that a finding does not fit: what speaks of the document is dead, the rest is accepted."""
    name = "findings-strict"
    body = {
        "index_patterns": [name],
        "data_stream": {},
        "template": {"mappings": {"properties": {"message": {"type": "date"}}}},
    }
    await search._ask("PUT", f"/_index_template/{name}", body)
    sink = sink_for(search, name)
    good = replace(finding(2), message="2026-11-23T23:51:59Z")
    with pytest.raises(PartialError) as caught:
        await sink.send([finding(1), good, finding(3)])
    await sink.close()
    assert set(caught.value.refused) == {0, 2}
    assert "mapper_parsing_exception" in caught.value.refused[0]
    assert [document["_id"] for document in await search.documents(name)] == ["line-2"]


async def test_opensearch_without_the_data_stream_pauses_the_sink(search: OpenSearch) -> None:
    sink = sink_for(search, "elsewhere")
    with pytest.raises(SinkError) as caught:
        await sink.send([finding(1), finding(2)])
    await sink.close()
    cause = caught.value.cause if isinstance(caught.value, PartialError) else caught.value
    assert isinstance(cause, ConfigurationError)
    assert not isinstance(caught.value, PermanentError | TransientError)
