"""Commands of a document and what they print: read from its blocks, and held against what they print when they are run.

A ```console block holds commands (`$ ...`) and under each its output; a line `...` stands for any lines. A ```yaml
block that begins with `# PATH` is a file to write. The time of a log line may differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOW = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z(?=\")")


class Command(NamedTuple):
    """A command, and the lines that it shall print."""

    line: str
    output: tuple[str, ...]


class Written(NamedTuple):
    """A file to write."""

    path: str
    text: str


def steps(document: Path) -> Iterator[Command | Written]:
    """What a reader does, in order."""
    for kind, body in _BLOCK.findall(document.read_text(encoding="utf-8")):
        if kind == "yaml":
            yield Written(body.partition("\n")[0].removeprefix("# "), body)
        else:
            for one in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                line, *output = one.splitlines()
                yield Command(line, tuple(output))


def told(expected: tuple[str, ...], printed: str) -> bool:
    """Whether a command printed what the document shows."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(_plain(line)) + r"\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed.splitlines())) is not None


def _plain(line: str) -> str:
    return _NOW.sub("TIME", line).rstrip()
