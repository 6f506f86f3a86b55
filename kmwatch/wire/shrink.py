"""Findings made smaller for receivers with a size limit, together with an account of what was left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from kmwatch.core.model import Finding
from kmwatch.wire.escape import clip

T = TypeVar("T")

# (entries kept of each list, characters kept of each text), from generous to bare. The texts are never cut
# below what an id needs; the last level keeps the ids of the finding and its sentence only.
LEVELS: tuple[tuple[int, int], ...] = (
    (256, 4096),
    (128, 2048),
    (64, 1024),
    (32, 1024),
    (16, 512),
    (8, 256),
    (4, 256),
    (2, 128),
    (1, 128),
    (1, 80),
    (0, 80),
)


class Cut(Struct, frozen=True, omit_defaults=True):
    """What a smaller form lacks: the full length of each list that was cut, and the limit of texts."""

    event_ids: int | None = None
    requests: int | None = None
    secrets: int | None = None
    text: int | None = None

    def __str__(self) -> str:
        lists = (("event_ids", self.event_ids), ("requests", self.requests), ("secrets", self.secrets))
        parts = [f"{name} has {total} in full" for name, total in lists if total is not None]
        return "; ".join([*parts, *([f"text cut to {self.text} characters"] if self.text else [])])


def shrink(finding: Finding, entries: int, text: int) -> tuple[Finding, Cut]:
    """Keep the newest `entries` of each list and `text` characters of each text; ids stay whole."""
    clipped = False

    def shorten(value: str) -> str:
        nonlocal clipped
        clipped = clipped or len(value) > text
        return clip(value, text)

    small = map_text(
        replace(
            finding,
            citations=_newest(finding.citations, entries),
            secrets=_newest(finding.secrets, entries),
            event_ids=(),
        ),
        shorten,
    )
    small = replace(
        small,
        uid=finding.uid,
        line_uid=finding.line_uid,
        rule=finding.rule,
        event_ids=_newest(finding.event_ids, entries),
    )
    cut = Cut(
        event_ids=_full(finding.event_ids, entries),
        requests=_full(finding.citations, entries),
        secrets=_full(finding.secrets, entries),
        text=text if clipped else None,
    )
    return small, cut


def map_text(finding: Finding, change: Callable[[str], str]) -> Finding:
    """The same finding with every text passed through `change`; enums are no text."""
    return _mapped(finding, change)


def _mapped(value: T, change: Callable[[str], str]) -> T:
    if type(value) is str:
        return change(value)  # type: ignore[arg-type,return-value]
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)  # type: ignore[return-value]
    if isinstance(value, Struct):
        return type(value)(**{name: _mapped(getattr(value, name), change) for name in value.__struct_fields__})
    return value


def _newest(items: tuple[T, ...], entries: int) -> tuple[T, ...]:
    return items[-entries:] if entries else ()


def _full(items: tuple[T, ...], entries: int) -> int | None:
    return len(items) if len(items) > entries else None
