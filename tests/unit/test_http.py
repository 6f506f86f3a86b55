"""What the HTTP endpoint answers to whom."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import trustme
from msgspec import Struct

from kmwatch.config.problems import ConfigurationError
from kmwatch.telemetry.http import Access, HttpServer, Readiness
from kmwatch.telemetry.metrics import Metrics
from tests.support.files import SETTINGS, Files

TOKEN = "a-token-of-the-monitoring-system"
PATHS = ("/metrics", "/status", "/readyz", "/healthz")


class State(Struct):
    """A status."""

    sink: str = "siem"


class Answer(NamedTuple):
    status: int
    body: str


async def _readiness() -> Readiness:
    return Readiness(ready=False, problems=("sink siem: paused",))


async def _status() -> State:
    return State()


Get = Callable[..., Awaitable[Answer]]


@asynccontextmanager
async def serving(access: Access, context: ssl.SSLContext | None = None) -> AsyncIterator[Get]:
    async with answering(HttpServer(Metrics(), _readiness, _status, access), context) as get:
        yield get


@asynccontextmanager
async def answering(server: HttpServer, context: ssl.SSLContext | None = None) -> AsyncIterator[Get]:
    port = await server.start("127.0.0.1", 0)
    scheme = "http" if context is None else "https"
    async with aiohttp.ClientSession() as session:

        async def get(path: str, *, method: str = "GET", **headers: str) -> Answer:
            url = f"{scheme}://127.0.0.1:{port}{path}"
            async with session.request(method, url, headers=headers, ssl=context or True) as response:
                return Answer(response.status, await response.text())

        try:
            yield get
        finally:
            await server.close()


async def test_without_a_token_configured_everybody_who_reaches_it_may_read() -> None:
    async with serving(Access()) as get:
        assert [(await get(path)).status for path in PATHS] == [200, 200, 503, 200]


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \u00e9"])
async def test_whoever_shows_no_token_learns_only_that_it_lives_and_whether_it_is_ready(given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    async with serving(Access(token=TOKEN)) as get:
        assert [(await get(path, **headers)).status for path in PATHS] == [401, 401, 503, 200]
        assert json.loads((await get("/readyz", **headers)).body)["problems"] == []
        assert TOKEN not in (await get("/status", **headers)).body


async def test_whoever_shows_the_token_reads_all() -> None:
    async with serving(Access(token=TOKEN)) as get:
        answers = [await get(path, Authorization=f"Bearer {TOKEN}") for path in PATHS]
        assert [answer.status for answer in answers] == [200, 200, 503, 200]
        assert "sink siem: paused" in answers[2].body


async def test_a_token_that_was_renewed_is_the_only_one() -> None:
    server = HttpServer(Metrics(), _readiness, _status, Access(token=TOKEN))
    async with answering(server) as get:
        server.renew("another-token-of-the-monitoring")
        assert (await get("/status", Authorization=f"Bearer {TOKEN}")).status == 401
        assert (await get("/status", Authorization="Bearer another-token-of-the-monitoring")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(method: str) -> None:
    async with serving(Access()) as get:
        assert {(await get(path, method=method)).status for path in PATHS} == {405}


async def test_with_a_certificate_it_speaks_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(Access(cert=cert, key=key), context) as get:
        assert (await get("/healthz")).status == 200


async def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "cert.pem"
    await asyncio.to_thread(wrong.write_text, "no certificate")
    with pytest.raises(OSError, match=r"http\.cert .*give a PEM pair"):
        HttpServer(Metrics(), _readiness, _status, Access(cert=wrong, key=wrong))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ('http: {token: "short"}', "16 printable ASCII characters"),
        ('http: {token: "has a space in its middle"}', "no spaces"),
        ("http: {cert: a.pem}", "cert and key belong together"),
        ('runbooks: "https://docs.example.net/runbooks"', r"with \{rule\} in it"),
    ],
)
def test_what_cannot_work_is_an_error_of_the_configuration(tmp_path: Path, part: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Files(tmp_path, settings=SETTINGS + part).load()
    assert "has a space in its middle" not in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\x1b[31m\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: [\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
    ],
    ids=["garbage", "long", "url", "tls"],
)
async def test_what_is_no_http_is_answered_and_fills_no_log(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Else whoever reaches the port writes as much into the log as he likes."""
    server = HttpServer(Metrics(), _readiness, _status, Access())
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    assert (await reader.readline()).endswith(b"400 Bad Request\r\n")
    writer.close()
    await server.close()
    assert not caplog.records


async def test_a_fault_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> State:
        raise RuntimeError("ours")

    async with answering(HttpServer(Metrics(), _readiness, broken, Access())) as get:
        assert (await get("/status")).status == 500
    assert [record.name for record in caplog.records] == ["aiohttp.server"]
