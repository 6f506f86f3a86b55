"""What makes a finding graver than its rule alone says: who touches a decoy, or forges an address, means it."""

from __future__ import annotations

from msgspec.structs import replace

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import Severity
from kmwatch.core.rules.base import Hit, Settings

FORGED = "address_forged"


def graver(hit: Hit, settings: Settings, declarations: Declarations) -> Hit:
    """The hit, one step graver if one of its requests shows intent; informational and low ones stay what they are."""
    severity = hit.severity or settings.severity
    if raised(severity) is severity:
        return hit
    for cited in hit.citations:
        if FORGED in cited.flags or (cited.target_id is not None and declarations.decoy(cited.target_id) is not None):
            return replace(hit, severity=raised(severity))
    return hit


def raised(severity: Severity) -> Severity:
    """One step graver; informational, low and critical stay what they are."""
    return Severity(severity + 1) if Severity.MEDIUM <= severity < Severity.CRITICAL else severity
