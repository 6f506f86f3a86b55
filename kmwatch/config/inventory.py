"""The secret inventory that a configuration names, with its problems at their places."""

from __future__ import annotations

from pathlib import Path

from kmwatch.config.problems import Level, Problem
from kmwatch.config.settings import InventoryDatabase, InventorySource
from kmwatch.config.source import Document, Where
from kmwatch.core.model import Micros, Secret
from kmwatch.inventory.database import Database
from kmwatch.inventory.files import read_file
from kmwatch.inventory.rows import InventoryError


def load_inventory(path: Path, shown: str, problems: list[Problem]) -> tuple[Secret, ...]:
    """Read the inventory; a broken line becomes a problem (the first twenty of them) and is left out."""
    try:
        found = read_file(path)
    except InventoryError as error:
        problems.append(Problem(shown, 1, "", str(error)))
        return ()
    problems.extend(Problem(shown, line, "", message) for line, message in found.problems)
    return found.secrets


_URL: Where = ("inventory", "database", "url")


def read_database(given: InventoryDatabase, document: Document, problems: list[Problem]) -> tuple[Secret, ...]:
    """Read the inventory from the Key Manager's database."""
    try:
        return Database(given.url.get_secret_value()).read()
    except InventoryError as error:
        problems.append(document.problem(_URL, str(error)))
        return ()


def read_again(source: InventorySource) -> tuple[tuple[Secret, ...], Micros | None]:
    """Read a configured inventory while the daemon runs: all of it, or nothing of it counts.

    Returns:
        The secrets, and as of when they are, by this host's clock: of a file when it was written; None: as of now.

    Raises:
        InventoryError: it cannot be read, or a row is broken.
    """
    if source.database is not None:
        return Database(source.database.url.get_secret_value()).read(), None
    if source.file is None:
        return (), None  # the settings hold one of the two
    written = _written(source.file)
    found = read_file(source.file)
    if found.problems:
        line, message = found.problems[0]
        raise InventoryError(f"{source.file}:{line}: {message}")
    return found.secrets, written


def _written(path: Path) -> Micros:
    try:
        return path.stat().st_mtime_ns // 1000
    except OSError as error:
        raise InventoryError(f"{path} cannot be read ({error.strerror}); check the path and its rights") from error


def database_rights(given: InventoryDatabase, file: str) -> list[Problem]:
    """Warnings about what the account could do beyond reading metadata; `file` is the configuration's name."""
    try:
        excess = Database(given.url.get_secret_value()).excess()
    except InventoryError as error:
        return [Problem(file, 1, "inventory.database.url", str(error))]
    return [Problem(file, 1, "inventory.database", message, Level.WARNING) for message in excess]
