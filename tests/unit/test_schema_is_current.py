"""The published JSON Schemas are those of the code, and the shipped files obey them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from kmwatch.config.schema import FILES, schema, write
from kmwatch.config.source import load_yaml

CONFIG = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_committed_schema_is_what_the_code_says(name: str) -> None:
    committed = (CONFIG / name).read_text(encoding="utf-8")
    assert committed == schema(FILES[name]), "run python -m kmwatch.config.schema"


def test_schemas_are_written_into_a_folder(tmp_path: Path) -> None:
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("folder", [".", "recording"])
def test_the_shipped_files_obey_their_schema(name: str, folder: str) -> None:
    document = load_yaml(CONFIG / folder / f"{name.split('.', maxsplit=1)[0]}.yaml", "x", [])
    assert document is not None
    validator = Draft202012Validator(json.loads((CONFIG / name).read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(document.value)] == []


@pytest.mark.parametrize(
    "text", ["callers: {a: {users: [{}], network: [x]}}", "allow: [{id: a}]", "callers: {a: {networks: }}"]
)
def test_a_schema_refuses_what_the_grammar_does_not_have(text: str) -> None:
    validator = Draft202012Validator(json.loads((CONFIG / "callers.schema.json").read_text(encoding="utf-8")))
    assert list(validator.iter_errors(yaml.safe_load(text)))
