"""What the bundled recording's ledger answers: the golden files of `reads`, `explain` and `report`.

    python -m tests.golden.inquiry    writes tests/golden/inquiry/ anew

Look at the difference before you commit it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import msgspec

from kmwatch.cli import main as kmwatch
from kmwatch.config.load import load
from kmwatch.core.ledger import Query
from kmwatch.core.model import DAY
from kmwatch.core.review import Terms, review
from kmwatch.inquiry.history import opened
from kmwatch.report.build import build
from kmwatch.report.gather import Gathered
from kmwatch.report.view import View
from tests.support.audit import RECORDING

GOLDEN = Path(__file__).parent / "inquiry"
CONFIG = RECORDING / "complete.yaml"  # every witness
SOURCES = [str(RECORDING / name) for name in ("cadf.jsonl.gz", "service.log.gz", "haproxy.log.gz", "uwsgi.log.gz")]
FROM = [word for path in SOURCES for word in ("--from", path)]
EXPLAINED = (
    "req-bd8628aa-bc12-4525-873c-bacd562f212c",  # a stranger's, with a padded path
    "req-2d3d309c-164a-41b0-978b-e1599586824d",  # a declared one
    "api:req-ecea002f-adfa-43f4-b59f-7ac2efa2b0b3",  # by the deprecated way
    "req-cba6912a-c679-44c8-8514-833fe5146c17",  # from <script>, says X-Forwarded-For
    "req-6f3d7a24-feb8-4630-a1ab-74c49610c120",  # a service's credential from elsewhere, with a forged address
)


def ask(*words: str) -> str:
    """What a command prints about the recording."""
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        code = kmwatch([words[0], "-c", str(CONFIG), *FROM, *words[1:]])
    assert code == 0
    return out.getvalue()


async def view() -> View:
    """What the report of the recording shows."""
    loaded = load(CONFIG, {})
    gathered = Gathered(loaded.declarations, None, None)
    async with opened(loaded, SOURCES) as asked:
        async for reads in asked.reads(Query()):
            for read in reads:
                gathered.read(read)
        async for lines in asked.findings():
            for line in lines:
                gathered.finding(line)
        uses, extent = await asked.uses(), await asked.extent()
    now = gathered.period[1]
    remarks = review(loaded.declarations.secrets(), uses, extent.since, now, Terms(idle=90 * DAY))
    return build(gathered, remarks, extent, now)


def digest(shown: View) -> str:
    """The page without its bulk: figures, matrix, declarations, and what each group of unexplained reads says."""
    concerns = Counter(word for secret in shown.secrets for word, _ in secret.concerns)
    told = {
        "period": shown.period,
        "reach": shown.reach,
        "tiles": [tile for tile in shown.tiles if tile.label != "Findings"],  # the catalogue grows
        "columns": shown.columns,
        "matrix": {
            row.caller: {
                column: f"{cell.state} {cell.reads}/{cell.stray}"
                for column, cell in zip(shown.columns, row.cells, strict=True)
                if cell.state != "none" or cell.stray
            }
            for row in shown.matrix
        },
        "entries": [f"{e.entry} {e.state} {e.reads} {e.distinct} {e.broken}" for e in shown.entries],
        "unexplained": [
            f"{g.caller} of {g.project}: {g.reason}, nearest {g.nearest} fails on {g.failed}; {g.entitled}; {g.size}"
            for g in shown.reads
        ],
        "secrets": {**concerns, "never expire, in use": len(shown.endless)},
    }
    return json.dumps(msgspec.to_builtins(told), indent=1, ensure_ascii=False) + "\n"


def answers() -> dict[str, str]:
    """Every golden file's content."""
    return {
        "reads.csv": ask("reads", "--output", "csv"),
        "explain.txt": ask("explain", *EXPLAINED),
        "explain.jsonl": ask("explain", *EXPLAINED, "--output", "json"),
        "report.json": digest(asyncio.run(view())),
    }


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, content in answers().items():
        (GOLDEN / name).write_text(content, encoding="utf-8", newline="\n")
