"""Whether a part of the configuration is still what it was, with all that it is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from kmwatch.config.base import Model

_FILES = frozenset({"ca", "cert", "key", "token_file"})  # keys whose file's content counts


def fingerprint(given: Model) -> str:
    """Changes with its settings, its credentials, and what the certificate files that it names hold."""
    digest = hashlib.blake2b(digest_size=16)
    _digest(given, digest.update)
    return digest.hexdigest()


def _digest(value: object, update: Callable[[bytes], None]) -> None:
    if isinstance(value, SecretStr):
        update(value.get_secret_value().encode())
    elif isinstance(value, Model):
        for name in type(value).model_fields:
            update(f"\0{name}=".encode())
            inner = getattr(value, name)
            _digest(inner, update)
            if name in _FILES and isinstance(inner, Path):
                update(inner.read_bytes() if inner.is_file() else b"absent")
    else:
        update(repr(value).encode())
