"""Every detection of this release, in the order in which they speak."""

from __future__ import annotations

from collections.abc import Mapping

from kmwatch.core.model import Mode
from kmwatch.core.rules import (
    acl_widened,
    audit_gap,
    backend_access_refused,
    backend_changed,
    backend_key_extraction,
    backend_log_silent,
    backend_read_unaccounted,
    backend_session_unaccounted,
    broken_constraint,
    conflicting_witness,
    database_touched,
    decoy_touched,
    denied_burst,
    host_audit_off,
    id_probing,
    key_administration,
    legacy_read,
    mass_deletion,
    master_key_read,
    master_key_tampered,
    rapid_reads,
    reads_blinded,
    retrieval_outage,
    unauthenticated_burst,
    unexpected_network,
    unexplained_read,
    unfamiliar_denied,
    unparsed_records,
)
from kmwatch.core.rules.base import Meta, Rule, Settings
from kmwatch.core.rules.unexpected_network import ANYWHERE, Network

_MODULES = (
    unexplained_read,
    broken_constraint,
    rapid_reads,
    acl_widened,
    denied_burst,
    id_probing,
    unfamiliar_denied,
    unauthenticated_burst,
    legacy_read,
    mass_deletion,
    decoy_touched,
    unexpected_network,
    audit_gap,
    reads_blinded,
    conflicting_witness,
    unparsed_records,
    retrieval_outage,
    key_administration,
    backend_read_unaccounted,
    backend_session_unaccounted,
    backend_key_extraction,
    backend_access_refused,
    backend_changed,
    backend_log_silent,
    master_key_read,
    master_key_tampered,
    host_audit_off,
    database_touched,
)
CATALOGUE: tuple[Meta, ...] = tuple(module.META for module in _MODULES)


def build(settings: Mapping[str, Settings], limit: int, network: Network = ANYWHERE) -> list[tuple[Rule, Settings]]:
    """Make the rules that are not off.

    Args:
        settings: by rule id; what is absent runs with the catalogue's defaults.
        limit: how many keys each rule may remember.
        network: from where, and how, requests are to come.

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
        unauthenticated_burst.UnauthenticatedBurst(of["KMW-017"], limit),
        legacy_read.LegacyRead(of["KMW-018"]),
        mass_deletion.MassDeletion(of["KMW-019"], limit),
        decoy_touched.DecoyTouched(of["KMW-022"]),
        unexpected_network.UnexpectedNetwork(limit, network),
        audit_gap.AuditGap(of["KMW-025"], limit),
        reads_blinded.ReadsBlinded(of["KMW-026"], limit),
        conflicting_witness.ConflictingWitness(limit),
        unparsed_records.UnparsedRecords(of["KMW-030"], limit),
        retrieval_outage.RetrievalOutage(of["KMW-033"], limit),
        key_administration.KeyAdministration(of["KMW-034"]),
        backend_read_unaccounted.BackendReadUnaccounted(),
        backend_session_unaccounted.BackendSessionUnaccounted(),
        backend_key_extraction.BackendKeyExtraction(),
        backend_access_refused.BackendAccessRefused(),
        backend_changed.BackendChanged(),
        backend_log_silent.BackendLogSilent(of["KMW-040"]),
        master_key_read.MasterKeyRead(),
        master_key_tampered.MasterKeyTampered(),
        host_audit_off.HostAuditOff(limit),
        database_touched.DatabaseTouched(),
    ]
    return [(rule, of[rule.meta.id]) for rule in rules if of[rule.meta.id].mode is not Mode.OFF]
