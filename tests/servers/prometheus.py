"""A real Prometheus for tests, as Debian packages it, and its promtool.

with PrometheusServer(folder, [f"127.0.0.1:{daemon.port}"]) as prometheus:
prometheus.wait_until_up()
prometheus.query("sum(kmwatch_active)")
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml
from msgspec import DecodeError, Struct, field, json

from tests.servers.kafka_jars import ServerUnavailableError
from tests.servers.ports import free_port

_PATIENCE = 60.0
_LOOK = 0.1


class Series(Struct):
    """One series of an answer; `value` of an instant, `values` of a range: (Unix time, text of a number)."""

    metric: dict[str, str]
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] = field(default_factory=list)


class _Result(Struct):
    result: list[Series]


class _Answer(Struct):
    status: str
    data: _Result | None = None
    error: str = ""


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run(
        [_program("promtool"), *arguments], capture_output=True, text=True, check=False, cwd=cwd, timeout=_PATIENCE
    )


def _program(name: str) -> str:
    found = which(name)
    if found is None:
        message = f"{name} is missing. Debian: apt-get install prometheus; or ./dev setup"
        raise ServerUnavailableError(message)
    return found


class PrometheusServer:
    """One server that scrapes these targets each second.

    Args:
        folder: an empty folder for its data, configuration and log.
        targets: `host:port` each.
        token: what to send as a bearer token.
    """

    def __init__(self, folder: Path, targets: Sequence[str], *, token: str | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        job: dict[str, object] = {"job_name": "kmwatch", "static_configs": [{"targets": list(targets)}]}
        if token is not None:
            job["authorization"] = {"credentials": token}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def __enter__(self) -> Self:
        options = (
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )
        with (self._folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("prometheus"), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_until(self, expr: str) -> None:
        """Wait until an expression has a result."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            try:
                if self.query(expr):
                    return
            except (URLError, OSError, DecodeError):
                pass  # it is still starting: refuses connections first, then answers 503 in plain text
            time.sleep(_LOOK)
        log = (self._folder / "prometheus.log").read_text(encoding="utf-8", errors="replace")
        message = f"Prometheus has no result for {expr} within {_PATIENCE} s; its log ends:\n{log[-2000:]}"
        raise AssertionError(message)

    def query(self, expr: str) -> list[Series]:
        """The expression now. Raises AssertionError where Prometheus refuses it."""
        return self._ask("query", {"query": expr})

    def range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The expression over a time."""
        return self._ask("query_range", {"query": expr, "start": start, "end": end, "step": step})

    def _ask(self, what: str, arguments: dict[str, object]) -> list[Series]:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(arguments)}", timeout=10) as answer:
                body = answer.read()
        except HTTPError as error:
            with error:
                body = error.read()
        found = json.decode(body, type=_Answer)
        assert found.data is not None, f"{arguments['query']}: {found.error}"
        return found.data.result
