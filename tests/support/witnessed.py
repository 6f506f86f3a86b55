"""Seven seconds of a Key Manager on Vault as five witnesses tell them, direct reads of the store among them.

Audit events, service log, proxy log and the store's audit log are of one recording; the host's audit log is of another,
moved to the same time. On Kafka each witness has a partition of its own.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from tests.support.daemon import Config
from tests.support.recorded import Recorded, later

DATA = Path(__file__).parents[1] / "golden/data/behind"
PARTITIONS = 5
WITNESSES = dict.fromkeys(("service_log", "proxy_log", "backend", "host"), "expected") | {"cadf": "required"}
CALLERS = """
callers: {}
allow: []
backend:
  clients: [{id: api, roles: [barbican], addresses: [127.0.0.1/32], mounts: [barbican/]}]
host:
  key_files: [/etc/barbican/kek.conf]
  config: [/etc/barbican/*]
  databases: [/var/lib/barbican/*]
  readers: [{user: barbican, login: unset, exe: "/usr/bin/python3*"}]
  editors: [{login: ops1}]
"""


def records() -> list[Recorded]:
    """All of them by witness, and a request some minutes later that brings what is held back for a minute."""
    names = ("cadf.jsonl", "service.log", "haproxy.log", "vault.jsonl", "host.log")
    found = [Recorded(number, line) for number, name in enumerate(names) for line in _lines(name)]
    return [*found, *later(found[0], found)]


def spread(of: Sequence[Recorded]) -> list[Recorded]:
    """The same, the witnesses' records among each other, in the order of each."""
    sizes = {partition: sum(1 for one in of if one.partition == partition) for partition in range(PARTITIONS)}
    seen = dict.fromkeys(sizes, 0)
    placed = []
    for one in of:
        placed.append((seen[one.partition] / sizes[one.partition], one.partition, one))
        seen[one.partition] += 1
    return [one for *_, one in sorted(placed, key=lambda item: item[:2])]


def settings(folder: Path, source: Config, sinks: Sequence[Config]) -> Config:
    """A configuration that expects all five, with its caller map in the folder."""
    (folder / "callers.yaml").write_text(CALLERS)
    return {
        "sources": [source],
        "witnesses": WITNESSES,
        "callers": str(folder / "callers.yaml"),
        "inventory": {"file": str(DATA / "inventory.jsonl")},
        "store": {"sqlite": {"path": str(folder / "kmwatch.db")}},
        "sinks": list(sinks),
        "timing": {"lateness": "2s", "settle": "4s"},
    }


def _lines(name: str) -> list[bytes]:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes()).split(b"\n")[:-1]
