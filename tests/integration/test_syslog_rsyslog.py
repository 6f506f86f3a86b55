from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from kmwatch.ports import ConfigurationError, TransientError
from kmwatch.sinks.syslog import SyslogSink
from kmwatch.sinks.window import WindowLimits
from kmwatch.wire.cef import to_cef
from kmwatch.wire.escape import visible
from kmwatch.wire.ocsf import to_ocsf
from tests.servers.rsyslog import Received, Rsyslog, line_id
from tests.support.findings import HOSTILE, finding, hostile

LARGE = 60_000


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Rsyslog]:
    with Rsyslog(tmp_path) as server:
        yield server


def ids(messages: list[Received]) -> list[str]:
    return [line_id(message) for message in messages if line_id(message)]


async def test_hostile_alerts_arrive_over_tls_octet_for_octet(receiver: Rsyslog) -> None:
    alerts = [
        hostile(1),
        hostile(2, HOSTILE + "\ud800"),
        hostile(3, "é中🔑" * 300),
        hostile(4, '"]\\' * 200),
        hostile(5, "\n<14>1 - - - - - - forged\n" * 20),
    ]
    sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, max_bytes=LARGE)
    await sink.send(alerts)
    await sink.close()
    messages = await receiver.wait_for({alert.line_uid for alert in alerts})
    assert ids(messages) == [alert.line_uid for alert in alerts]
    assert {message.via for message in messages} == {"tls"}
    for alert, message in zip(alerts, messages, strict=True):
        assert message.msg.encode() == to_ocsf(alert)


async def test_rsyslog_parses_the_structured_data_as_it_was_meant(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, max_bytes=LARGE)
    await sink.send([hostile()])
    await sink.close()
    (message,) = await receiver.wait_for({"line-1"})
    assert isinstance(message.data, dict)
    params = message.data["kmwatch@32473"]
    assert params["user"] == params["secret"] == visible(HOSTILE, 128)
    assert params["rule"] == "KMW-001"


async def test_cef_arrives_as_written(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tcp, format="cef", max_bytes=LARGE)
    await sink.send([hostile()])
    await sink.close()
    (message,) = await receiver.wait_for({"line-1"})
    assert message.msg == to_cef(hostile())


async def test_nothing_acknowledged_is_lost_when_the_receiver_is_killed_and_comes_back(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, max_bytes=LARGE)
    acknowledged: list[str] = []
    for number in range(1, 61):
        if number in {20, 40}:
            receiver.kill()
            receiver.start()
        alert = finding(number)
        while alert.line_uid not in acknowledged:
            try:
                await sink.send([alert])
                acknowledged.append(alert.line_uid)
            except TransientError:
                await asyncio.sleep(0.05)
    assert len(acknowledged) == 60
    await receiver.wait_for(set(acknowledged))
    await sink.close()


async def test_what_a_killed_receiver_had_in_memory_is_sent_again_though_nothing_new_comes(tmp_path: Path) -> None:
    with Rsyslog(tmp_path) as receiver:
        sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, max_bytes=LARGE)
        alerts = [finding(number) for number in range(1, 11)]
        await sink.send(alerts)
        receiver.kill()
        (tmp_path / "received.jsonl").unlink(missing_ok=True)
        receiver.start()
        messages = await receiver.wait_for({alert.line_uid for alert in alerts})
        assert ids(messages) == [alert.line_uid for alert in alerts]
        await sink.close()


async def test_the_window_waits_for_a_receiver_however_long_it_is_away(tmp_path: Path) -> None:
    with Rsyslog(tmp_path) as receiver:
        sink = SyslogSink("siem", receiver.tcp, max_bytes=LARGE, window=WindowLimits(seconds=0.5))
        await sink.send([finding()])
        receiver.kill()
        (tmp_path / "received.jsonl").unlink(missing_ok=True)
        await asyncio.sleep(1.0)
        receiver.start()
        await receiver.wait_for({"line-1"})
        await sink.close()


async def test_the_window_is_bounded_by_count(tmp_path: Path) -> None:
    with Rsyslog(tmp_path) as receiver:
        sink = SyslogSink("siem", receiver.tcp, max_bytes=LARGE, window=WindowLimits(messages=3))
        await sink.send([finding(number) for number in range(1, 11)])
        receiver.kill()
        (tmp_path / "received.jsonl").unlink(missing_ok=True)
        receiver.start()
        assert ids(await receiver.wait_for({"line-8", "line-9", "line-10"})) == ["line-8", "line-9", "line-10"]
        await sink.close()


async def test_a_receiver_that_is_away_is_transient(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tls, ca=receiver.ca)
    receiver.stop()
    with pytest.raises(TransientError):
        await sink.send([finding()])
    await sink.close()


async def test_a_receiver_whose_certificate_we_do_not_trust_is_a_matter_of_configuration(
    receiver: Rsyslog, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    sink = SyslogSink("siem", receiver.tls, ca=stranger)
    with pytest.raises(ConfigurationError, match=r"certificate is refused.*check ca"):
        await sink.send([finding()])
    await sink.close()
    assert ids(receiver.received()) == []


async def test_a_receiver_of_another_name_is_a_matter_of_configuration(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, server_name="siem.example.org")
    with pytest.raises(ConfigurationError, match="server_name"):
        await sink.send([finding()])
    await sink.close()


async def test_a_port_that_never_answers_in_tls_is_transient(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.tcp.replace("tcp://", "tls://"), ca=receiver.ca, connect_timeout=2.0)
    with pytest.raises(TransientError, match="no answer in time"):
        await sink.send([finding()])
    await sink.close()


async def test_a_receiver_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    with Rsyslog(tmp_path, authenticate=True) as receiver:
        sink = SyslogSink("siem", receiver.tls, ca=receiver.ca, cert=receiver.client_cert, key=receiver.client_key)
        await sink.send([finding()])
        await sink.close()
        assert ids(await receiver.wait_for({"line-1"})) == ["line-1"]


async def test_a_client_that_the_receiver_refuses_acknowledges_nothing(tmp_path: Path) -> None:
    with Rsyslog(tmp_path, authenticate=True) as receiver:
        sink = SyslogSink("siem", receiver.tls, ca=receiver.ca)
        for _ in range(3):
            with pytest.raises(TransientError, match="closed the connection"):
                await sink.send([finding()])
        await sink.close()
        assert ids(receiver.received()) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refusal_that_the_receiver_explains_is_a_matter_of_configuration(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = context.maximum_version = version
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusal = asyncio.create_task(asyncio.to_thread(_refuse_one, listener, context))
        sink = SyslogSink("siem", f"tls://localhost:{listener.getsockname()[1]}", ca=tmp_path / "ca.pem")
        with pytest.raises(ConfigurationError, match=r"TLS is refused: .*check cert"):
            await sink.send([finding()])
        await sink.close()
        await refusal


def _refuse_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    """OpenSSL itself, since asyncio's server closes without sending its alert."""
    connection, _ = listener.accept()
    with connection, pytest.raises(ssl.SSLError):
        context.wrap_socket(connection, server_side=True)


async def test_an_alert_larger_than_a_datagram_arrives_cut_and_says_so(receiver: Rsyslog) -> None:
    sink = SyslogSink("siem", receiver.udp, format="cef")
    await sink.send([finding(citations=200)])
    (message,) = await receiver.wait_for({"line-1"})
    await sink.close()
    assert len(message.raw.encode()) <= 2048
    assert "event_ids has 200 in full" in message.msg
