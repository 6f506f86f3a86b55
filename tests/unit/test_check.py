"""`check`: what deserves a second look in a valid map, the map's own tests, and what history never used."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmwatch.config.covering import _fits
from kmwatch.config.problems import ConfigurationError
from kmwatch.learn.checking import check
from tests.support.files import TODAY, Files

SETTINGS = """\
sources: [{file: {paths: ["-"]}}]
witnesses: {cadf: required, proxy_log: expected}
callers: callers.yaml
identities: {file: identities.json}
inventory: {file: inventory.jsonl}
store: {sqlite: {path: state.db}}
sinks: [{name: screen, stdout: {}}]
"""
INVENTORY = '{"id": "s1", "name": "lb-1", "secret_type": "private", "creator_id": "2", "project_id": "3"}\n'


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, settings=SETTINGS, inventory=INVENTORY)


def told(files: Files, *paths: str) -> list[str]:
    """Errors and warnings, one line each, without the folder."""
    try:
        loaded = files.load()
        problems = check(loaded, files.folder / "kmwatch.yaml", paths, today=TODAY)
    except ConfigurationError as error:
        problems = error.problems
    return [problem.render().removeprefix(f"{files.folder}/") for problem in problems]


# --------------------------------------------------------------------------------------------- a second look

OCTAVIA = "{users: [{name: octavia}]}"
LB = '{names: ["lb-*"], projects: [{id: "3"}]}'


def a_map(allow: str, callers: str = "", secrets: str = "", more: str = "") -> str:
    lines = ["callers:", f"  octavia: {OCTAVIA}", *(f"  {line}" for line in callers.splitlines())]
    lines += ["secrets:", f"  lb: {LB}", *(f"  {line}" for line in secrets.splitlines())]
    lines += ["allow:", *(f"  {line}" for line in allow.splitlines()), more]
    return "\n".join(lines) + "\n"


PLAIN = "- {id: octavia-lb, callers: [octavia], secrets: [lb]}"
CASES = {
    "soon to expire": (
        a_map("- {id: e, callers: [octavia], secrets: [lb], expires: 2026-12-10}"),
        "6: warning: allow[0].expires: expires in 16 days, after 2026-12-10; renew it or let it go",
    ),
    "shadowed by meaning": (
        a_map(PLAIN + "\n- {id: e, callers: [again], secrets: [keys]}",
              "again: {users: [{name: octavia}], networks: [10.0.0.0/24]}",
              'keys: {names: ["lb-k*"], types: [private], projects: [{id: "3"}]}'),
        '9: warning: allow[1]: "octavia-lb" (allow[0]) allows all of it already; remove one of the two',
    ),
    "idle rate": (
        a_map(PLAIN + "\n- {id: e, callers: [again], secrets: [lb], rate: 9/5m}", "again: {users: [{name: octavia}]}"),
        '8: warning: allow[1].rate: has no effect: "octavia-lb" (allow[0]) allows the same without a rate',
    ),
    "wide network": (
        a_map(PLAIN + "\n- {id: e, callers: [a], secrets: [lb]}",
              "a: {users: [{name: alice}], networks: [10.0.0.0/8]}"),
        "3: warning: callers.a.networks[0]: 10.0.0.0/8 is wider than a site; list the networks this caller really has",
    ),
    "names and types": (
        a_map(PLAIN + "\n- {id: e, callers: [octavia], secrets: [t]}", "", "t: {names: [x], types: [private]}"),
        ("5: warning: secrets.t: rests on names and types, which whoever creates a secret chooses;"
        " add projects, creators or containers"),
    ),
    "any name": (
        a_map(PLAIN + "\n- {id: e, callers: [octavia], secrets: [t]}", "", 't: {names: ["*"], projects: [{id: "3"}]}'),
        "5: warning: secrets.t.names[0]: fits every name; say which, or remove names",
    ),
    "nobody": (
        a_map(PLAIN + "\n- {id: e, callers: [a], secrets: [lb]}",
              'a: {users: [{name: alice, project: service}], projects: [{id: "9"}]}'),
        "3: warning: callers.a: nobody can be this caller: its users act in service, and projects asks for another",
    ),
    "empty group": (
        a_map(PLAIN + "\n- {id: e, callers: [octavia], secrets: [t]}", "", 't: {names: [gone], projects: [{id: "3"}]}'),
        "5: warning: secrets.t: selects no secret that the inventory has; correct it, or remove it if they are gone",
    ),
    "allowed decoy": (
        a_map(PLAIN, more="decoys: [{id: s1}]"),
        "7: warning: decoys[0]: nobody has a reason to touch it, and octavia-lb allows it; take it out of the group",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_deserves_a_second_look_is_said_at_its_line(files: Files, case: str) -> None:
    files.callers, expected = CASES[case]
    assert f"callers.yaml:{expected}" in told(files)


def test_a_plain_map_gets_no_remark(files: Files) -> None:
    files.callers = a_map(PLAIN)
    assert told(files) == []


def test_networks_without_a_witness_that_no_client_talks_over_are_told_of_once(files: Files) -> None:
    files.settings = SETTINGS.replace(", proxy_log: expected", "")
    files.callers = a_map(
        PLAIN + "\n- {id: e, callers: [a, b], secrets: [lb]}",
        "a: {users: [{name: alice}], networks: [10.0.0.0/24]}\nb: {users: [{id: b}], networks: [10.0.1.0/24]}",
    )
    assert [line for line in told(files) if "forge" in line] == [
        (
            "callers.yaml:1: warning: callers: the networks of a, b rest on addresses that a client can forge"
            " (X-Forwarded-For): neither proxy_log nor access_log is a witness; add one under witnesses"
        )
    ]


def test_a_network_outside_management_is_told_of(files: Files) -> None:
    files.settings = SETTINGS + "network: {management: [10.0.0.0/16]}\n"
    files.callers = a_map(PLAIN, "", "").replace(OCTAVIA, "{users: [{name: octavia}], networks: [192.0.2.0/24]}")
    assert [line for line in told(files) if "KMW-024" in line] == [
        (
            "callers.yaml:2: warning: callers.octavia.networks[0]: 192.0.2.0/24 lies outside network.management:"
            " every request from it is KMW-024"
        )
    ]


def test_a_group_of_more_than_half_of_all_secrets_is_told_of(files: Files) -> None:
    row = '{{"id": "{0}", "name": "lb-{0}", "project_id": "3", "creator_id": "2"}}\n'
    files.inventory = "".join(row.format(n) for n in range(30))
    files.callers = a_map(PLAIN)
    assert ["selects 30 of 30 secrets" in line for line in told(files)] == [True]


@pytest.mark.parametrize(
    ("wide", "narrow", "fits"),
    [("lb-*", "lb-key-*", True), ("lb-*", "lb-1", True), ("lb-*", "l*", False), ("*b", "ab", True),
     ("*b", "a*b", False), ("lb-?", "lb-1", True), ("lb-?", "lb-*", False), ("[a]*", "[a]b*", False)],
)  # fmt: skip
def test_a_pattern_covers_another_only_where_that_is_sure(wide: str, narrow: str, fits: bool) -> None:  # noqa: FBT001
    assert _fits(wide, narrow) is fits


# ------------------------------------------------------------------------------------------------ map tests

TESTED = a_map(
    "- {id: octavia-lb, callers: [octavia], secrets: [lb], hours: {from: '08:00', to: '18:00'}}",
    more="""\
tests:
  - {id: reads, user: {name: octavia}, secret: {id: s1}, expect: declared, by: octavia-lb}
  - {id: like-it, user: {name: octavia}, secret: {name: lb-new, project: service}, expect: declared}
  - {id: at-night, user: {name: octavia}, secret: {id: s1}, at: 2026-11-24T23:00:00Z, expect: hours, by: octavia-lb}
  - {id: stranger, user: {id: mallory}, secret: {id: s1}, expect: no_declaration}
  - {id: unknown, user: {name: octavia}, secret: {id: fresh}, expect: secret_unknown}
  - {id: own, user: {name: alice}, secret: {name: lb-x, creator: {name: alice}}, expect: no_declaration}
""",
)


def test_tests_of_a_map_that_hold_say_nothing(files: Files) -> None:
    files.callers = TESTED
    assert told(files) == []


def test_a_test_that_fails_is_an_error_at_its_line_with_what_it_got(files: Files) -> None:
    files.callers = TESTED.replace("expect: hours", "expect: declared").replace(
        "by: octavia-lb}\n  - {id: like", "by: x}\n  - {id: like"
    )
    assert told(files) == [
        'callers.yaml:8: tests[0]: "reads" expects declared by x, and gets declared by octavia-lb',
        (
            'callers.yaml:10: tests[2]: "at-night" expects declared by octavia-lb, and gets hours: nearest octavia-lb'
            " fails on hours: expected 08:00-18:00 UTC, got 2026-11-24T23:00:00Z"
        ),
    ]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("{id: a, user: {name: x}, secret: {id: s}, expect: maybe}", "tests[0].expect: must be one of"),
        ("{id: a, user: {}, secret: {id: s}, expect: declared}", "tests[0].user: a user is named by id or by name"),
        ("{id: a, user: {id: x}, secret: {}, expect: declared}", "tests[0].secret: tells nothing of the secret"),
        ("{id: a, user: {id: x}, secret: {id: s}, expect: declared, adress: x}", 'did you mean "address"?'),
    ],
)
def test_a_broken_test_is_refused_at_its_line(files: Files, test: str, message: str) -> None:
    files.callers = a_map(PLAIN, more=f"tests:\n  - {test}")
    (line,) = told(files)
    assert line.startswith("callers.yaml:8: ")
    assert message in line


def test_tests_have_ids_of_their_own(files: Files) -> None:
    one = "{id: a, user: {name: octavia}, secret: {id: s1}, expect: declared}"
    files.callers = a_map(PLAIN, more=f"tests:\n  - {one}\n  - {one}")
    assert ['the id "a" is taken by tests[0]' in line for line in told(files)] == [True]


def test_a_failing_test_keeps_nobody_from_starting(files: Files) -> None:
    files.callers = TESTED.replace("expect: hours", "expect: declared")
    assert files.load().problems == ()


# --------------------------------------------------------------------------------------------------- history

RECORDING = Path(__file__).parents[2] / "config" / "recording"


def test_history_tells_what_the_map_never_used() -> None:
    from kmwatch.config.load import load  # noqa: PLC0415

    loaded = load(RECORDING / "kmwatch.yaml", {}, today=TODAY)
    history = str(RECORDING / "cadf.jsonl.gz")
    problems = check(loaded, RECORDING / "kmwatch.yaml", [history], today=TODAY)
    said = {(problem.where, problem.message) for problem in problems}
    assert ("allow[7]", '"glance-own" was never used in this history; ask its owner, or remove it') in said
    assert ("callers.octavia.networks[2]", "nothing came from 127.0.1.32/32 in this history") in said
    assert not any("octavia-lb" in message for _, message in said)
