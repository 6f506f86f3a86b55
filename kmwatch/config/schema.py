"""JSON Schemas of the two files an operator writes, for editors and reviewers.

`python -m kmwatch.config.schema` writes them. They describe values after `${NAME}` is replaced. What spans
several entries (references, duplicates) only `kmwatch check` knows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kmwatch.config.base import Model
from kmwatch.config.callers import CallersFile
from kmwatch.config.settings import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILES: dict[str, type[Model]] = {"callers.schema.json": CallersFile, "kmwatch.schema.json": Settings}


def schema(model: type[Model]) -> str:
    """The schema of a model as a file holds it: sorted keys, a final newline."""
    content = _plain(model.model_json_schema(by_alias=True))
    content["$schema"] = _DIALECT
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(node: dict[str, object]) -> dict[str, object]:
    """Without generated titles, and without null: an empty key is an error, not an absent one."""
    plain: dict[str, object] = {}
    for key, value in node.items():
        if key in {"properties", "$defs"} and isinstance(value, dict):
            plain[key] = {name: _plain(inner) for name, inner in value.items()}
        elif key == "anyOf" and isinstance(value, list) and {"type": "null"} in value:
            for member in value:
                plain.update(_plain(member) if member != {"type": "null"} else {})
        elif key != "title" and not (key == "default" and value is None):
            plain[key] = _inner(value)
    return plain


def _inner(value: object) -> object:
    if isinstance(value, dict):
        return _plain(value)
    return [_inner(item) for item in value] if isinstance(value, list) else value


def write(folder: Path) -> None:
    """Write all schemas into a folder."""
    for name, model in FILES.items():
        (folder / name).write_text(schema(model), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "config"))
