"""The command line of `kmwatch store`. What the commands need is loaded when one of them runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType
from typing import Protocol


class _Commands(Protocol):
    """What `argparse` gives for subcommands."""

    def add_parser(self, name: str, *, help: str, description: str = ...) -> argparse.ArgumentParser:  # noqa: A002
        """Add one."""


def add_store_commands(commands: _Commands) -> None:
    """Add `store` and what belongs to it to the command line."""
    store = commands.add_parser(
        "store", help="copy, check or migrate the store", description="Works on a store that no instance uses."
    )
    actions = store.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    copy = actions.add_parser("copy", help="everything of one store into another, compared by digest")
    copy.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="FILE", help="a configuration: its store is read"
    )
    copy.add_argument(
        "--to", dest="target", type=Path, required=True, metavar="FILE", help="a configuration: its store is written"
    )
    copy.set_defaults(command=lambda given: _upkeep().copy(given.source, given.target))
    check = actions.add_parser("check", help="find what in a store does not fit together")
    migrate = actions.add_parser("migrate", help="make the schema, or bring it up to date, as another role")
    for parser in (check, migrate):
        parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration file")
    migrate.add_argument(
        "--as", dest="url", metavar="URL", help="the owner's URL; its password is read from PGPASSWORD"
    )
    check.set_defaults(command=lambda given: _upkeep().check(given.config))
    migrate.set_defaults(command=lambda given: _upkeep().migrate(given.config, given.url))


def _upkeep() -> ModuleType:
    from kmwatch import upkeep  # noqa: PLC0415

    return upkeep
