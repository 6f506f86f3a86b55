"""A daemon that is fed the recording of all witnesses bit by bit, so that a Prometheus can watch it work."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.daemon import RECORDING, Config, configuration, file_sink

LOGS = ("cadf.jsonl", "service.log", "haproxy.log", "uwsgi.log")


class Feed(NamedTuple):
    """Followed files and the lines that are still to be written to them."""

    folder: Path
    lines: dict[str, list[bytes]]

    @property
    def records(self) -> int:
        """How many lines there are in all."""
        return sum(len(lines) for lines in self.lines.values())

    def parts(self, number: int) -> Iterator[None]:
        """Write the next part of every log at each step, as many steps as asked for."""
        for part in range(number):
            for name, lines in self.lines.items():
                first, last = len(lines) * part // number, len(lines) * (part + 1) // number
                with (self.folder / name).open("ab") as log:
                    log.writelines(lines[first:last])
            yield


def feed(folder: Path) -> Feed:
    """Empty logs in a folder, and what to write to them."""
    lines = {}
    for name in LOGS:
        (folder / name).touch()
        with gzip.open(RECORDING / f"{name}.gz", "rb") as log:
            lines[name] = log.readlines()
    return Feed(folder, lines)


def watched(folder: Path, names: Sequence[str] = LOGS) -> Config:
    """The demo's configuration over followed files."""
    source: Config = {"file": {"paths": [str(folder / name) for name in names], "follow": True}}
    return configuration(
        folder,
        source,
        [file_sink(folder)],
        witnesses={
            "cadf": "required",
            "service_log": "expected",
            "proxy_log": "expected",
            "access_log": "expected",
        },
        proxies=["127.0.0.1/32"],
        timing={"lateness": "10s", "settle": "30s"},
    )
