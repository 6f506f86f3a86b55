"""How a rotation looks in an inventory: a newer secret of the same name, type, project and creator."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from kmwatch.core.model import HOUR, Micros, Secret

GRACE: Final[Micros] = HOUR  # after a successor was made: references may still be changed


def successors(secrets: Iterable[Secret]) -> dict[str, Secret]:
    """The next secret of the same name, type, project and creator, by id: how a rotation looks in an inventory."""
    lines: dict[tuple[object, ...], list[Secret]] = {}
    for secret in secrets:
        if secret.name and secret.created is not None:
            lines.setdefault((secret.name, secret.type, secret.project_id, secret.creator_id), []).append(secret)
    found: dict[str, Secret] = {}
    for line in lines.values():
        line.sort(key=lambda secret: (secret.created or 0, secret.id))
        for older, newer in pairwise(line):
            if (newer.created or 0) > (older.created or 0):
                found[older.id] = newer
    return found
