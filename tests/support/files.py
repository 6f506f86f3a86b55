"""Configuration files on disk for one test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from textwrap import dedent

from kmwatch.config.load import Loaded, load
from kmwatch.config.problems import ConfigurationError

TODAY = date(2026, 11, 24)
SETTINGS = """\
sources: [{file: {paths: ["-"]}}]
callers: callers.yaml
identities: {file: identities.json}
inventory: {file: inventory.jsonl}
store: {sqlite: {path: state.db}}
sinks: [{name: screen, stdout: {}}]
"""
CALLERS = """\
callers:
  octavia: {users: [{name: octavia}]}
secrets:
  lb: {names: ["lb-*"], types: [private]}
allow:
  - {id: octavia-lb, callers: [octavia], secrets: [lb]}
"""
IDENTITIES = '{"users": {"octavia": "1", "alice": "2"}, "projects": {"service": "3"}}'
INVENTORY = '{"id": "s1", "name": "lb-1", "secret_type": "private", "creator_id": "2"}\n'


@dataclass
class Files:
    """The four files of a configuration, right unless a test says otherwise."""

    folder: Path
    settings: str = SETTINGS
    callers: str = CALLERS
    identities: str = IDENTITIES
    inventory: str = INVENTORY

    def load(self, **environ: str) -> Loaded:
        """Write the files and load them."""
        contents = {
            "kmwatch.yaml": self.settings,
            "callers.yaml": self.callers,
            "identities.json": self.identities,
            "inventory.jsonl": self.inventory,
        }
        for name, text in contents.items():
            (self.folder / name).write_text(dedent(text), encoding="utf-8", newline="")
        return load(self.folder / "kmwatch.yaml", environ, today=TODAY)

    def problems(self, **environ: str) -> list[str]:
        """Errors and warnings, one line each, without the folder."""
        try:
            found = self.load(**environ).problems
        except ConfigurationError as error:
            found = error.problems
        return [problem.render().removeprefix(f"{self.folder}/") for problem in found]
