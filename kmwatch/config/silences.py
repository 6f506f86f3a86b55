"""Silences as a security engineer writes them: each scoped, and each with an owner, a reason and an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from kmwatch.config.base import Model
from kmwatch.config.callers import Name
from kmwatch.config.rules import RuleName
from kmwatch.config.times import Expiry
from kmwatch.config.values import Cidr, Id, Text

Rule = RuleName


class Silence(Model):
    """Findings that are recorded and counted, and not sent. Keys are ANDed, the values of a list ORed."""

    id: Name
    """Its name in alerts; unique."""
    detections: Annotated[tuple[Rule, ...], Field(min_length=1)] | None = None
    """Detections; without it all of them."""
    callers: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Names of the caller map, or user ids."""
    secrets: Annotated[tuple[Id, ...], Field(min_length=1)] | None = None
    """Secret ids."""
    networks: Annotated[tuple[Cidr, ...], Field(min_length=1)] | None = None
    """Networks the requests came from, as the proxy or web server proves it where there is one."""
    owner: Text
    """Who answers for it."""
    reason: Text
    """Why nobody needs to hear of it."""
    expires: Expiry
    """The last day that counts, in UTC."""
    ticket: Text | None = None
    """Where it was agreed."""


def unique_silences(silences: tuple[Silence, ...]) -> tuple[Silence, ...]:
    """The silences; ValueError where two share an id."""
    twice = repeated(silence.id for silence in silences)
    if twice is not None:
        raise ValueError(f'two silences have the id "{twice}"; give each its own')
    return silences


def repeated(names: Iterable[str]) -> str | None:
    """A name that occurs twice."""
    return next((name for name, n in Counter(names).items() if n > 1), None)
