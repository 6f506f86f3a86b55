"""Files of an operator as plain values that remember their lines.

YAML is read by PyYAML's scanner and parser, but with a resolver and constructor of our own, because YAML 1.1
reads `mode: off` as false, `from: 08:00` as 480 and some hexadecimal ids as numbers. Here a plain scalar is
null, true, false or a whole number of at most 18 digits without leading zeros; anything else is text.
Tags, merge keys and several documents are errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from kmwatch.config.problems import Problem, place

Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]
Where = tuple[str | int, ...]

_MEBIBYTE = 1 << 20
_LARGEST = 4 * _MEBIBYTE
_MOST_NODES = 200_000
_DEEPEST = 64

_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAGS = frozenset(  # what PyYAML gives to values without a tag of their own
    f"tag:yaml.org,2002:{name}"
    for name in ("map", "seq", "str", "null", "bool", "int", "float", "timestamp", "value", "merge")
)
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file. `lines` count from 1; `hidden` are places whose text is from the environment."""

    file: str
    value: Plain
    lines: Mapping[Where, int]
    hidden: frozenset[Where] = field(default_factory=frozenset)

    def line(self, where: Where) -> int:
        """The line of a place, or of the nearest place around it that is there."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def problem(self, where: Where, message: str) -> Problem:
        """An error at a place."""
        return Problem(self.file, self.line(where), place(where), message)


class _RefusedError(Exception):
    """The file cannot be used from here on."""

    def __init__(self, line: int, where: Where, message: str) -> None:
        super().__init__(message)
        self.line, self.where, self.message = line, where, message


def read_text(path: Path, shown: str, problems: list[Problem], largest: int = _LARGEST) -> str | None:
    """The text of a file, or None and a problem: unreadable, larger than `largest` bytes, not UTF-8."""
    try:
        if path.stat().st_size > largest:
            problems.append(Problem(shown, 1, "", f"is larger than {largest // _MEBIBYTE} MiB; split or shorten it"))
            return None
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problems.append(Problem(shown, 1, "", f"cannot be read ({error.strerror}); check the path and its rights"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(Problem(shown, line, "", "is not UTF-8 text; save it as UTF-8"))
    return None


def load_yaml(path: Path, shown: str, problems: list[Problem]) -> Document | None:
    """Read a YAML file whose top is a mapping.

    Args:
        path: where it is.
        shown: how messages name it.
        problems: every problem found is added here.

    Returns:
        The document, or None if it cannot be used at all; with a duplicate key the first one counts.
    """
    text = read_text(path, shown, problems)
    if text is None:
        return None
    try:
        builder = _Builder(shown, problems)
        return Document(shown, builder.top(yaml.compose(text, Loader=yaml.SafeLoader)), builder.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(Problem(shown, mark.line + 1 if mark else 1, "", _syntax(error)))
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        message = "holds a character that YAML does not allow; remove it"
        problems.append(Problem(shown, text.count("\n", 0, position) + 1, "", message))
    except RecursionError:
        problems.append(Problem(shown, 1, "", f"is nested more than {_DEEPEST} levels deep; flatten it"))
    except _RefusedError as refused:
        problems.append(Problem(shown, refused.line, place(refused.where), refused.message))
    return None


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be parsed"
    if r"'\t'" in problem:
        return "a tab cannot indent YAML; use spaces"
    context = f" {error.context}" if error.context else ""
    return f"is not valid YAML here:{context} {problem}; check indentation, quotes and brackets"


class _Builder:
    """Nodes to plain values, within bounds however aliases multiply them."""

    def __init__(self, shown: str, problems: list[Problem]) -> None:
        self.lines: dict[Where, int] = {}
        self._shown, self._problems, self._nodes = shown, problems, 0

    def top(self, node: yaml.Node | None) -> Plain:
        if not isinstance(node, yaml.MappingNode):
            message = "must hold keys and values (key: value); it is empty or something else"
            raise _RefusedError(1, (), message)
        return self.build(node, (), 0)

    def build(self, node: yaml.Node, where: Where, depth: int) -> Plain:
        self._nodes += 1
        line = self.lines.setdefault(where, node.start_mark.line + 1)
        if self._nodes > _MOST_NODES:
            raise _RefusedError(line, (), f"has more than {_MOST_NODES} values, aliases included; shorten it")
        if depth > _DEEPEST:
            raise _RefusedError(line, (), f"is nested more than {_DEEPEST} levels deep; flatten it")
        if node.tag not in _TAGS:
            raise _RefusedError(line, where, f"the tag {node.tag} is not supported; remove it")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*where, index), depth + 1) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, where: Where, depth: int) -> Plain:
        result: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _RefusedError(line, where, "a key must be plain text")
            key = str(key_node.value)
            here = (*where, key)
            if key in result:
                first = self.lines[here]
                message = f"this key is already on line {first}; keep one of the two"
                self._problems.append(Problem(self._shown, line, place(here), message))
                continue
            if key == "<<":
                raise _RefusedError(line, where, "merge keys (<<) are not supported; repeat the keys or use an alias")
            self.lines[here] = line
            result[key] = self.build(value_node, here, depth + 1)
        return result

    @staticmethod
    def _scalar(node: yaml.Node) -> Plain:
        text = str(node.value)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        return int(text) if _WHOLE.fullmatch(text) else text
