"""Moves a whole store into another that is empty, and holds what arrived against what was sent."""

from __future__ import annotations

from kmwatch.ports import StoreError
from kmwatch.store.tables import TABLES, Archive, Digest, digest


def copy(source: Archive, to: Archive) -> dict[str, Digest]:
    """Copy everything; the target is written whole, after it was read back and compared, or not at all.

    Args:
        source: is only read.
        to: must be empty.

    Returns:
        The digest of each table, the same on both sides.

    Raises:
        InUseError: an instance is active on one of them.
        StoreError: the target is not empty, or does not hold what was sent.
    """
    digests: dict[str, Digest] = {}
    with source.held(write=False), to.held(write=True):
        for table in TABLES:
            if not table.single and next(iter(to.rows(table)), None) is not None:
                raise StoreError(f"{to.name} is not empty: it has rows in {table.name}; name a new one")
        for table in TABLES:
            to.load(table, source.rows(table))
            sent, arrived = digest(source.rows(table)), digest(to.rows(table))
            if sent != arrived:
                raise StoreError(
                    f"{table.name} arrived as {arrived.rows} rows, digest {arrived.hash}, and was sent as {sent.rows}"
                    f" rows, digest {sent.hash}; nothing was written to {to.name}"
                )
            digests[table.name] = sent
        to.begin_at(source.number())
    return digests
