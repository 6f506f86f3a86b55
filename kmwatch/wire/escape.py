"""Text of an attacker, made safe to show: what would move a cursor, reorder or hide text becomes visible.

Paths, agents, addresses and names are chosen by whoever sends a request, and end on terminals, in logs and in
line-based protocols. The escapes are for readers, not for a round trip: a backslash that was there before is
left alone, so a text that spells out an escape looks the same as the character it names.
"""

from __future__ import annotations

import re
from functools import lru_cache

ELLIPSIS = "…"

# C0, DEL, C1; soft hyphen; Arabic letter mark; Mongolian vowel separator; zero-width and direction marks;
# line and paragraph separators and bidi embeddings; word joiner, invisible operators, isolates; BOM;
# interlinear annotations; lone surrogates; tag characters. Unicode 16, UAX #9 and UTR #36.
_UNSAFE = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
_LATIN = 0xFF
_PLANE_0 = 0xFFFF
_unsafe = re.compile(f"[{_UNSAFE}]")
_unsafe_but_newline = re.compile(f"(?!\n)[{_UNSAFE}]")
_surrogate = re.compile(r"[\ud800-\udfff]")


@lru_cache(maxsize=1024)
def _escape(character: str) -> str:
    code = ord(character)
    if code <= _LATIN:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _PLANE_0 else f"\\U{code:08x}"


def _replace(match: re.Match[str]) -> str:
    return _escape(match.group())


def visible(text: str, limit: int | None = None, *, keep_newlines: bool = False) -> str:
    """Return the text with every control, direction, invisible and surrogate character as a visible escape.

    The result always encodes to UTF-8, holds no line break (unless `keep_newlines`, for formats that have an
    escape of their own for it), and with `limit` has at most that many characters (see `clip`).
    """
    if not text.isascii() or not text.isprintable():
        text = (_unsafe_but_newline if keep_newlines else _unsafe).sub(_replace, text)
    return text if limit is None else clip(text, limit)


def clip(text: str, limit: int) -> str:
    """Cut to at most `limit` characters (12 or more), saying at the end how many are missing: `abc…(+97)`."""
    if len(text) <= limit:
        return text
    keep = max(0, limit - len(f"{ELLIPSIS}(+{len(text)})"))
    return f"{text[:keep]}{ELLIPSIS}(+{len(text) - keep})"


def encodable(text: str) -> str:
    """Escape only lone surrogates: the one thing that UTF-8 has no bytes for."""
    return text if text.isascii() else _surrogate.sub(_replace, text)


def json_line(line: bytes) -> bytes:
    r"""Rewrite unsafe characters inside an encoded JSON text as JSON's own `\u` escapes.

    The value stays the same for every JSON reader, while `cat` and readers that split lines at U+0085 or
    U+2028 are safe. Only strings of a JSON text may hold such characters, so no parsing is needed.
    """
    if line.isascii() and b"\x7f" not in line:
        return line
    return _unsafe.sub(_json_escape, line.decode()).encode()


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code <= _PLANE_0:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
