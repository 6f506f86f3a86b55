"""The kinds of values a configuration holds, each parsed once into what the program uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from kmwatch.config.problems import listed, suggest
from kmwatch.core.model import DAY, HOUR, MINUTE, SECOND, Micros, Mode, Severity

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_LONGEST: Micros = 3650 * DAY
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+):([0-9]{1,5})")
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Context:
    """What validation needs to know of the file it is in."""

    folder: Path  # relative paths start here


def _folder(info: ValidationInfo) -> Path:
    return info.context.folder if isinstance(info.context, Context) else Path()


def parse_duration(value: object) -> Micros:
    """`90s`, `5m`, `1h`, `7d` or whole seconds as microseconds; ValueError for anything else."""
    text = f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str) and text.isdigit():
        text += "s"
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("is not a duration; write 90s, 5m, 1h, 7d or whole seconds")
    micros = int(found[1]) * _UNITS[found[2]]
    if micros > _LONGEST:
        raise ValueError("is longer than 3650d; write a shorter duration")
    return micros


def _positive(micros: Micros) -> Micros:
    if micros == 0:
        raise ValueError("must be longer than nothing; write at least 1s")
    return micros


_DURATION_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,9}[smhd]?$"}]}
)
DurationOrNone = Annotated[int, BeforeValidator(parse_duration), _DURATION_SCHEMA]  # zero is fine
Duration = Annotated[int, BeforeValidator(parse_duration), AfterValidator(_positive), _DURATION_SCHEMA]


def choice(value: object, known: list[str]) -> str:
    """The value if it is one of the words; ValueError that lists them otherwise."""
    if isinstance(value, str) and value in known:
        return value
    hint = suggest(value, known) if isinstance(value, str) else ""
    raise ValueError(f"must be one of {listed(known)}{hint}")


_SEVERITIES = {severity.name.lower(): severity for severity in Severity}


def _severity(value: object) -> Severity:
    return value if isinstance(value, Severity) else _SEVERITIES[choice(value, list(_SEVERITIES))]


def _mode(value: object) -> Mode:
    return Mode(choice(value, [mode.value for mode in Mode]))


SeverityName = Annotated[
    Severity, BeforeValidator(_severity), WithJsonSchema({"type": "string", "enum": list(_SEVERITIES)})
]
ModeName = Annotated[Mode, BeforeValidator(_mode), WithJsonSchema({"type": "string", "enum": [m.value for m in Mode]})]


def _rooted(path: str, info: ValidationInfo) -> Path:
    return _folder(info) / path


Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
_TEXT_SCHEMA = WithJsonSchema({"type": "string", "minLength": 1})


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be the path of a file")
    return _rooted(value, info)


ConfigPath = Annotated[Path, BeforeValidator(_path), _TEXT_SCHEMA]


def _glob(value: str, info: ValidationInfo) -> str:
    if "\0" in value:
        raise ValueError("must be the path of a file")
    return value if value == "-" else str(_rooted(value, info))


Glob = Annotated[Text, AfterValidator(_glob)]


def _credential(value: object, info: ValidationInfo) -> str:
    """A credential, from a file if it says so. No message may repeat what it is."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be text; write it in quotes, or as ${NAME} or file:PATH")
    if not value.startswith("file:"):
        return value
    try:
        text = _rooted(value.removeprefix("file:"), info).read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ValueError("the file of this credential cannot be read; check the path and its rights") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("the file of this credential is empty; write the credential into it")
    return text


Credential = Annotated[SecretStr, BeforeValidator(_credential), _TEXT_SCHEMA]


def _cidr(value: str) -> str:
    try:
        return str(ip_network(value))
    except ValueError:
        pass
    try:
        right = ip_interface(value).network
    except ValueError:
        raise ValueError(f'"{value}" is no network; write one like 10.20.0.0/24 or 2001:db8::/64') from None
    raise ValueError(f'"{value}" has host bits set; write {right}, or {value.partition("/")[0]} for one address')


Cidr = Annotated[Text, AfterValidator(_cidr)]


def _listen(value: str) -> str:
    found = _LISTEN.fullmatch(value)
    if found is None or not 0 <= int(found[2]) <= _LAST_PORT:
        raise ValueError("must be host:port, such as 127.0.0.1:9464 or [::1]:9464")
    return value


HostPort = Annotated[Text, AfterValidator(_listen)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a network sink sends."""

    scheme: str
    host: str
    port: int


def parse_endpoint(value: str, schemes: list[str]) -> Endpoint:
    """`scheme://host:port` in parts; ValueError for anything else."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    extra = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in schemes or not host or not port or extra:
        forms = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        raise ValueError(f"is no address; write {forms}")
    return Endpoint(parts.scheme, host, port)
