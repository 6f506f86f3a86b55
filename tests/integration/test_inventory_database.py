"""The inventory from the Key Manager's own database, in the real servers that run it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace
from sqlalchemy import Engine, create_engine, text

from kmwatch.core.model import Secret
from kmwatch.inventory import tables
from kmwatch.inventory.database import Database
from kmwatch.inventory.rows import InventoryError
from tests.servers.mariadb import MariaDbServer
from tests.servers.postgres import PostgresServer
from tests.support.daemon import configuration, file_sink, run_kmwatch
from tests.support.keymanager import SECRETS, copy_to, make_sqlite

PASSWORD = "of-kmwatch-itself"
GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "inventory.md").read_text(encoding="utf-8")
GRANT = re.compile(r"GRANT SELECT \(([^)]+)\)\s+ON (?:barbican\.)?(\w+) TO kmwatch")
COPY = re.compile(r"CREATE TABLE (\w+) AS SELECT ([\w,\s]+?)\s+FROM original")


def documented(heading: str) -> list[str]:
    """The statements that the guide gives under a heading, with a password of ours."""
    section = GUIDE.split(f"### {heading}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    found = re.findall(r"```sql\n(.+?)```", section, re.DOTALL)
    statements = [one.strip() for one in "".join(found).replace("'choose one'", f"'{PASSWORD}'").split(";")]
    return [one for one in statements if one]


class Served:
    """A server with the database, and the URLs of two accounts: one with the documented grants, one with all."""

    def __init__(self, narrow: str, wide: str) -> None:
        self.narrow, self.wide = narrow, wide


def execute(engine: Engine, statements: list[str]) -> None:
    with engine.begin() as admin:
        for statement in statements:
            admin.execute(text(statement))


def serve_postgres(folder: Path) -> Iterator[Served]:
    with PostgresServer() as server:
        engine = create_engine(server.admin.replace("postgresql:", "postgresql+psycopg:"))
        copy_to(engine, folder)
        execute(engine, documented("PostgreSQL"))
        engine.dispose()
        yield Served(f"postgresql://kmwatch:{PASSWORD}@127.0.0.1:{server.port}/postgres", server.admin)


def serve_mariadb(folder: Path) -> Iterator[Served]:
    with MariaDbServer() as server:
        engine = create_engine(server.url("mysql"))
        with engine.begin() as admin:
            admin.execute(text("CREATE DATABASE barbican CHARACTER SET utf8mb4"))
        engine.dispose()
        engine = create_engine(server.url("barbican"))
        copy_to(engine, folder)
        execute(engine, documented("MariaDB and MySQL"))
        engine.dispose()
        narrow = f"mysql://kmwatch:{PASSWORD}@127.0.0.1:{server.port}/barbican"
        yield Served(narrow, server.url("barbican").replace("mysql", "mariadb"))


@pytest.fixture(scope="module", params=[serve_postgres, serve_mariadb], ids=["postgresql", "mariadb"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from request.param(tmp_path_factory.mktemp("keymanager"))


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    make_sqlite(tmp_path / "barbican.sqlite")
    return f"sqlite:///{tmp_path / 'barbican.sqlite'}"


def without_time_of_creation(secrets: tuple[Secret, ...]) -> list[Secret]:
    """MySQL's DATETIME keeps no fraction of a second."""
    return [replace(secret, created=None) for secret in secrets]


def test_every_server_gives_the_same_secrets(served: Served, sqlite: str) -> None:
    there = Database(served.narrow).read()
    assert len(there) == SECRETS
    assert without_time_of_creation(there) == without_time_of_creation(Database(sqlite).read())


def test_a_secret_comes_with_owner_deletion_expiry_acl_containers_and_plugin(sqlite: str) -> None:
    found = Database(sqlite).read()
    assert {secret.project_id for secret in found} <= {
        "35c15c16e4f04ad7939921b672c3c5ad", "12da61478a844d089d4432a0ca4861f1",
        "3efa421000bb4ced8860d66a0095b54c", "87cf47f7cd6e4ad98d9e6cabc0f161c1",
    }  # fmt: skip
    assert sum(secret.deleted for secret in found) >= 2
    (expiring,) = [secret for secret in found if secret.expires is not None]
    assert (expiring.type, expiring.expires) == ("symmetric", 1_806_494_400_000_000)  # 2027-03-31T12:00:00Z
    assert any(secret.project_access is False for secret in found)
    assert any(secret.project_access and secret.readers for secret in found)
    assert any(secret.containers for secret in found)
    assert {secret.plugin for secret in found} == {"barbican.plugin.crypto.simple_crypto.SimpleCryptoPlugin"}


@pytest.mark.parametrize("heading", ["PostgreSQL", "MariaDB and MySQL", "SQLite"])
def test_the_guide_names_what_is_read_and_nothing_else(heading: str) -> None:
    read = {table.name: {column.name for column in table.columns} for table in tables.TABLES}
    statements = "; ".join(documented(heading))
    given = [(table, columns) for columns, table in GRANT.findall(statements)] or COPY.findall(statements)
    assert {table: set(re.split(r",\s*", columns)) for table, columns in given} == read


def test_the_guides_copy_of_a_file_holds_the_same_secrets_and_nothing_encrypted(sqlite: str, tmp_path: Path) -> None:
    path = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(path)) as copy:
        for statement in documented("SQLite"):
            copy.execute(statement.replace("'barbican.sqlite'", f"'{tmp_path / 'barbican.sqlite'}'"))
        copy.commit()
    copied = Database(f"sqlite:///{path}")
    assert copied.read() == Database(sqlite).read()
    assert copied.excess() == []


def test_check_warns_of_an_account_that_could_read_payloads_and_of_no_other(served: Served, tmp_path: Path) -> None:
    for url, warned in ((served.narrow, False), (served.wide, True)):
        config = configuration(tmp_path, {"file": {"paths": ["none"]}}, [file_sink(tmp_path)])
        config["inventory"] = {"database": {"url": url}}
        path = tmp_path / "kmwatch.yaml"
        path.write_bytes(json.encode(config))
        done = run_kmwatch("check", "-c", str(path))
        assert done.returncode == 0, done.stderr
        assert ("the account can read encrypted_data.cypher_text" in done.stderr) is warned
        assert ("the account can write" in done.stderr) is warned
        assert PASSWORD not in done.stderr + done.stdout


def test_the_documented_grants_are_enough_and_not_too_much(served: Served) -> None:
    assert Database(served.narrow).excess() == []


def test_an_account_that_could_read_encrypted_data_or_write_is_told_of(served: Served) -> None:
    excess = Database(served.wide).excess()
    named = [f"{table}.{column}" for table, column in tables.FORBIDDEN]
    assert [sentence for sentence in excess[:-1] if not any(name in sentence for name in named)] == []
    assert len(excess) == len(named) + 1
    assert "can write" in excess[-1]


def test_a_copy_with_ciphertext_in_it_is_told_of(sqlite: str) -> None:
    excess = Database(sqlite).excess()
    assert any("encrypted_data.cypher_text" in sentence for sentence in excess)
    assert not any("kek_meta_extended" in sentence for sentence in excess)  # there is none in it


def test_nothing_can_be_written_through_it(served: Served) -> None:
    with Database(served.wide)._connected() as connection, pytest.raises(Exception, match=r"(?i)read[- ]only"):
        connection.execute(text("DELETE FROM secret_acl_users"))


def test_a_wrong_password_is_refused_and_never_repeated(served: Served) -> None:
    with pytest.raises(InventoryError) as refused:
        Database(served.narrow.replace(PASSWORD, "hunter2-hunter2")).read()
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_database_that_is_not_there_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(InventoryError, match="unable to open database file"):
        Database(f"sqlite:///{path}").read()
    assert not path.exists()


@pytest.mark.parametrize("url", ["", "what?", "oracle://u:secret-word@h/d", "postgresql:/x", "sqlite"])
def test_what_is_no_url_of_a_database_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InventoryError) as refused:
        Database(url).read()
    assert "secret-word" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE secrets SET id = NULL",
        "UPDATE secrets SET id = x'ff00'",
        "UPDATE secrets SET name = x'ff00'",
        "UPDATE secrets SET created_at = 'garbage'",
        "UPDATE secrets SET expiration = 5",
        "UPDATE secrets SET deleted_at = '0000-00-00 00:00:00'",
    ],
)
def test_a_row_that_is_none_of_a_key_manager_is_an_error_of_the_inventory(tmp_path: Path, change: str) -> None:
    """SQLite knows no types, PostgreSQL without an encoding gives bytes, MySQL has a day zero."""
    path = tmp_path / "copy.sqlite"
    make_sqlite(tmp_path / "barbican.sqlite")
    with closing(sqlite3.connect(path)) as copy:
        copy.execute("ATTACH ? AS original", (str(tmp_path / "barbican.sqlite"),))
        for statement in documented("SQLite")[1:]:
            copy.execute(statement)
        copy.execute(f"{change} WHERE rowid = 1")
        copy.commit()
    with pytest.raises(InventoryError, match=r"no text or no time.*export the inventory to a file"):
        Database(f"sqlite:///{path}").read()
