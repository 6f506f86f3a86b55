"""`kmwatch report`: one page for a review, of a period of the store or of recordings."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from kmwatch.clock import SystemClock
from kmwatch.config.load import Loaded
from kmwatch.core.ledger import Query
from kmwatch.core.review import Terms, review
from kmwatch.inquiry import asking
from kmwatch.inquiry.history import opened
from kmwatch.report.build import build
from kmwatch.report.gather import Gathered
from kmwatch.report.page import render


async def report(loaded: Loaded, given: argparse.Namespace, out: TextIO) -> None:
    """Write the page that a command line asks for.

    Raises:
        SourceError, StoreError: what is asked cannot be read.
        OSError: the page cannot be written.
    """
    gathered = Gathered(loaded.declarations, given.since, given.until)
    async with opened(loaded, given.paths, progress=asking.waiting()) as asked:
        async for reads in asked.reads(Query(since=given.since, until=given.until)):
            for read in reads:
                gathered.read(read)
        async for lines in asked.findings():
            for line in lines:
                gathered.finding(line)
        uses, extent = await asked.uses(), await asked.extent()
    now = given.until
    if now is None:  # recordings have a clock of their own
        now = gathered.period[1] if given.paths else int(SystemClock().now() * 1e6)
    remarks = review(loaded.declarations.secrets(), uses, extent.since, now, Terms(idle=given.idle))
    page = render(build(gathered, remarks, extent, now))
    if str(given.html) == "-":
        out.write(page)
        return
    _write(given.html, page)
    sys.stderr.write(
        f"{given.html}: {sum(gathered.counts)} retrievals, {len(gathered.findings)} findings, "
        f"{len(page.encode()) // 1024} KiB; it names secrets and callers: mail it to nobody who may not know them\n"
    )


def _write(path: Path, page: str) -> None:
    """Whole or not at all, readable to its owner only: names of secrets are in it."""
    part = path.with_name(f".{path.name}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
