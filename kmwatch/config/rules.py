"""The detections that a configuration may name."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from kmwatch.config.problems import listed

RULES = (
    "KMW-001",
    "KMW-002",
    "KMW-003",
    "KMW-004",
    "KMW-005",
    "KMW-006",
    "KMW-007",
    "KMW-008",
    "KMW-009",
    "KMW-010",
    "KMW-011",
    "KMW-012",
    "KMW-013",
    "KMW-014",
    "KMW-015",
    "KMW-016",
    "KMW-017",
    "KMW-018",
    "KMW-019",
    "KMW-020",
    "KMW-022",
    "KMW-023",
    "KMW-024",
    "KMW-025",
    "KMW-026",
    "KMW-027",
    "KMW-028",
    "KMW-029",
    "KMW-030",
    "KMW-031",
    "KMW-032",
    "KMW-033",
    "KMW-034",
    "KMW-035",
    "KMW-036",
    "KMW-037",
    "KMW-038",
    "KMW-039",
    "KMW-040",
    "KMW-041",
    "KMW-042",
    "KMW-043",
    "KMW-044",
    "KMW-045",
    "KMW-046",
    "KMW-047",
)
COUNTING_RULES = (
    "KMW-003",
    "KMW-004",
    "KMW-005",
    "KMW-006",
    "KMW-007",
    "KMW-008",
    "KMW-010",
    "KMW-013",
    "KMW-014",
    "KMW-015",
    "KMW-017",
    "KMW-019",
    "KMW-020",
    "KMW-023",
    "KMW-025",
    "KMW-026",
    "KMW-028",
    "KMW-029",
    "KMW-030",
    "KMW-031",
    "KMW-032",
    "KMW-033",
    "KMW-040",
    "KMW-047",
)
_CATALOGUE = frozenset(f"KMW-{number:03}" for number in range(1, 48))


def rule_name(name: str) -> str:
    """The id of a detection of this release; ValueError that lists them otherwise."""
    if name in RULES:
        return name
    if name in _CATALOGUE:
        raise ValueError(f"{name} is not available in this release; available: {listed(RULES)}")
    raise ValueError(f'there is no detection "{name}"; available: {listed(RULES)}')


RuleName = Annotated[str, BeforeValidator(rule_name), WithJsonSchema({"enum": list(RULES)})]
