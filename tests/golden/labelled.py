"""Labelled requests: what a recording's driver knows of each request it sent (columns: see README.md)."""

from __future__ import annotations

import gzip
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent
NOBODY: tuple[None, None] = (None, None)


class Label(Struct, frozen=True):
    """One request with what is right to say of it. Empty sets: nothing is asked."""

    request_id: str
    expected: str  # retrieval/legit, retrieval/unfamiliar, acl_change, ...
    status: int
    kinds: frozenset[str]
    outcomes: frozenset[str]
    failures: frozenset[str]
    who: tuple[str | None, str | None]  # user and project id
    audited: bool  # the audit middleware saw it: not before authentication, not refused by the proxy


def read(path: Path) -> list[Label]:
    """Read a table of labels."""
    people: dict[str, tuple[str | None, str | None]] = {"-": NOBODY}
    labels: list[Label] = []
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        if line.startswith("#"):
            _, alias, _, _, user, _, _, project = line.split()
            people[alias] = user, project
        elif not line.startswith("request_id"):
            request_id, expected, status, kinds, outcomes, failures, who, audit = line.split("\t")
            labels.append(
                Label(
                    request_id,
                    expected,
                    int(status),
                    _set(kinds),
                    _set(outcomes),
                    _set(failures),
                    people[who],
                    audit == "audited",
                )
            )
    return labels


def _set(text: str) -> frozenset[str]:
    return frozenset() if text == "-" else frozenset(text.split("|"))
