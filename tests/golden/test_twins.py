"""Direct reads of a store at the very moment of an API read of the same secret, over the Key Manager's own token.

Recorded with Vault 1.21.4 and Barbican 23.0.0; `pairs.tsv` is the driver's word. Two reads of the store stand against
one API request: that there was one too many is certain, which of the two it was is not.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from kmwatch.config.load import load
from tests.golden.replaying import lines, run

DATA = Path(__file__).parent / "data/backend/twins"
CONFIGURATION = f"""
sources: [{{file: {{paths: [none.jsonl]}}}}]
witnesses: {{cadf: required, backend: required}}
callers: callers.yaml
inventory: {{file: {DATA / "inventory.jsonl"}}}
store: {{sqlite: {{path: state.db}}}}
sinks: [{{name: screen, stdout: {{}}}}]
"""
CALLERS = """
callers: {}
allow: []
backend:
  clients: [{id: api, roles: [barbican], addresses: [127.0.0.1/32], mounts: [barbican/]}]
"""
PAIRS = [tuple(line.split("\t")) for line in (DATA / "pairs.tsv").read_text().splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The lines of KMW-035."""
    folder = tmp_path_factory.mktemp("twins")
    (folder / "kmwatch.yaml").write_text(CONFIGURATION)
    (folder / "callers.yaml").write_text(CALLERS)
    found = asyncio.run(
        run(load(folder / "kmwatch.yaml", {}), [DATA / "cadf.jsonl.gz", DATA / "vault.jsonl.gz"], folder)
    )
    return [line for line in lines(found.alerts) if line["finding_info"]["analytic"]["uid"] == "KMW-035"]


def test_there_are_pairs() -> None:
    assert len(PAIRS) == 12


@pytest.mark.parametrize(("intruder", "own", "request_id"), PAIRS)
def test_a_pair_is_told_as_a_pair_with_the_one_request_that_it_shares(
    told: list[Any], intruder: str, own: str, request_id: str
) -> None:
    evidence = {one["uid"]: one["api"]["operation"] for line in told for one in line["evidences"]}
    both = [evidence[f"backend:{intruder}"], evidence[f"backend:{own}"]]
    assert both[0] == both[1]  # neither of them is accused
    assert both[0].endswith(f", one of 2 reads for 1 request (api:{request_id})")


def test_a_pair_is_told_in_one_finding_that_is_critical_and_names_the_secret(told: list[Any]) -> None:
    (uid,) = {line["finding_info"]["uid"] for line in told}
    assert uid
    assert {line["severity"] for line in told} == {"Critical"}
    cited = {event_id for line in told for event_id in line["unmapped"]["kmwatch"]["event_ids"]}
    assert cited == {f"backend:{one}" for pair in PAIRS for one in pair[:2]}
    told_of = {resource["uid"] for line in told for resource in line.get("resources", ())}
    stored = set(re.findall(r'"id": "([^"]+)"', (DATA / "inventory.jsonl").read_text()))
    assert told_of == stored


def test_nobody_who_read_by_the_api_is_named_as_an_actor(told: list[Any]) -> None:
    assert {one["actor"]["user"].get("uid") for line in told for one in line["evidences"] if one.get("actor")} <= {None}
