"""Every detection of this release, in the order in which they speak."""

from __future__ import annotations

from collections.abc import Mapping

from kmwatch.core.model import Mode
from kmwatch.core.rules import (
    acl_widened,
    broken_constraint,
    decoy_touched,
    denied_burst,
    id_probing,
    mass_deletion,
    rapid_reads,
    unexplained_read,
    unfamiliar_denied,
)
from kmwatch.core.rules.base import Meta, Rule, Settings

_MODULES = (
    unexplained_read,
    broken_constraint,
    rapid_reads,
    acl_widened,
    denied_burst,
    id_probing,
    unfamiliar_denied,
    mass_deletion,
    decoy_touched,
)
CATALOGUE: tuple[Meta, ...] = tuple(module.META for module in _MODULES)


def build(settings: Mapping[str, Settings], limit: int) -> list[tuple[Rule, Settings]]:
    """Make the rules that are not off.

    Args:
        settings: by rule id; what is absent runs with the catalogue's defaults.
        limit: how many keys each rule may remember.

    Returns:
        Rules with their settings, in the order of the catalogue.
    """
    of = {meta.id: settings.get(meta.id, meta.defaults) for meta in CATALOGUE}
    rules: list[Rule] = [
        unexplained_read.UnexplainedRead(of["KMW-001"]),
        broken_constraint.BrokenConstraint(of["KMW-002"]),
        rapid_reads.RapidReads(of["KMW-005"], limit),
        acl_widened.AclWidened(of["KMW-009"]),
        denied_burst.DeniedBurst(of["KMW-013"], limit),
        id_probing.IdProbing(of["KMW-015"], limit),
        unfamiliar_denied.UnfamiliarDenied(of["KMW-016"]),
        mass_deletion.MassDeletion(of["KMW-019"], limit),
        decoy_touched.DecoyTouched(of["KMW-022"]),
    ]
    return [(rule, of[rule.meta.id]) for rule in rules if of[rule.meta.id].mode is not Mode.OFF]
