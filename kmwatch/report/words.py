"""Times, spans and names as the page writes them."""

from __future__ import annotations

from kmwatch.core.model import Micros
from kmwatch.wire.escape import visible
from kmwatch.wire.event import iso

TEXT, NAME = 300, 80  # characters of a sentence and of a name


def word(text: str) -> str:
    """A name that a stranger may have chosen."""
    return visible(text, NAME)


def second(at: Micros) -> str:
    """2026-11-23 20:47:51."""
    return iso(at)[:19].replace("T", " ")


def minute(at: Micros | None) -> str:
    """2026-11-23 20:47; nothing for None."""
    return "" if at is None else iso(at)[:16].replace("T", " ")


def span(length: Micros) -> str:
    """A length of time in its largest whole unit."""
    seconds = length // 1_000_000
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            number = seconds // size
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{seconds} seconds"
