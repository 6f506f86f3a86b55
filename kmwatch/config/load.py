"""The configuration with all the files it names, loaded together: all of it is right, or nothing starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from kmwatch.config.environment import substitute
from kmwatch.config.identities import load_identities
from kmwatch.config.inventory import load_inventory, read_again, read_database
from kmwatch.config.keystone import load_keystone
from kmwatch.config.lint import lint
from kmwatch.config.lint_backend import lint_backend
from kmwatch.config.lint_http import lint_http
from kmwatch.config.lint_silences import Known, lint_silences
from kmwatch.config.maps import MapFile, compiled, read_map
from kmwatch.config.openstack import load_lists
from kmwatch.config.problems import ConfigurationError, Level, Problem, ordered
from kmwatch.config.resolve import unresolved
from kmwatch.config.settings import Settings
from kmwatch.config.source import Document, load_yaml
from kmwatch.config.translate import validate
from kmwatch.config.values import Context
from kmwatch.core.callermap import CallerMap
from kmwatch.core.declaration import Declarations
from kmwatch.core.directory import Identities
from kmwatch.core.model import Micros, Secret


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used. `problems` are warnings only, sorted."""

    settings: Settings
    declarations: Declarations
    problems: tuple[Problem, ...]
    map: MapFile  # as written, for whoever has something to say of its lines
    identities: Identities


def load(path: Path, environ: Mapping[str, str], *, today: date | None = None) -> Loaded:
    """Load a configuration file and the caller map, identities and inventory it names.

    Args:
        path: the configuration file; messages name it and its neighbours as this path does.
        environ: the environment, for `${NAME}`.
        today: the date in UTC, to warn of expired declarations; None leaves those unsaid.

    Returns:
        The settings, the compiled declarations, and the warnings.

    Raises:
        ConfigurationError: with every error and warning of all the files at once.
    """
    loading = _Loading(path, environ, today)
    settings, caller_map, identities, inventory = loading.read()
    problems = ordered(loading.problems)
    if settings is None or loading.file is None or any(problem.level is Level.ERROR for problem in problems):
        raise ConfigurationError(problems)
    return Loaded(settings, Declarations(caller_map, identities, inventory), problems, loading.file, identities)


def refreshed(loaded: Loaded) -> tuple[Loaded, Micros | None]:
    """The same configuration with its inventory read again; the same object where nothing of it has changed.

    The caller map and all else stay as they were loaded, whatever has become of their files.

    Returns:
        The configuration, and as of when its inventory is, by this host's clock; None: as of now.

    Raises:
        InventoryError: the inventory cannot be read, or a part of it is broken.
    """
    source = loaded.settings.inventory
    if source is None:
        return loaded, None
    secrets, written = read_again(source)
    declarations = Declarations(compiled(loaded.map), loaded.identities, secrets)
    same = declarations.digest == loaded.declarations.digest
    return (loaded if same else replace(loaded, declarations=declarations)), written


class _Loading:
    """One run of `load`. It goes on after errors as far as the files make sense."""

    def __init__(self, path: Path, environ: Mapping[str, str], today: date | None) -> None:
        self._path, self._environ, self._today = path, environ, today
        self._context = Context(path.absolute().parent)
        self.problems: list[Problem] = []
        self.file: MapFile | None = None

    def read(self) -> tuple[Settings | None, CallerMap, Identities, tuple[Secret, ...]]:
        document = load_yaml(self._path, str(self._path), self.problems)
        if document is None:
            return None, CallerMap(), Identities(), ()
        document = substitute(document, self._environ, self.problems)
        settings = self._settings(document)
        identities = self._identities(document, settings)
        inventory = self._inventory(document, settings)
        file = self.file = self._map(document)
        if file is None:
            return settings, CallerMap(), Identities(), ()
        self.problems += lint(file, self._today)
        self.problems += unresolved(file, identities, inventory)
        if settings is not None:
            users = None if identities is None else {user.id for user in identities.users}
            secrets = None if inventory is None else {secret.id for secret in inventory}
            known = Known(file.named("callers"), users, secrets)
            self.problems += lint_silences(settings, document, known, self._today)
            self.problems += lint_http(settings.http, document)
            self.problems += lint_backend(settings, document)
        failed = any(problem.level is Level.ERROR for problem in self.problems)
        caller_map = CallerMap() if failed else compiled(file)
        return settings, caller_map, identities or Identities(), inventory or ()

    def _settings(self, document: Document) -> Settings | None:
        """The settings. Where a variable is not set, what follows from that is not said as well."""
        said = {problem.where for problem in self.problems}
        found: list[Problem] = []
        settings = validate(Settings, document.value, (), document, self._context, found)
        self.problems += [problem for problem in found if problem.where not in said]
        return settings

    def _identities(self, document: Document, settings: Settings | None) -> Identities | None:
        text = _text(document, "identities", "file")
        if text is not None:
            return load_identities(*self._named(text), self.problems)
        given = None if settings is None else settings.identities
        if given is not None and given.users is not None:
            return load_lists(given.users, given.projects, given.roles, self.problems)
        if given is not None and given.keystone is not None:
            return load_keystone(given.keystone, document, self.problems)
        return None

    def _inventory(self, document: Document, settings: Settings | None) -> tuple[Secret, ...] | None:
        text = _text(document, "inventory", "file")
        if text is not None:
            return load_inventory(*self._named(text), self.problems)
        if settings is None or settings.inventory is None or settings.inventory.database is None:
            return None
        return read_database(settings.inventory.database, document, self.problems)

    def _map(self, document: Document) -> MapFile | None:
        text = _text(document, "callers")
        if text is None:
            return None
        path, shown = self._named(text)
        found = load_yaml(path, shown, self.problems)
        return None if found is None else read_map(found, Context(path.parent), self.problems)

    def _named(self, text: str) -> tuple[Path, str]:
        """Where a named file is, and how messages name it."""
        return self._context.folder / text, str(self._path.parent / text)


def _text(document: Document, *keys: str) -> str | None:
    value = document.value
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value and "\0" not in value else None  # NUL: the settings refuse it
