"""`kmwatch check`: all that can be said of a configuration, its caller map, and the map's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TextIO

from kmwatch.config.inventory import database_rights
from kmwatch.config.load import Loaded
from kmwatch.config.problems import ConfigurationError, Level, Problem, ordered
from kmwatch.config.review import review
from kmwatch.config.testing import failures
from kmwatch.config.usage import unused, wider
from kmwatch.core.learn.usage import Usage
from kmwatch.learn.watching import watch


def check(
    loaded: Loaded, config: Path, paths: Sequence[str], *, today: date, progress: TextIO | None = None
) -> tuple[Problem, ...]:
    """Review a configuration that loads.

    Args:
        loaded: the configuration.
        config: its file, as messages name it.
        paths: history, to tell what of the map is not used; may be empty.
        today: the date in UTC.
        progress: where to show a replay's progress, if a person waits.

    Returns:
        All warnings, those of loading included.

    Raises:
        ConfigurationError: a test of the map fails, or the database refuses.
        SourceError: the history cannot be read.
    """
    held = loaded.declarations
    inventory = {secret.id: secret for secret in held.secrets()}
    found = [*loaded.problems, *failures(loaded.map, loaded.identities, inventory, today)]
    found += review(loaded.map, loaded.settings, held, inventory, today)
    source = loaded.settings.inventory
    if source is not None and source.database is not None:
        found += database_rights(source.database, str(config))
    if paths:
        usage = Usage(held, proxy_expected=loaded.settings.witnesses.proxy_log != "absent")
        asyncio.run(watch(loaded, paths, [usage], progress))
        found += [*unused(loaded.map, usage), *wider(loaded.map, usage)]
    problems = ordered(found)
    if any(problem.level is Level.ERROR for problem in problems):
        raise ConfigurationError(problems)
    return problems
