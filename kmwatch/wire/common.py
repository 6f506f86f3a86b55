"""What every output format needs: who we are, words for numbers, times as text, addresses judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

from kmwatch import __version__
from kmwatch.core.model import Activity, Citation, Finding, Micros, Severity

PRODUCT = "kmwatch"
VENDOR = "kmwatch"
VERSION = __version__

SEVERITY_WORDS: dict[Severity, str] = {
    Severity.INFORMATIONAL: "Informational",
    Severity.LOW: "Low",
    Severity.MEDIUM: "Medium",
    Severity.HIGH: "High",
    Severity.CRITICAL: "Critical",
}
ACTIVITY_WORDS: dict[Activity, str] = {
    Activity.CREATE: "Create",
    Activity.UPDATE: "Update",
    Activity.CLOSE: "Close",
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(time: Micros) -> str:
    """RFC 3339 in UTC, six fractional digits. Raises OverflowError outside the years 1 to 9999."""
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@lru_cache(maxsize=4096)
def ip_version(address: str) -> Literal[0, 4, 6]:
    """4 or 6 for a plain IP address, 0 for other text; a zone (`%eth0`) is free text, so it counts as 0."""
    if "%" in address:
        return 0
    try:
        return ip_address(address).version
    except ValueError:
        return 0


def leading(finding: Finding) -> Citation | None:
    """The request that a one-request format shows: the last that this line cites, which triggered it."""
    return finding.citations[-1] if finding.citations else None


def split_operation(operation: str) -> tuple[str | None, str]:
    """Method and path of `Citation.operation`; the method is None where no log shows one ("-")."""
    method, _, path = operation.partition(" ")
    return (None if method == "-" else method), path


def shown_operation(citation: Citation) -> str:
    """What was asked for, as a reader wants it: by kind, where no log shows the method."""
    method, path = split_operation(citation.operation)
    return f"{method or citation.kind} {path}"
