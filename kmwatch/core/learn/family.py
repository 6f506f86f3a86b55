"""Names of secrets that are one family: `lb-key-19222713` and `lb-key-77` are both `lb-key-*`."""

from __future__ import annotations

import re

_VARIABLE = re.compile(
    r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"  # a UUID
    r"|(?<![A-Za-z0-9])(?=[0-9a-f]*[0-9])[0-9a-f]{6,}(?![A-Za-z0-9])"  # a hexadecimal number
    r"|(?<![A-Za-z0-9])[0-9]+(?![A-Za-z0-9])"  # a decimal number that is no part of a word, as p12 is
    r"|[0-9]{4,}",  # or one too long to be part of a word
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"[*?\[]")
_LEAST_FIXED = 2  # characters: a pattern with fewer says nothing
_LONGEST = 128


def pattern(name: str | None) -> str | None:
    """The pattern of a name's family, or None where names tell nothing.

    A name that does not vary is its own pattern. One with control characters, or too long for a person to have
    chosen, has none: it is a stranger's text, and a map is no place for it.
    """
    if not name or len(name) > _LONGEST or not name.isprintable():
        return None
    parts = [_SPECIAL.sub(lambda found: f"[{found[0]}]", part) for part in _VARIABLE.split(name)]
    if len("".join(parts)) < _LEAST_FIXED:
        return None
    return re.sub(r"\*(?:[-_.:]?\*)+", "*", "*".join(parts))


def head(pattern: str) -> str:
    """What a family is called for short: `lb` of `lb-key-*`."""
    return re.split(r"[-_.:/* ]", pattern.lstrip("-_.:/* "), maxsplit=1)[0]
