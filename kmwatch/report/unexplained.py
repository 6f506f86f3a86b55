"""The reads that nothing explains: those of one caller that fail for one reason stand together."""

from __future__ import annotations

from kmwatch.core.declaration import Declarations
from kmwatch.core.entitlement import Rule, entitlement, known_roles
from kmwatch.core.ledger import Read
from kmwatch.core.model import Initiator, Secret, Witness
from kmwatch.report.gather import Gathered
from kmwatch.report.view import ReadGroup, ReadRow
from kmwatch.report.words import TEXT, second, word
from kmwatch.wire.escape import visible

_WAYS = {
    Rule.PROJECT_ADMIN: "as admin of its project",
    Rule.CREATOR: "as its creator",
    Rule.PROJECT_MEMBER: "as member of its project",
    Rule.ACL_USER: "by its ACL",
}
_LOGS = {
    Witness.CADF: "audit",
    Witness.SERVICE_LOG: "service",
    Witness.ACCESS_LOG: "access",
    Witness.PROXY_LOG: "proxy",
}


def unexplained(gathered: Gathered) -> tuple[ReadGroup, ...]:
    """Groups of reads, the newest group first, and the newest read first in each."""
    found: dict[tuple[str, ...], list[Read]] = {}
    for read in reversed(gathered.unexplained):
        found.setdefault(_key(read, gathered.declarations), []).append(read)
    return tuple(_group(reads, key[-1], gathered.declarations) for key, reads in found.items())


def _key(read: Read, declarations: Declarations) -> tuple[str, ...]:
    near = read.more.nearest
    failed = ("", "", "") if near is None else (near.declaration, near.failed_field, near.expected)
    who = (read.user_id or "", read.user_name or "", read.project_id or "")
    return (*who, str(read.explained), read.more.reason, *failed, _entitled(read, declarations))


def _group(reads: list[Read], entitled: str, declarations: Declarations) -> ReadGroup:
    first, directory = reads[0], declarations.directory
    near, more = first.more.nearest, first.more
    secrets = len({read.secret_id for read in reads})
    size = f"{len(reads)} read{'s' if len(reads) > 1 else ''} of {secrets} secret{'s' if secrets > 1 else ''}"
    return ReadGroup(
        word(first.user_name or directory.user_name(first.user_id) or first.user_id or "unknown"),
        word(first.user_id or ""),
        word(more.project_name or directory.project_name(first.project_id) or first.project_id or "unknown"),
        "unexplained" if first.explained is False else "undecided",
        more.reason,
        "" if near is None else word(near.declaration),
        "" if near is None else f"{near.failed_field}, which asks for {word(near.expected)}",
        entitled,
        size,
        tuple(_row(read, declarations) for read in reads),
    )


def _row(read: Read, declarations: Declarations) -> ReadRow:
    secret = None if read.secret_id is None else declarations.secret(read.secret_id)
    return ReadRow(
        second(read.event_time),
        word((secret.name if secret else None) or "no name"),
        word(read.secret_id or "no id is shown"),
        about(secret, declarations),
        word(read.address or "no address"),
        f"({read.more.address_source})",
        visible(read.agent or "", TEXT),
        read.more.evidence,
        ", ".join(_LOGS[witness] for witness in read.more.seen_in),
        visible(", ".join(read.more.flags), TEXT),
        word(read.request_id or read.event_id),
    )


def _entitled(read: Read, declarations: Declarations) -> str:
    """By which way the Key Manager's own policy let it through, as far as is known."""
    secret = None if read.secret_id is None else declarations.secret(read.secret_id)
    who = Initiator(read.user_id, read.user_name, read.project_id, None, read.more.roles)
    found = entitlement(who, secret, known_roles(who, declarations))
    if found.permitted:
        return f"permitted {' and '.join(_WAYS[rule] for rule in found.by if rule in _WAYS)}"
    if found.permitted is False:
        return "permitted by no way that is known now: inventory, ACL, roles or policy differ"
    if len(found.left) == 1:
        return f"permitted {_WAYS[found.left[0]]}: every other way is ruled out"
    return "permitted by a way that inventory, ACL and roles do not tell"


def about(secret: Secret | None, declarations: Declarations) -> str:
    """Type, owner and creator of a secret."""
    if secret is None:
        return "not in the inventory"
    directory = declarations.directory
    project = directory.project_name(secret.project_id) or secret.project_id or "unknown"
    creator = directory.user_name(secret.creator_id) or secret.creator_id or "unknown"
    return visible(f"{secret.type or 'type unknown'}, of {project}, by {creator}", TEXT)
