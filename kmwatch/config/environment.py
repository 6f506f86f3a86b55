"""`${NAME}` in the configuration file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from kmwatch.config.problems import Problem
from kmwatch.config.source import Document, Plain, Where

_REFERENCE = re.compile(r"\$(\$?)\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def substitute(document: Document, environ: Mapping[str, str], problems: list[Problem]) -> Document:
    """The document with every `${NAME}` of a value replaced, and `$${` read as a literal `${`.

    Keys stay as they are. What came from the environment is noted as hidden, so that no message repeats it.
    """
    hidden: set[Where] = set()
    value = _Substitution(document, environ, problems, hidden).walk(document.value, ())
    return replace(document, value=value, hidden=document.hidden | hidden)


class _Substitution:
    def __init__(
        self, document: Document, environ: Mapping[str, str], problems: list[Problem], hidden: set[Where]
    ) -> None:
        self._document, self._environ, self._problems, self._hidden = document, environ, problems, hidden

    def walk(self, value: Plain, where: Where) -> Plain:
        if isinstance(value, dict):
            return {key: self.walk(inner, (*where, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.walk(inner, (*where, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _REFERENCE.sub(lambda found: self._replaced(found, where), value)
        return value

    def _replaced(self, found: re.Match[str], where: Where) -> str:
        escaped, name, closed = found.groups()
        if escaped:
            return found[0][1:]
        if not closed or not _NAME.fullmatch(name):
            message = "${ begins the name of an environment variable, as in ${NAME}; write $${ for a literal ${"
            self._problems.append(self._document.problem(where, message))
            return ""
        self._hidden.add(where)
        if name not in self._environ:
            message = f"the environment variable {name} is not set; set it or remove ${{{name}}}"
            self._problems.append(self._document.problem(where, message))
        return self._environ.get(name, found[0])
