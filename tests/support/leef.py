r"""A LEEF 2.0 parser from IBM's grammar, for tests only.

line       = "LEEF:2.0|" text "|" text "|" text "|" event-id "|" delimiter "|" attributes
delimiter  = one character / ("x" / "0x") 1*4( hex digit )
attributes = attribute *( delimiter attribute ); attribute = key "=" value; there are no escapes
key        = 1*( letter / digit )
value      = *( any character but the delimiter, CR and LF )
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE = re.compile(r"LEEF:2\.0\|([^|\r\n]+)\|([^|\r\n]+)\|([^|\r\n]+)\|([^|\r\n]{1,255})\|([^|]*)\|(.*)", re.DOTALL)
_HEX = re.compile(r"(?:0x|x)([0-9A-Fa-f]{1,4})")


class LeefEvent(NamedTuple):
    vendor: str
    product: str
    version: str
    event_id: str
    attributes: dict[str, str]


def parse_leef(line: str) -> LeefEvent:
    """Take a line apart. Raises ValueError where it departs from the grammar, or repeats a key."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"no LEEF header: {line!r}")
    vendor, product, version, event_id, delimiter, rest = found.groups()
    attributes: dict[str, str] = {}
    for attribute in rest.split(_delimiter(delimiter)):
        key, equals, value = attribute.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z0-9]+", key) or key in attributes or re.search(r"[\r\n]", value):
            raise ValueError(f"no attribute, or one again: {attribute!r}")
        attributes[key] = value
    return LeefEvent(vendor, product, version, event_id, attributes)


def _delimiter(text: str) -> str:
    found = _HEX.fullmatch(text)
    if found is not None:
        return chr(int(found[1], 16))
    if len(text) != 1:
        raise ValueError(f"no delimiter: {text!r}")
    return text
