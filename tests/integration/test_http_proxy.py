"""Receivers behind a real proxy that wants credentials: TLS through it, and its password in no text of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from kmwatch.ports import ConfigurationError, Sink, TransientError
from tests.servers.fakes import (
    SECRET,
    FakeAlertmanager,
    FakeElastic,
    FakeHec,
    FakeReceiver,
    FakeWebhook,
    write_ca,
)
from tests.servers.ports import free_port
from tests.servers.tinyproxy import PASSWORD, USER, Tinyproxy
from tests.support import httpsinks
from tests.support.daemon import Config, configuration, run_kmwatch
from tests.support.findings import finding
from tests.support.threaded import Threaded

KINDS: dict[str, tuple[type[FakeReceiver], Callable[..., Sink]]] = {
    "splunk_hec": (FakeHec, httpsinks.hec),
    "opensearch": (FakeElastic, httpsinks.opensearch),
    "webhook": (FakeWebhook, httpsinks.webhook),
    "alertmanager": (FakeAlertmanager, httpsinks.alertmanager),
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinyproxy]:
    with Tinyproxy(tmp_path_factory.mktemp("tinyproxy")) as server:
        yield server


@pytest_asyncio.fixture
async def ends() -> AsyncIterator[list[FakeReceiver | Sink]]:
    """What to stop at the end, also when a test failed."""
    made: list[FakeReceiver | Sink] = []
    yield made
    for one in reversed(made):
        await (one.stop() if isinstance(one, FakeReceiver) else one.close())
    await asyncio.sleep(0.01)  # a connection whose TLS failed is closed in a turn of its own


Ends = list["FakeReceiver | Sink"]


async def secured(kind: str, ends: Ends, folder: Path) -> tuple[FakeReceiver, Path]:
    """A receiver that speaks TLS, and its authority."""
    authority, receiver = trustme.CA(), KINDS[kind][0]()
    receiver.with_tls(authority)
    await receiver.start()
    ends.append(receiver)
    return receiver, write_ca(authority, folder)


def through(proxy: str, kind: str, url: str, ends: Ends, ca: Path | None = None) -> Sink:
    sink = KINDS[kind][1](url, ca=ca, proxy=proxy)
    ends.append(sink)
    return sink


def assert_silent(error: pytest.ExceptionInfo[Exception]) -> None:
    """Nothing of the proxy's credentials, in whatever spelling, in an error or what it was made of."""
    seen: BaseException | None = error.value
    while seen is not None:
        assert not any(word in str(seen) for word in (PASSWORD, "hunter2", f"{USER}:", "wrong-one"))
        seen = seen.__cause__ if isinstance(seen.__cause__, (ConfigurationError, TransientError)) else None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_receiver_is_reached_by_tls_through_the_proxy(
    kind: str, proxy: Tinyproxy, tmp_path: Path, ends: Ends
) -> None:
    receiver, ca = await secured(kind, ends, tmp_path)
    sink = through(proxy.url(), kind, receiver.url, ends, ca)
    await sink.send([finding(1), finding(2)])
    assert set(receiver.received) == {"line-1", "line-2"}
    assert proxy.seen(f"CONNECT localhost:{receiver.port}") >= 1


async def test_a_receiver_without_tls_is_reached_through_the_proxy(proxy: Tinyproxy, ends: Ends) -> None:
    receiver = FakeHec()
    await receiver.start()
    ends.append(receiver)
    await through(proxy.url(), "splunk_hec", receiver.url, ends).send([finding()])
    assert receiver.received == ["line-1"]
    assert proxy.seen(f"POST {receiver.url}/services/collector/event") == 1


async def test_the_receivers_certificate_is_checked_through_the_proxy(
    proxy: Tinyproxy, tmp_path: Path, ends: Ends
) -> None:
    receiver, _ = await secured("webhook", ends, tmp_path)
    foreign = write_ca(trustme.CA(), tmp_path)
    with pytest.raises(ConfigurationError, match="its certificate is refused") as caught:
        await through(proxy.url(), "webhook", receiver.url, ends, foreign).send([finding()])
    assert_silent(caught)
    assert receiver.received == []


@pytest.mark.parametrize("tls", [True, False])
async def test_a_proxy_that_refuses_our_credentials_pauses_the_sink(
    proxy: Tinyproxy, tmp_path: Path, ends: Ends, *, tls: bool
) -> None:
    receiver, ca = await secured("webhook", ends, tmp_path)
    url = receiver.url if tls else f"http://localhost:{receiver.port}"
    with pytest.raises(ConfigurationError, match=r"HTTP 40[17].*check proxy") as caught:
        await through(proxy.url("wrong-one"), "webhook", url, ends, ca).send([finding()])
    assert_silent(caught)


async def test_a_proxy_that_is_away_is_named_and_tried_again(tmp_path: Path, ends: Ends) -> None:
    receiver, ca = await secured("webhook", ends, tmp_path)
    away = f"http://{USER}:hunter2@127.0.0.1:{free_port()}"
    with pytest.raises(TransientError, match="the proxy cannot be reached") as caught:
        await through(away, "webhook", receiver.url, ends, ca).send([finding()])
    assert_silent(caught)


async def test_a_receiver_that_the_proxy_cannot_reach_is_tried_again(proxy: Tinyproxy, ends: Ends) -> None:
    url = f"https://localhost:{free_port()}"
    with pytest.raises(TransientError, match="the proxy answers HTTP 5") as caught:
        await through(proxy.url(), "webhook", url, ends).send([finding()])
    assert_silent(caught)


def test_sink_test_goes_through_the_configured_proxy_and_never_shows_its_password(
    proxy: Tinyproxy, tmp_path: Path
) -> None:
    authority, hook = trustme.CA(), FakeWebhook()
    hook.with_tls(authority)
    ca, secret, records = write_ca(authority, tmp_path), tmp_path / "proxy", tmp_path / "records.jsonl"
    records.touch()
    to = {"url": f"{hook.url}/hook", "secret": SECRET, "ca": str(ca), "proxy": f"file:{secret}"}
    source: Config = {"file": {"paths": [str(records)]}}
    given = tmp_path / "kmwatch.yaml"
    given.write_text(json.dumps(configuration(tmp_path, source, [{"name": "hook", "webhook": to}])))
    with Threaded(hook) as receiver:
        receiver.start()
        secret.write_text(proxy.url())
        good = run_kmwatch("sink", "test", "-c", str(given), "hook")
        secret.write_text(proxy.url("wrong-one"))
        bad = run_kmwatch("sink", "test", "-c", str(given), "hook")
    assert good.returncode == 0, good.stderr
    assert len(hook.received) == 1
    assert bad.returncode != 0
    assert "check proxy" in bad.stderr
    said = good.stdout + good.stderr + bad.stdout + bad.stderr
    assert not any(word in said for word in (PASSWORD, "hunter2", "wrong-one"))
