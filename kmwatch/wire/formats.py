"""The forms an alert can take, by the name that configuration uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from kmwatch.core.model import Finding
from kmwatch.ports import PermanentError
from kmwatch.wire import cef, ecs, leef
from kmwatch.wire.escape import visible
from kmwatch.wire.ocsf import to_ocsf


class Format(NamedTuple):
    """One form: a line without newline."""

    name: str
    render: Callable[[Finding, int | None], bytes]  # within a size where that is possible, see to_ocsf and the others
    prefix: bytes  # what each line begins with: how a torn line of ours is told from a foreign file
    is_json: bool  # a JSON object, for receivers that take nothing else


def _cef(finding: Finding, max_bytes: int | None) -> bytes:
    return cef.to_cef(finding, max_bytes).encode()


def _leef(finding: Finding, max_bytes: int | None) -> bytes:
    return leef.to_leef(finding, max_bytes).encode()


FORMATS: dict[str, Format] = {
    "ocsf": Format("ocsf", to_ocsf, b'{"activity_id":', is_json=True),
    "ecs": Format("ecs", ecs.to_ecs, ecs.PREFIX, is_json=True),
    "cef": Format("cef", _cef, cef.PREFIX.encode(), is_json=False),
    "leef": Format("leef", _leef, leef.PREFIX.encode(), is_json=False),
}


def format_named(name: str) -> Format:
    """Return the format. Raises ValueError, naming those there are."""
    try:
        return FORMATS[name]
    except KeyError:
        raise ValueError(f"unknown format {name!r}; known: {', '.join(sorted(FORMATS))}") from None


def render_all(render: Callable[[Finding], bytes], findings: Sequence[Finding]) -> list[bytes]:
    """Render in order. A finding that has no form in a format will never have one: PermanentError."""
    lines = []
    for finding in findings:
        try:
            lines.append(render(finding))
        except (ValueError, OverflowError) as error:
            raise PermanentError(f"alert {visible(finding.line_uid, 80)} cannot be rendered: {error}") from error
    return lines
