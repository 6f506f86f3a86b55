"""`kmwatch health`: one question to the daemon that a configuration names, and the exit code of a health check."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import yaml

from kmwatch.__main__ import main
from kmwatch.config.listening import LISTEN, Listening, listening, read_listening
from kmwatch.config.problems import ConfigurationError
from kmwatch.config.settings import Http
from kmwatch.telemetry.http import Access, HttpServer, Readiness
from kmwatch.telemetry.metrics import Metrics
from tests.servers.ports import free_port
from tests.support.files import SETTINGS, Files

TOKEN = "a-token-of-the-monitoring-system"
READY = Readiness(ready=True)
STANDBY = Readiness(ready=False, problems=("not reading: standing by",), warm=True, role="standby")
TROUBLED = Readiness(ready=False, problems=("sink siem: paused\x1b[31m",))


@asynccontextmanager
async def daemon(folder: Path, readiness: Readiness, *, token: bool = False, tls: bool = False) -> AsyncIterator[Path]:
    """The endpoint of a daemon in some state; yields its configuration."""

    async def ready() -> Readiness:
        return readiness

    http: dict[str, str] = {"token": "${NOBODY_HAS_THIS}"} if token else {}
    access = Access(token=TOKEN if token else None)
    if tls:
        cert, key = certificate(folder)
        access = Access(access.token, cert, key)
        http |= {"cert": cert.name, "key": key.name}
    server = HttpServer(Metrics(), ready, ready, access)
    port = await server.start("127.0.0.1", 0)
    config = folder / "kmwatch.yaml"
    config.write_text(yaml.safe_dump({"http": {"listen": f"0.0.0.0:{port}", **http}}))
    try:
        yield config
    finally:
        await server.close()


def certificate(folder: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("kmwatch.example.net")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


async def ask(config: Path, *arguments: str) -> int:
    return await asyncio.to_thread(main, ["health", "-c", str(config), *arguments])


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_daemon_that_answers_is_alive_with_or_without_token_and_tls(
    tmp_path: Path, *, token: bool, tls: bool
) -> None:
    """The token is a variable that the health check's environment does not even have."""
    async with daemon(tmp_path, TROUBLED, token=token, tls=tls) as config:
        assert await ask(config) == 0


@pytest.mark.parametrize(
    ("state", "asked", "code"),
    [
        (READY, ["--ready"], 0),
        (STANDBY, ["--ready"], 3),
        (STANDBY, ["--ready", "--standby"], 0),
        (TROUBLED, ["--ready"], 3),
        (TROUBLED, ["--ready", "--standby"], 3),
    ],
)
async def test_ready_asks_whether_it_does_its_work(
    tmp_path: Path, state: Readiness, asked: list[str], code: int
) -> None:
    async with daemon(tmp_path, state) as config:
        assert await ask(config, *asked) == code


async def test_what_is_wrong_is_told_and_cannot_drive_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with daemon(tmp_path, TROUBLED) as config:
        await ask(config, "--ready")
    assert capsys.readouterr().err == "kmwatch: /readyz answers 503: sink siem: paused\\x1b[31m\n"


def test_where_nothing_listens_the_code_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kmwatch.yaml").write_text(f"http: {{listen: 127.0.0.1:{free_port()}}}\n")
    assert main(["health", "-c", str(tmp_path / "kmwatch.yaml")]) == 3
    assert "no answer at 127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "\u202e"])
def test_an_address_that_names_no_host_is_no_answer(
    tmp_path: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kmwatch.yaml").write_text(f"http: {{listen: '{host}:9464'}}\n")
    assert main(["health", "-c", str(tmp_path / "kmwatch.yaml")]) == 3
    said = capsys.readouterr().err
    assert said.startswith("kmwatch: no answer at ")
    assert "\u202e" not in said


@pytest.mark.parametrize("body", ['{"problems": 5}', "[" * 60_000, '{"problems": "\x1b[31m"}', "[]"])
async def test_an_answer_of_somebody_else_is_none_of_ours(
    tmp_path: Path, body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\n\r\n" + body.encode())
        writer.close()

    port = free_port()
    async with await asyncio.start_server(answer, "127.0.0.1", port):
        (tmp_path / "kmwatch.yaml").write_text(f"http: {{listen: 127.0.0.1:{port}}}\n")
        assert await ask(tmp_path / "kmwatch.yaml", "--ready") == 3
    assert capsys.readouterr().err == "kmwatch: /readyz answers 503\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http: {listen: nowhere}", "http.listen: is not host:port"),
        ("http: {listen: '${NO_SUCH_VARIABLE}'}", "NO_SUCH_VARIABLE is not set"),
        ("http: [", "not valid YAML"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_an_error_with_its_line(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kmwatch.yaml").write_text(text)
    assert main(["health", "-c", str(tmp_path / "kmwatch.yaml")]) == 1
    said = capsys.readouterr().err
    assert "kmwatch.yaml:1: " in said
    assert message in said


def test_it_loads_none_of_the_rest() -> None:
    """It runs beside the daemon all day: the libraries of the daemon would cost five times as much."""
    code = "import sys, kmwatch.health; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "kmwatch.config.listening" in loaded
    assert not loaded & {"pydantic", "msgspec", "aiohttp", "asyncio", "kmwatch.core", "kmwatch.cli"}


@pytest.mark.parametrize(
    ("listen", "expected", "near", "loopback"),
    [
        ("127.0.0.1:9464", Listening("127.0.0.1", 9464), "127.0.0.1", True),
        ("localhost:80", Listening("localhost", 80), "localhost", True),
        ("[::1]:9464", Listening("::1", 9464), "::1", True),
        ("[::]:9464", Listening("::", 9464), "::1", False),
        ("0.0.0.0:9464", Listening("0.0.0.0", 9464), "127.0.0.1", False),
        ("10.0.0.5:9464", Listening("10.0.0.5", 9464), "10.0.0.5", False),
        ("kmwatch.example.net:9464", Listening("kmwatch.example.net", 9464), "kmwatch.example.net", False),
    ],
)
def test_an_address_says_where_to_ask_and_who_can(
    listen: str, expected: Listening, near: str, *, loopback: bool
) -> None:
    found = listening(listen)
    assert (found, found.near, found.loopback) == (expected, near, loopback)


def test_http_is_on_the_loopback_unless_said_otherwise(tmp_path: Path) -> None:
    (tmp_path / "kmwatch.yaml").write_text("callers: callers.yaml\n")
    assert read_listening(tmp_path / "kmwatch.yaml", {}) == listening(Http().listen)
    assert listening(LISTEN).loopback


def test_a_token_in_the_file_is_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "kmwatch.yaml").write_text(f"http: {{listen: '{TOKEN}', token: '{TOKEN}-too'}}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_listening(tmp_path / "kmwatch.yaml", {})
    assert TOKEN not in str(caught.value)


# ------------------------------------------------------------------------------------- what check says of http

PAIR = "cert: cert.pem, key: key.pem"


@pytest.mark.parametrize(
    ("http", "warning"),
    [
        ("", None),
        (f"http: {{listen: 127.0.0.1:9464, token: {TOKEN}}}", None),
        ("http: {listen: '[::1]:9464'}", None),
        (f"http: {{listen: 0.0.0.0:9464, token: {TOKEN}, {PAIR}}}", None),
        ("http: {listen: 0.0.0.0:9464}", "whoever reaches it reads who is being watched; set http.token"),
        (f"http: {{listen: 10.0.0.5:9464, {PAIR}}}", "whoever reaches it reads who is being watched; set http.token"),
        (f"http: {{listen: 10.0.0.5:9464, token: {TOKEN}}}", "the token goes over the network in the clear"),
    ],
)
def test_an_endpoint_that_others_reach_and_read_is_a_warning(tmp_path: Path, http: str, warning: str | None) -> None:
    problems = Files(tmp_path, settings=SETTINGS + http).problems()
    told = [problem for problem in problems if "http" in problem]
    assert [warning in problem for problem in told if warning] == ([True] if warning else [])
    assert bool(told) == (warning is not None)
    assert all(problem.startswith("kmwatch.yaml:7: warning: http.listen: ") for problem in told)
