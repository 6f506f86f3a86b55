"""The configurations that come with kmwatch work, and the recording's map says what its declared callers say."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmwatch.config.load import Loaded, load
from kmwatch.core.match import match
from kmwatch.core.model import Initiator, Kind, Reason
from tests.support.declared import event, initiator
from tests.support.files import TODAY

CONFIG = Path(__file__).parents[2] / "config"
NAMES = {"octavia", "alice", "anna", "bob", "bella", "magnum", "nova", "mallory"}


@pytest.fixture(scope="module")
def recording() -> Loaded:
    return load(CONFIG / "recording" / "kmwatch.yaml", {}, today=TODAY)


def who(recording: Loaded, name: str, address: str, project: str) -> Initiator:
    directory = recording.declarations.directory
    (user_id,), (project_id,) = directory.user_ids(name), directory.project_ids(project)
    return initiator(user_id, user_name=name, project_id=project_id, address=address)


def test_the_example_loads_without_a_remark() -> None:
    loaded = load(CONFIG / "kmwatch.yaml", {"KMWATCH_KAFKA_PASSWORD": "x"}, today=TODAY)
    assert loaded.problems == ()
    assert len(loaded.declarations.clauses) == 5


def test_the_recording_loads_without_a_remark(recording: Loaded) -> None:
    assert recording.problems == ()


LB_OF_ALICE = "567a1954-da61-4c6b-af9e-ade94fb1c198"
VOLUME_OF_ALICE = "ab4760c4-0199-480d-ad85-dc221528c1cb"
CI_OF_ALICE = "fc9a6ac9-a907-4759-a20b-c7efb27d4cc8"
CA_OF_ALICE = "1b20b12a-2bdb-44c9-8098-1d91204c4262"
APP_OF_ANNA = "e77fadfa-25d7-4c92-b6cf-7d776161c242"
SHARED_BY_ALICE_WITH_BOB = "0c3afca4-0233-455d-b0d3-cb088416ba8f"
OCTAVIA_OWN = "f418ef58-bdef-4c7e-95db-297ac6f1be7d"


@pytest.mark.parametrize(
    ("name", "address", "project", "secret", "declaration"),
    [
        ("octavia", "127.0.1.30", "service", LB_OF_ALICE, "octavia-lb"),
        ("octavia", "127.0.1.99", "service", OCTAVIA_OWN, "octavia-own"),
        ("alice", "127.0.1.101", "tenant-a", LB_OF_ALICE, "alice-own"),
        ("alice", "127.0.1.10", "tenant-a", VOLUME_OF_ALICE, "volumes"),
        ("alice", "127.0.1.22", "tenant-a", VOLUME_OF_ALICE, "volumes"),
        ("alice", "127.0.1.120", "tenant-a", CI_OF_ALICE, "alice-ci"),
        ("alice", "127.0.1.40", "tenant-a", CA_OF_ALICE, "clusters"),
        ("magnum", "127.0.1.40", "tenant-a", CA_OF_ALICE, "clusters"),
        ("bob", "127.0.1.111", "tenant-b", SHARED_BY_ALICE_WITH_BOB, "shared-with-bob"),
        ("anna", "127.0.1.102", "tenant-a", APP_OF_ANNA, "anna-own"),
    ],
)
def test_a_declared_reader_of_the_recording_is_explained(
    recording: Loaded, name: str, address: str, project: str, secret: str, declaration: str
) -> None:
    found = match(recording.declarations, event(who(recording, name, address, project), secret))
    assert (found.explained, found.declaration) == (True, declaration)


@pytest.mark.parametrize(
    ("name", "address", "project", "secret", "reason"),
    [
        ("octavia", "127.0.1.209", "service", LB_OF_ALICE, Reason.NETWORK),
        ("octavia", "127.0.1.30", "service", APP_OF_ANNA, Reason.NO_DECLARATION),
        ("alice", "127.0.1.101", "tenant-a", VOLUME_OF_ALICE, Reason.NETWORK),
        ("alice", "127.0.1.101", "tenant-a", APP_OF_ANNA, Reason.NO_DECLARATION),
        ("alice", "127.0.1.10", "tenant-a", LB_OF_ALICE, Reason.NETWORK),
        ("bob", "127.0.1.10", "tenant-b", VOLUME_OF_ALICE, Reason.NO_DECLARATION),
        ("nova", "127.0.1.10", "service", VOLUME_OF_ALICE, Reason.NO_DECLARATION),
        ("magnum", "127.0.1.40", "service", CA_OF_ALICE, Reason.NO_DECLARATION),
        ("mallory", "127.0.1.200", "tenant-m", LB_OF_ALICE, Reason.NO_DECLARATION),
    ],
)
def test_anybody_else_in_the_recording_is_not(
    recording: Loaded, name: str, address: str, project: str, secret: str, reason: Reason
) -> None:
    found = match(recording.declarations, event(who(recording, name, address, project), secret))
    assert (found.explained, found.reason) == (False, reason)


def test_owners_grant_and_delete_from_their_own_desks_only(recording: Loaded) -> None:
    held = recording.declarations
    for kind in (Kind.ACL_CHANGE, Kind.DELETE):
        home = event(who(recording, "alice", "127.0.1.101", "tenant-a"), LB_OF_ALICE, kind=kind)
        away = event(who(recording, "alice", "127.0.1.207", "tenant-a"), LB_OF_ALICE, kind=kind)
        assert match(held, home).explained is True
        assert match(held, away).reason is Reason.NETWORK


def test_the_decoy_of_the_recording_is_a_secret_of_its_inventory(recording: Loaded) -> None:
    decoy = "96480902-6688-4b08-b17d-9004e9374e82"
    assert recording.declarations.decoy(decoy) == "unused-victim"
    assert recording.declarations.secret(decoy) is not None
