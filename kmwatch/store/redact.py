"""Rejected records are kept for whoever has to find out why; what they hold of tokens is not."""

from __future__ import annotations

import re

KEPT_BYTES = 65_536
# keystonemiddleware shows an eighth of a token at each end; a broken record may hold a whole one. Fernet tokens
# begin with gAAAA, JWS tokens with eyJ; else whatever follows a key that speaks of a token, password or secret.
# Every repetition is bounded: an endless one makes the time grow with the square of the record.
_TOKENS = re.compile(rb"(?:gAAAA|eyJ)[A-Za-z0-9_\-=.]{4,}(?: x+ [A-Za-z0-9_\-=.]+)?")
_KEYED = re.compile(
    rb"((?:token|password|passwd|secret|authorization|credential)[a-z_\-]{0,32}[\\\"']{0,16}\s{0,8}[:=]\s{0,8}[\\\"']{0,16})"
    rb"([^\s\\\"',}\]{\[][^\\\"',}\]]*)",
    re.IGNORECASE,
)


def redacted(value: bytes) -> bytes:
    """The record without tokens, cut to KEPT_BYTES (the cut says so)."""
    clean = _KEYED.sub(rb"\1***", _TOKENS.sub(b"***", value[: KEPT_BYTES * 2]))
    if len(value) <= KEPT_BYTES and len(clean) <= KEPT_BYTES:
        return clean
    return clean[:KEPT_BYTES] + b"...(cut; %d bytes in all)" % len(value)
