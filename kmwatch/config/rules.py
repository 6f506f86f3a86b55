"""The detections that a configuration may name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from kmwatch.config.problems import listed

RULES = (
    "KMW-001",
    "KMW-002",
    "KMW-005",
    "KMW-009",
    "KMW-013",
    "KMW-015",
    "KMW-016",
    "KMW-017",
    "KMW-018",
    "KMW-019",
    "KMW-022",
    "KMW-024",
    "KMW-025",
    "KMW-026",
    "KMW-027",
    "KMW-030",
    "KMW-033",
    "KMW-034",
)
COUNTING_RULES = (
    "KMW-005",
    "KMW-013",
    "KMW-015",
    "KMW-017",
    "KMW-019",
    "KMW-025",
    "KMW-026",
    "KMW-030",
    "KMW-033",
)
_CATALOGUE = frozenset(f"KMW-{number:03}" for number in range(1, 45))


def _rule(name: object) -> object:
    if name in RULES:
        return name
    if name in _CATALOGUE:
        raise ValueError(f"{name} is not available in this release; available: {listed(RULES)}")
    raise ValueError(f'there is no detection "{name}"; available: {listed(RULES)}')


RuleName = Annotated[str, BeforeValidator(_rule), WithJsonSchema({"enum": list(RULES)})]
