"""`inventory`: what expires, what is orphaned, what nothing declares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmwatch.cli import main
from kmwatch.core.callermap import AllowEntry, CallerEntry, SecretGroup, UserSelector
from kmwatch.core.model import DAY, Secret
from kmwatch.core.stock import State, take_stock
from tests.support.declared import ALICE, NOON, TENANT, declarations
from tests.support.files import Files

HELD = declarations(
    [CallerEntry("octavia", users=(UserSelector(name="octavia"),))],
    [SecretGroup("all", projects=None, types=("opaque",))],
    [AllowEntry("e", ("octavia",), ("all",))],
)


def secret(number: int, **changes: object) -> Secret:
    fields: dict[str, object] = {"type": "opaque", "project_id": TENANT, "creator_id": ALICE, **changes}
    return Secret(f"s{number}", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "state", "why"),
    [
        ({"expires": NOON - DAY}, State.EXPIRED, "1 day ago"),
        ({"expires": NOON + 30 * DAY}, State.EXPIRES_SOON, "in 30 days"),
        ({"expires": NOON + 31 * DAY}, State.IN_ORDER, "in 31 days"),
        ({"creator_id": "gone"}, State.ORPHANED, "identities know no such creator"),
        ({"project_id": "gone"}, State.ORPHANED, "identities know no such project"),
        ({"creator_id": None, "project_id": None}, State.NO_EXPIRATION, "it never ends by itself"),
        ({"type": "symmetric"}, State.UNDECLARED, "no entry of the caller map is about it"),
    ],
)
def test_the_first_thing_to_be_said_of_a_secret_is_its_state(
    changes: dict[str, object], state: State, why: str
) -> None:
    known = declarations(
        [entry.caller.entry for entry in HELD.clauses], [SecretGroup("all", types=("opaque",))],
        [AllowEntry("e", ("octavia",), ("all",))],
    )  # fmt: skip
    known.holdings.put(secret(1, **changes))
    (item,) = take_stock([secret(1, **changes)], known, NOON, 30 * DAY)
    assert (item.state, item.why) == (state, why)


def test_what_is_urgent_comes_first_and_what_is_deleted_not_at_all() -> None:
    secrets = [secret(1), secret(2, expires=NOON + DAY), secret(3, expires=NOON - DAY), secret(4, deleted=True)]
    assert [item.secret.id for item in take_stock(secrets, HELD, NOON, DAY)][:2] == ["s3", "s2"]
    assert len(take_stock(secrets, HELD, NOON, DAY)) == 3


@pytest.fixture
def files(tmp_path: Path) -> Files:
    row = '{{"id": "{}", "name": "lb-\\u001b[2J", "secret_type": "private", "creator_id": "2", "expiration": {}}}\n'
    files = Files(tmp_path, inventory=row.format("s1", '"2020-01-01T00:00:00"') + row.format("s2", "null"))
    files.load()
    return files


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_it_is_shown_as_a_table_json_or_csv_and_hostile_names_stay_text(
    files: Files, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    assert main(["inventory", "-c", str(files.folder / "kmwatch.yaml"), "--output", output]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    assert err.endswith("2 secrets: 1 expired, 1 no expiration\n")
    if output == "json":
        assert [json.loads(line)["state"] for line in out.splitlines()] == ["expired", "no_expiration"]
    elif output == "csv":
        assert out.splitlines()[0].startswith("secret_id,name,state,why,expires")
    else:
        assert [line.split()[0] for line in out.splitlines()] == ["STATE", "expired"]


def test_without_an_inventory_it_says_what_to_do(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    files.settings = files.settings.replace("inventory: {file: inventory.jsonl}\n", "")
    files.load()
    assert main(["inventory", "-c", str(files.folder / "kmwatch.yaml")]) == 1
    assert "there is no inventory to read; name one under inventory" in capsys.readouterr().err
