"""The lines of a JSON document's values: needed only where a message must point at one."""

from __future__ import annotations

import json
import re

from kmwatch.config.source import Where

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|\n|[^\s\[\]{}:,"]+')


def json_lines(text: str, repeated: dict[Where, int]) -> dict[Where, int]:
    """The line, from 1, of every value of a valid JSON text.

    Of a repeated key the last one stays, and its place and line are added to `repeated`.
    """
    lines: dict[Where, int] = {(): 1}
    path: list[str | int] = []
    line, expects_key = 1, False
    for found in _TOKEN.finditer(text):
        part = found[0]
        if part == "\n":
            line += 1
        elif part == ",":
            last = path.pop()
            expects_key = isinstance(last, str)
            path.append(last + 1 if isinstance(last, int) else last)
        elif part in "]}":
            path.pop()
        elif part == ":":
            expects_key = False
        elif expects_key:
            path[-1] = str(json.loads(part))
        else:
            if path and lines.get(tuple(path)) is not None:
                repeated[tuple(path)] = line
            lines[tuple(path)] = line
            if part in "[{":
                path.append(0 if part == "[" else "")
                expects_key = part == "{"
    return lines
