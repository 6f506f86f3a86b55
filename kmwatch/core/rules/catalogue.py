"""Every detection of this release, in the order in which they speak."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from kmwatch.core.declaration import Declarations
from kmwatch.core.learning import LEARNING, Learning
from kmwatch.core.model import Micros, Mode
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
    configuration_changed,
    conflicting_witness,
    contradicts_entitlement,
    cross_project,
    database_touched,
    decoy_touched,
    denied_burst,
    denied_then_allowed,
    detection_lag,
    dormant_declaration,
    first_seen_pair,
    grant_reverted,
    grant_then_read,
    host_audit_off,
    id_probing,
    in_use_deleted,
    incident,
    key_administration,
    legacy_read,
    list_then_read,
    many_networks,
    mass_deletion,
    master_key_read,
    master_key_tampered,
    memory_crowded,
    new_caller,
    orphaned_secret,
    rapid_reads,
    read_volume,
    reads_blinded,
    retrieval_outage,
    secret_expiring,
    unauthenticated_burst,
    unexpected_network,
    unexplained_read,
    unfamiliar_denied,
    unparsed_records,
)
from kmwatch.core.rules.base import Meta, Rule, Settings
from kmwatch.core.rules.history import AclHistory, Reads
from kmwatch.core.rules.unexpected_network import ANYWHERE, Network

_MODULES = (
    unexplained_read,
    broken_constraint,
    first_seen_pair,
    new_caller,
    rapid_reads,
    read_volume,
    list_then_read,
    grant_then_read,
    acl_widened,
    grant_reverted,
    contradicts_entitlement,
    cross_project,
    denied_burst,
    denied_then_allowed,
    id_probing,
    unfamiliar_denied,
    unauthenticated_burst,
    legacy_read,
    mass_deletion,
    in_use_deleted,
    decoy_touched,
    many_networks,
    unexpected_network,
    audit_gap,
    reads_blinded,
    conflicting_witness,
    dormant_declaration,
    detection_lag,
    unparsed_records,
    secret_expiring,
    orphaned_secret,
    retrieval_outage,
    key_administration,
    configuration_changed,
    memory_crowded,
    incident,
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


class Surroundings(Struct, frozen=True):
    """What rules must know of where they run, beside their settings."""

    network: Network = ANYWHERE
    learning: Micros = LEARNING  # for how long baselines only learn
    declared: Mapping[str, str] = {}  # what the run goes by (declared.py)


def build(
    settings: Mapping[str, Settings], limit: int, declarations: Declarations, given: Surroundings
) -> list[tuple[Rule, Settings]]:
    """Make the rules that are not off.

    Args:
        settings: by rule id; what is absent runs with the catalogue's defaults.
        limit: how many keys each rule may remember.
        declarations: the caller map and the inventory.
        given: where they run.

    Returns:
        Rules with their settings, in the order of the catalogue, but for KMW-029, which the shell runs.
    """
    of = {meta.id: settings.get(meta.id, meta.defaults) for meta in CATALOGUE}
    learning, acls, reads, network = Learning(given.learning), AclHistory(limit), Reads(limit), given.network
    entries = [entry.id for entry in declarations.caller_map.allow]
    rules: list[Rule] = [
        unexplained_read.UnexplainedRead(of["KMW-001"]),
        broken_constraint.BrokenConstraint(of["KMW-002"]),
        first_seen_pair.FirstSeenPair(of["KMW-003"], limit, learning),
        new_caller.NewCaller(of["KMW-004"], limit, learning),
        rapid_reads.RapidReads(of["KMW-005"], limit),
        read_volume.ReadVolume(of["KMW-006"], limit, learning),
        list_then_read.ListThenRead(of["KMW-007"], limit),
        grant_then_read.GrantThenRead(of["KMW-008"], acls, reads),
        acl_widened.AclWidened(of["KMW-009"]),
        grant_reverted.GrantReverted(of["KMW-010"], limit, acls),
        contradicts_entitlement.ContradictsEntitlement(acls),
        cross_project.CrossProject(of["KMW-012"]),
        denied_burst.DeniedBurst(of["KMW-013"], limit),
        denied_then_allowed.DeniedThenAllowed(of["KMW-014"], limit, acls),
        id_probing.IdProbing(of["KMW-015"], limit),
        unfamiliar_denied.UnfamiliarDenied(of["KMW-016"], limit),
        unauthenticated_burst.UnauthenticatedBurst(of["KMW-017"], limit),
        legacy_read.LegacyRead(of["KMW-018"]),
        mass_deletion.MassDeletion(of["KMW-019"], limit),
        in_use_deleted.InUseDeleted(of["KMW-020"], reads),
        decoy_touched.DecoyTouched(of["KMW-022"], declarations),
        many_networks.ManyNetworks(of["KMW-023"], limit, network),
        unexpected_network.UnexpectedNetwork(limit, network),
        audit_gap.AuditGap(of["KMW-025"], limit),
        reads_blinded.ReadsBlinded(of["KMW-026"], limit),
        conflicting_witness.ConflictingWitness(limit),
        dormant_declaration.DormantDeclaration(of["KMW-028"], limit, entries),
        unparsed_records.UnparsedRecords(of["KMW-030"], limit),
        secret_expiring.SecretExpiring(of["KMW-031"], limit, declarations, reads),
        orphaned_secret.OrphanedSecret(of["KMW-032"], declarations, reads),
        retrieval_outage.RetrievalOutage(of["KMW-033"], limit),
        key_administration.KeyAdministration(of["KMW-034"]),
        configuration_changed.ConfigurationChanged(limit, given.declared),
        memory_crowded.MemoryCrowded(),
        incident.Incident(of["KMW-047"], limit),
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
