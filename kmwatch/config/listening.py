"""Where the HTTP endpoint listens, told from a configuration without loading the rest of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from kmwatch.config.environment import substitute
from kmwatch.config.problems import ConfigurationError, Problem
from kmwatch.config.source import Document, Plain, load_yaml

LISTEN = "127.0.0.1:9464"
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (every address, ours among them)


class Listening(NamedTuple):
    """An endpoint. `host` is without brackets."""

    host: str
    port: int
    tls: bool = False

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def near(self) -> str:
        """The host to reach it at from this machine."""
        return _HERE.get(self.host, self.host)


def listening(listen: str, *, tls: bool = False) -> Listening:
    """Parse `host:port`. Raises ValueError: it is something else."""
    host, _, port = listen.rpartition(":")
    return Listening(host.strip("[]"), int(port), tls)


def read_listening(path: Path, environ: Mapping[str, str]) -> Listening:
    """Where a configuration file has kmwatch listen; nothing but `http` is looked at.

    Raises:
        ConfigurationError: the file cannot be read, or its `http` cannot be used.
    """
    problems: list[Problem] = []
    document = load_yaml(path, str(path), problems)
    if document is not None:
        document = substitute(replace(document, value=_http(document)), environ, problems)
    if document is None or problems:
        raise ConfigurationError(problems)
    http = document.value
    given = http.get("http") if isinstance(http, dict) else None
    given = given if isinstance(given, dict) else {}
    try:
        return listening(str(given.get("listen", LISTEN)), tls="cert" in given)
    except ValueError:
        raise ConfigurationError([document.problem(("http", "listen"), f"is not host:port, as {LISTEN}")]) from None


def _http(document: Document) -> Plain:
    """`listen` and whether there is a `cert`: what else is said, a token above all, is not for here."""
    http = document.value.get("http") if isinstance(document.value, dict) else None
    kept: dict[str, Plain] = {}
    if isinstance(http, dict):
        kept |= {key: http[key] for key in ("listen", "cert") if key in http}
    return {"http": kept}
