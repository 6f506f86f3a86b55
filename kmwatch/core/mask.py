"""Texts in which oslo.utils put `***` in the place of what looks like a password (strutils.mask_dict_password).

The `log` driver of oslo.messaging writes audit events that way, the drivers for a bus do not. Each text is masked by
itself, from a word such as `secret-` or `token-` on: `/v1/secret-stores/global-default` becomes
`/v1/secret-stores***`. Nobody contradicts such a copy by knowing more.
"""

from __future__ import annotations

from msgspec.structs import replace

from kmwatch.core.model import Initiator
from kmwatch.core.record import AuditRecord

MASK = "***"


def agree(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same as far as a mask lets one see."""
    if one == other:
        return True
    if one is None or other is None:
        return False
    return (MASK in one and other.startswith(one[: one.index(MASK)])) or (
        MASK in other and one.startswith(other[: other.index(MASK)])
    )


def agree_on_who(one: Initiator, other: Initiator) -> bool:
    """Whether two descriptions of who asked agree as far as a mask lets one see: names and agents are free text."""
    same = replace(other, user_name=one.user_name, agent=one.agent)
    return same == one and agree(one.user_name, other.user_name) and agree(one.agent, other.agent)


def is_masked_copy(one: AuditRecord, other: AuditRecord) -> bool:
    """Whether two records differ by nothing but a mask."""
    if not agree(one.path_raw, other.path_raw) or not agree_on_who(one.initiator, other.initiator):
        return False
    return replace(other, path_raw=one.path_raw, initiator=one.initiator) == one
