"""Identities as the OpenStack client lists them and as Keystone's API gives them; roles in each form."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kmwatch.config.identities import load_identities
from kmwatch.config.keystone import load_keystone
from kmwatch.config.openstack import load_lists
from kmwatch.config.problems import Problem
from kmwatch.config.settings import Keystone
from kmwatch.config.source import Document
from kmwatch.core.directory import Assignment, Directory, Identities, Project, User
from tests.support.files import Files

USERS = [
    {"ID": "u1", "Name": "alice", "Project": "", "Domain": "default", "Description": "", "Email": "", "Enabled": True},
    {"ID": "u2", "Name": "alice", "Domain": "d2"},
]
PROJECTS = [{"ID": "p1", "Name": "web", "Domain ID": "default", "Description": "", "Enabled": True}]
ROLES = [
    {"Role": "member", "User": "alice@Default", "Group": "", "Project": "web@Default", "Domain": "", "System": ""},
    {"Role": "admin", "User": "u2", "Group": "", "Project": "p1", "Domain": "", "Inherited": False},
    {"Role": "reader", "User": "", "Group": "ops", "Project": "p1", "Domain": ""},
    {"Role": "admin", "User": "u2", "Group": "", "Project": "", "Domain": "", "System": "all"},
]


def lists(folder: Path, users: object = USERS, projects: object = PROJECTS, roles: object = ROLES) -> list[Path]:
    paths = []
    for name, content in (("users", users), ("projects", projects), ("roles", roles)):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return paths


def test_the_clients_lists_are_users_projects_and_roles(tmp_path: Path) -> None:
    problems: list[Problem] = []
    users, projects, roles = lists(tmp_path)
    found = load_lists(users, projects, roles, problems)
    assert problems == []
    assert found.users == (User("u1", "alice", "default"), User("u2", "alice", "d2"))
    assert found.projects == (Project("p1", "web", "default"),)
    assert found.assignments == (Assignment("u1", "p1", "member"), Assignment("u2", "p1", "admin"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("{}", "is no list"),
        ("[1]", 'entry 1 has no "ID" and "Name"'),
        ('[{"ID": "1", "Name": "a"}, {"ID": "1", "Name": "b"}]', "entry 2 has an id that is there before"),
        ("[" * 100_000, "is no list"),
    ],
)
def test_a_broken_list_is_named(tmp_path: Path, content: str, message: str) -> None:
    problems: list[Problem] = []
    users, *_ = lists(tmp_path, users=content)
    load_lists(users, None, None, problems)
    assert [message in problem.message for problem in problems] == [True]


def test_a_role_that_is_none_is_named(tmp_path: Path) -> None:
    problems: list[Problem] = []
    users, projects, roles = lists(tmp_path, roles=[{"User": "u1"}])
    load_lists(users, projects, roles, problems)
    assert ['entry 1 has no "Role"' in problem.message for problem in problems] == [True]


def test_the_identities_file_tells_roles_too(tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    user = {"id": "u1", "project_id": "p1", "roles": ["member", "reader"]}
    path.write_text(json.dumps({"users": {"alice": user, "bob": "u2"}, "projects": {"web": "p1"}}), encoding="utf-8")
    directory = Directory(load_identities(path, "ids.json", []))
    assert directory.roles("u1", "p1") == ("member", "reader")
    assert directory.roles("u1", "p2") == ()  # none there
    assert directory.roles("u2", "p1") is None  # none known


def test_the_directory_tells_namesakes_apart() -> None:
    users = (User("u1", "alice", "default", "Default"), User("u2", "alice", "d2", "Other"))
    directory = Directory(Identities(users))
    assert (directory.user("u2"), directory.user("u3"), directory.user(None)) == (users[1], None, None)


def test_a_configuration_takes_one_form_of_identities(tmp_path: Path) -> None:
    lists(tmp_path)
    files = Files(tmp_path)
    files.settings = files.settings.replace(
        "identities: {file: identities.json}", "identities: {users: users.json, projects: projects.json}"
    )
    (said,) = [problem for problem in files.problems() if "identities" in problem]
    assert 'callers.octavia.users[0]: identities know no user "octavia"' in said
    files.settings = files.settings.replace("users: users.json, ", "")
    assert any("give one of them" in problem for problem in files.problems())


class _Api(BaseHTTPRequestHandler):
    """As much of Keystone's API v3 as the SDK asks for."""

    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_port}/v3"
        pages = {
            "/v3/domains": {"domains": [{"id": "default", "name": "Default"}]},
            "/v3/users": {"users": [{"id": "u1", "name": "alice", "domain_id": "default"}]},
            "/v3/projects": {"projects": [{"id": "p1", "name": "web", "domain_id": "default"}]},
            "/v3/role_assignments": {"role_assignments": [
                {"role": {"id": "r1", "name": "member"}, "user": {"id": "u1"}, "scope": {"project": {"id": "p1"}}},
                {"role": {"id": "r2", "name": "admin"}, "group": {"id": "g1"}, "scope": {"project": {"id": "p1"}}},
                {"role": {"id": "r2", "name": "admin"}, "user": {"id": "u1"}, "scope": {"system": {"all": True}}},
            ]},
        }  # fmt: skip
        version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": base}]}
        self._answer(200, pages.get(self.path.partition("?")[0].rstrip("/"), {"version": version}))

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        password = sent["auth"]["identity"]["password"]["user"]["password"]
        if password != "right":
            self._answer(401, {"error": {"code": 401, "message": "The request you have made requires authentication."}})
            return
        url = f"http://127.0.0.1:{self.server.server_port}/v3"
        endpoint = {"id": "e", "interface": "public", "region": "R", "region_id": "R", "url": url}
        catalog = [{"id": "s", "type": "identity", "name": "keystone", "endpoints": [endpoint]}]
        token = {"methods": ["password"], "expires_at": "2099-01-01T00:00:00.000000Z", "catalog": catalog,
                 "user": {"id": "u1", "name": "kmwatch", "domain": {"id": "default", "name": "Default"}},
                 "project": {"id": "p1", "name": "web", "domain": {"id": "default", "name": "Default"}},
                 "roles": [], "audit_ids": ["a"], "issued_at": "2026-01-01T00:00:00.000000Z"}  # fmt: skip
        self._answer(201, {"token": token}, ("X-Subject-Token", "t"))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, content: object, *headers: tuple[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def keystone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    auth = {"auth_url": f"http://127.0.0.1:{server.server_port}/v3", "username": "kmwatch", "password": "right",
            "project_name": "web", "user_domain_id": "default", "project_domain_id": "default"}  # fmt: skip
    path = tmp_path / "clouds.yaml"
    path.write_text(json.dumps({"clouds": {"here": {"auth": auth, "region_name": "R"}}}), encoding="utf-8")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    yield path
    server.shutdown()
    server.server_close()
    thread.join()


def read() -> tuple[Identities, list[str]]:
    problems: list[Problem] = []
    found = load_keystone(Keystone(cloud="here"), Document("kmwatch.yaml", {}, {}), problems)
    return found, [problem.message for problem in problems]


# The SDK warns its users of what it will drop itself, not of what they do.
quiet = pytest.mark.filterwarnings(
    "ignore::openstack.warnings.RemovedInSDK60Warning", "ignore::openstack.warnings.RemovedInSDK50Warning"
)


@quiet
@pytest.mark.usefixtures("keystone")
def test_keystone_is_read_by_its_sdk() -> None:
    assert read() == (
        Identities(
            (User("u1", "alice", "default", "Default"),),
            (Project("p1", "web", "default", "Default"),),
            (Assignment("u1", "p1", "member"),),
        ),
        [],
    )


@quiet
def test_what_keystone_refuses_is_a_problem_and_no_password_is_in_it(keystone: Path) -> None:
    keystone.write_text(keystone.read_text(encoding="utf-8").replace('"right"', '"hunter2"'), encoding="utf-8")
    found, (message,) = read()
    assert found == Identities()
    assert "cannot be read" in message
    assert "hunter2" not in message
