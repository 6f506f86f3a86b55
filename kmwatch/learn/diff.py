"""The declared map held against history, for a reader: three lists, each line with its place."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from kmwatch.config.maps import MapFile
from kmwatch.config.problems import Problem, printable
from kmwatch.config.usage import unused, wider
from kmwatch.core.learn.history import History
from kmwatch.core.learn.propose import propose
from kmwatch.core.learn.usage import Usage
from kmwatch.learn.render import entry_line, remarks, sentence


def difference(file: MapFile, usage: Usage, history: History, *, sparse: int) -> str:
    """The three lists as text."""
    parts = (
        ("declared, never used", _told(unused(file, usage))),
        ("used, never declared", _undeclared(history, sparse)),
        ("wider than its use", _told(wider(file, usage))),
    )
    lines = []
    for title, told in parts:
        listed = list(told)
        lines += [f"{title}:", *(listed or ["  nothing"]), ""]
    return "\n".join(lines[:-1]) + "\n"


def _told(problems: list[Problem]) -> Iterator[str]:
    for problem in problems:
        yield printable(f"  {problem.file}:{problem.line}: {problem.where}: {problem.message}")


def _undeclared(history: History, sparse: int) -> Iterator[str]:
    """What no declaration explains, as the entries that would: an answer, not advice."""
    history.settle()
    rest = History(history.declarations)
    rest.addresses, rest.first, rest.last = history.addresses, history.first, history.last
    for act, times in history.acts.items():
        if times.undeclared:
            rest.acts[act] = replace(times, count=times.undeclared, doubts=set(times.doubts))
    for entry in propose(rest, sparse=sparse).entries:
        yield f"  {printable(sentence(entry))}"
        yield from (f"    {printable(remark)}" for remark in remarks(entry))
        yield f"    {entry_line(entry.allow)}"
