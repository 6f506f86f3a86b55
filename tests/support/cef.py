r"""A CEF parser from the grammar, for tests only: the parsers one can install do not unescape.

line      = "CEF:0|" header "|" header "|" header "|" header "|" header "|" severity "|" extension
header    = *( escaped / any character but "|" and "\" );  escaped = "\|" / "\\"
extension = pair *( SP pair );  pair = key "=" value
key       = 1*( letter / digit )
value     = *( "\\" / "\=" / "\n" / "\r" / any character but "\", "=", LF and CR ), not ending in a space
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HEADER = r"((?:\\[|\\]|[^|\\\r\n])*)"
_LINE = re.compile(rf"CEF:0\|{_HEADER}\|{_HEADER}\|{_HEADER}\|{_HEADER}\|{_HEADER}\|(\d+)\|(.*)", re.DOTALL)
_PAIR = re.compile(r"([A-Za-z0-9]+)=((?:\\[\\=nr]|[^\\=\r\n])*)(?: (?=[A-Za-z0-9]+=)|$)")
_ESCAPES = {"\\\\": "\\", "\\=": "=", "\\n": "\n", "\\r": "\r", "\\|": "|"}


class CefEvent(NamedTuple):
    vendor: str
    product: str
    version: str
    class_id: str
    name: str
    severity: int
    extension: dict[str, str]


def parse_cef(line: str) -> CefEvent:
    """Take a line apart. Raises ValueError where it departs from the grammar, or repeats a key."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"no CEF header: {line!r}")
    *headers, severity, extension = found.groups()
    vendor, product, version, class_id, name = map(_unescape, headers)
    return CefEvent(vendor, product, version, class_id, name, int(severity), _extension(extension))


def _extension(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            raise ValueError(f"no key=value at {text[at:]!r}")
        key, value = found.groups()
        if key in pairs or value != value.rstrip(" "):
            raise ValueError(f"repeated key, or a space at the end: {found.group()!r}")
        pairs[key] = _unescape(value)
        at = found.end()
    return pairs


def _unescape(text: str) -> str:
    return re.sub(r"\\[\\=nr|]", lambda found: _ESCAPES[found.group()], text)
