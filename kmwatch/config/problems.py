"""What is wrong with an operator's files: every problem at once, with its place and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum


class Level(StrEnum):
    """error: nothing starts; warning: it starts, and `check` says so."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `line` counts from 1; `where` is the path within the file, empty for the file itself."""

    file: str
    line: int
    where: str
    message: str
    level: Level = Level.ERROR

    def render(self) -> str:
        """One line for a terminal: control characters and the like are escaped, whoever wrote them."""
        level = "warning: " if self.level is Level.WARNING else ""
        where = f"{self.where}: " if self.where else ""
        return printable(f"{self.file}:{self.line}: {level}{where}{self.message}")


class ConfigurationError(Exception):
    """The configuration cannot be used. `problems` holds all errors and warnings, sorted."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = ordered(problems)
        super().__init__("\n".join(problem.render() for problem in self.problems))


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file, line and place, each once."""
    return tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.where, p.level, p.message)))


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing if no known word is close."""
    close = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def listed(words: Sequence[str]) -> str:
    """`a, b, c` for a message."""
    return ", ".join(words)


def place(path: Iterable[str | int]) -> str:
    """A path as people write it: ("allow", 2, "callers") is allow[2].callers."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def printable(text: str) -> str:
    """The text with all that is not printable escaped: it cannot drive a terminal or forge a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
