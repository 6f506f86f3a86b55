"""Identities and inventory: the forms they come in, and the message of every broken line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmwatch.config.identities import load_identities
from kmwatch.config.inventory import load_inventory
from kmwatch.config.problems import Problem
from kmwatch.core.directory import Project, User
from kmwatch.core.model import Secret


def identities(tmp_path: Path, text: str) -> tuple[tuple[User, ...], tuple[Project, ...], list[str]]:
    path = tmp_path / "ids.json"
    path.write_text(text, encoding="utf-8")
    problems: list[Problem] = []
    found = load_identities(path, "ids.json", problems)
    return found.users, found.projects, [problem.render() for problem in problems]


def inventory(tmp_path: Path, content: bytes) -> tuple[tuple[Secret, ...], list[str]]:
    path = tmp_path / "inv.jsonl"
    path.write_bytes(content)
    problems: list[Problem] = []
    return load_inventory(path, "inv.jsonl", problems), [problem.render() for problem in problems]


def test_the_simple_form_maps_names_to_ids(tmp_path: Path) -> None:
    text = '{"domain": {"id": "default", "name": "Default"}, "users": {"a": "1"}, "projects": {"p": "2"}}'
    assert identities(tmp_path, text) == (
        (User("1", "a", "default", "Default"),),
        (Project("2", "p", "default", "Default"),),
        [],
    )


def test_objects_lists_and_unknown_keys_are_taken(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "set": "dev",
            "domains": {"Other": "d2"},
            "users": {"a": {"id": "1", "name": "a", "roles": ["x"], "domain_id": "d2"}},
            "projects": [{"id": "2", "name": "p", "domain_name": "Other"}],
            "roles": {},
        }
    )
    assert identities(tmp_path, text) == (
        (User("1", "a", "d2", "Other"),),
        (Project("2", "p", None, "Other"),),
        [],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "1: is not valid JSON: Expecting property name enclosed in double quotes; correct it here"),
        ("[]", '1: must be an object with "users" and "projects"'),
        ("{}", '1: has neither "users" nor "projects"; add them'),
        ('{"users": 3}', "1: users: must be an object {name: id} or a list of objects"),
        ('{"users": {\n"a": 3}}', '2: users.a: must be an id, or an object with "id"'),
        ('{"users": {\n\n"a": {"name": "a"}}}', '3: users.a: has no "id"; add it as text'),
        ('{"users": [{"id": "1"}]}', '1: users[0]: has no "name"; add it as text'),
        ('{"users": {"a": "1",\n"b": "1"}}', "2: users.b: has the id of users.a; remove one of the two"),
        ('{"users": {"a": "1",\n"a": "2"}}', "2: users.a: this key is there twice; keep one of the two"),
        ("[" * 200_000, "1: is nested too deep; flatten it"),
    ],
)
def test_broken_identities_are_refused_at_their_line(tmp_path: Path, text: str, message: str) -> None:
    assert identities(tmp_path, text)[2] == [f"ids.json:{message}"]


def test_a_row_of_the_inventory_is_a_secret_whatever_else_it_holds(tmp_path: Path) -> None:
    rows = (
        b'{"id": "1", "name": "n", "secret_type": "opaque", "status": "ACTIVE", "deleted_at": null, "creator_id": "c",'
        b' "project_id": "p", "containers": ["x"], "kek": 1}\r\n\n{"id": "2", "type": "private", "deleted": 1}\n'
        b'{"id": "3", "deleted_at": "2026-01-01"}'
    )
    assert inventory(tmp_path, rows) == (
        (
            Secret("1", "n", "opaque", "p", "c", deleted=False, containers=("x",)),
            Secret("2", type="private", deleted=True),
            Secret("3", deleted=True),
        ),
        [],
    )


def test_every_broken_line_is_named_and_the_others_count(tmp_path: Path) -> None:
    secrets, problems = inventory(tmp_path, b'{"id": 1}\n{"id": "1"}\n{\n{"id": "1"}\n{"id": ""}\n\xff\n')
    assert secrets == (Secret("1"),)
    assert problems == [
        "inv.jsonl:1: is no secret: Expected `str`, got `int` - at `$.id`; correct or export it again",
        "inv.jsonl:3: is not valid JSON; correct or export it again",
        "inv.jsonl:4: 1 is listed before; keep one line for each secret",
        'inv.jsonl:5: has an empty "id"; correct or export it again',
        "inv.jsonl:6: is not valid JSON; correct or export it again",
    ]


def test_thousands_of_broken_lines_are_counted_and_not_listed(tmp_path: Path) -> None:
    _, problems = inventory(tmp_path, b"{\n" * 5000)
    assert len(problems) == 21
    assert problems[-1] == "inv.jsonl:21: 4980 more lines from here on are broken; export it again"


def test_a_snapshot_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    problems: list[Problem] = []
    load_inventory(tmp_path / "none", "inv.jsonl", problems)
    load_identities(tmp_path / "none", "ids.json", problems)
    assert [problem.message for problem in problems] == [
        "cannot be read (No such file or directory); check the path and its rights"
    ] * 2
