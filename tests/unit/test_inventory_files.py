"""Inventories in files: three forms, told by what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.model import Acl, Secret
from kmwatch.inventory.files import read_file
from kmwatch.inventory.rows import InventoryError, Snapshot

ID = "d9abaccb-04d5-45e3-ad16-e95954923241"
CREATED, EXPIRES = 1_795_466_872_664_796, 1_806_494_400_000_000
CLIENT = f"""[
  {{"Secret href": "https://km.example.net:9311/v1/secrets/{ID}", "Name": "lb-key", "Created":
    "2026-11-23T20:47:52.664796+00:00", "Status": "ACTIVE", "Content types": {{"default": "text/plain"}},
    "Algorithm": "aes", "Bit length": 256, "Secret type": "opaque", "Mode": null,
    "Expiration": "2027-03-31T12:00:00+00:00"}},
  {{"Secret href": "https://km.example.net:9311/v1/secrets/2/", "Name": null, "Secret type": "opaque"}}
]"""


def read(folder: Path, content: str | bytes) -> Snapshot:
    path = folder / "inventory"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_file(path)


def test_what_the_openstack_client_lists_is_an_inventory(tmp_path: Path) -> None:
    found = read(tmp_path, CLIENT)
    assert found.problems == []
    assert found.secrets == (
        Secret(ID, "lb-key", "opaque", created=CREATED, expires=EXPIRES),
        Secret("2", None, "opaque"),
    )


def test_a_table_is_an_inventory_with_lists_in_cells_and_empty_cells_absent(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "id,name,secret_type,project_id,creator_id,deleted_at,containers,acl_users,project_access,expiration\r\n"
        f'{ID},"lb, ""key""",opaque,p,c,,c1 c2,u1;u2,false,2027-03-31 12:00:00\r\n'
        "2,,,,,2026-11-23 20:47:52,,,,\r\n",
    )
    assert found.problems == []
    assert found.secrets == (
        Secret(
            ID, 'lb, "key"', "opaque", "p", "c", False, ("c1", "c2"),  # noqa: FBT003
            expires=EXPIRES, acl=Acl(project_access=False, users=("u1", "u2")),
        ),
        Secret("2", deleted=True),
    )  # fmt: skip


def test_the_clients_table_is_read_by_its_own_column_names(tmp_path: Path) -> None:
    found = read(tmp_path, f'"Secret href","Name","Secret type"\n"https://km/v1/secrets/{ID}","n","private"\n')
    assert (found.secrets, found.problems) == ((Secret(ID, "n", "private"),), [])


def test_json_lines_tell_of_expiry_and_access(tmp_path: Path) -> None:
    line = f'{{"id": "{ID}", "created_at": "2026-11-23 20:47:52.664796", "expiration": "2027-03-31 12:00:00",'
    found = read(tmp_path, line + ' "project_access": true, "acl_users": ["u"], "plugin_name": "p"}\n')
    assert found.secrets == (Secret(ID, created=CREATED, expires=EXPIRES, acl=Acl(users=("u",)), plugin="p"),)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("id,name\n1\n", 2, "has not as many cells"),
        ("id,name\n1,n\n1,m\n", 3, "1 is listed before"),
        ('id,name\n1,"x\n', 2, "is not valid CSV"),
        (b"id,name\n1,n\n2,\xff\n", 3, "is not UTF-8 text"),
        ("id,expiration\n1,soon\n", 2, '"expiration" is no time'),
        ("[1, 2]", 1, "is no list of secrets"),
        ('[{"Name": "n"}]', 1, "secret 1 of the list has no id"),
        ('{"id": "1", "created_at": "yesterday"}\n', 1, '"created_at" is no time'),
    ],
)
def test_what_is_broken_is_named_with_its_line(tmp_path: Path, content: str | bytes, line: int, message: str) -> None:
    ((at, said),) = read(tmp_path, content).problems
    assert at == line
    assert message in said


def test_a_broken_name_is_never_repeated(tmp_path: Path) -> None:
    found = read(tmp_path, "id,name,created_at\n1,\x1b[2Jevil,never\n")
    assert [message for _, message in found.problems if "evil" in message] == []


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="No such file"):
        read_file(tmp_path / "none")


@given(st.binary(max_size=300))
def test_no_bytes_are_a_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    found = read(tmp_path_factory.mktemp("bytes"), content)
    assert len(found.problems) <= 21
