"""The detections that a configuration may name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from kmwatch.config.problems import listed
from kmwatch.core.rules.catalogue import CATALOGUE

RULES = tuple(sorted(meta.id for meta in CATALOGUE))
COUNTING_RULES = tuple(sorted(meta.id for meta in CATALOGUE if meta.counts))
_CATALOGUE = frozenset(f"KMW-{number:03}" for number in range(1, 48))


def rule_name(name: str) -> str:
    """The id of a detection of this release; ValueError that lists them otherwise."""
    if name in RULES:
        return name
    if name in _CATALOGUE:
        raise ValueError(f"{name} is not available in this release; available: {listed(RULES)}")
    raise ValueError(f'there is no detection "{name}"; available: {listed(RULES)}')


RuleName = Annotated[str, BeforeValidator(rule_name), WithJsonSchema({"enum": list(RULES)})]
