"""The pictures of the documentation, from real runs: `./dev pictures` writes docs/pictures/*.png.

The dashboards: a daemon follows all four logs of the bundled recording, written as they came, an intruder among
ordinary traffic; a real Prometheus scrapes it; a small renderer of our own, a page in a real Chromium with the Chart.js
that the report brings, draws the panels of deploy/grafana/*.json from what Prometheus answers to their expressions.
Not by Grafana: it can be had from no registry that this project uses.
"""

from __future__ import annotations

import asyncio
import html
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import json

from deploy.grafana.panels import BOARDS
from tests.operate.drawn import drawn
from tests.operate.monitored import LOGS, watched
from tests.operate.retimed import retimed
from tests.servers.chromium import chromium
from tests.servers.prometheus import PrometheusServer
from tests.support.daemon import CHECKOUT, RECORDING, Daemon

PICTURES = CHECKOUT / "docs" / "pictures"
_WIDTH = 1436
_BEFORE, _AFTER = 6.0, 6.0  # seconds of the chart around the recording
_PAGE = Path(__file__).parent / "board.html"


def main() -> None:
    """Draw all, or those that are named: dashboards, terminal, report."""
    chosen = sys.argv[1:] or ["dashboards", "terminal", "report"]
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="kmwatch-pictures-") as folder:
        pages: dict[str, tuple[Path, int, int]] = {}
        if "dashboards" in chosen:
            pages |= {name: (page, _WIDTH, 0) for name, page in dashboards(Path(folder)).items()}
        if "terminal" in chosen:
            pages["demo"] = (terminal(Path(folder)), 1240, 0)
        if "report" in chosen:
            pages["report"] = (report(Path(folder)), 1240, 1500)
        asyncio.run(_photograph(pages))


def dashboards(folder: Path) -> dict[str, Path]:
    """One page for each dashboard, of one run."""
    begin = (datetime.now(UTC) + timedelta(seconds=45)).replace(microsecond=0)
    lines = retimed(begin)
    for log in LOGS:
        (folder / log).touch()
    config = {**watched(folder), "timing": {"lateness": "2s", "settle": "4s"}}
    with (
        Daemon(folder, config) as daemon,
        PrometheusServer(folder / "prometheus", [f"127.0.0.1:{daemon.port}"]) as prometheus,
    ):
        daemon.start()
        prometheus.wait_until("kmwatch_active == 1")
        for line in lines:
            if (wait := line.at.timestamp() - time.time()) > 0:
                time.sleep(wait)
            with (folder / line.log).open("ab") as file:
                file.write(line.text)
        daemon.wait_until(lambda status: status.account.records.waiting == 0, "all is told", patience=600)
        time.sleep(_AFTER)
        start, end = begin.timestamp() - _BEFORE, time.time()
        return {
            board.uid.removeprefix("kmwatch-"): _page(
                folder / f"{board.uid}.html", drawn(board.uid, prometheus, start, end)
            )
            for board in BOARDS
        }


def terminal(folder: Path) -> Path:
    """The demo as a terminal shows it: its first alerts and its last words."""
    done = _kmwatch("demo", "--dir", str(folder / "demo"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace(str(folder / "demo"), "/tmp/kmwatch-demo").splitlines()  # noqa: S108
    summary = next(n for n, line in enumerate(lines) if "records told of" in line)
    shown = ["$ ./dev demo", *lines[:20], "   ...", "", *lines[summary:]]
    body = html.escape("\n".join(shown))
    style = (
        "body{margin:0;padding:22px 26px;background:#14161a;color:#d5d8de;font:14px/1.42 'DejaVu Sans Mono',monospace}"
        "pre{margin:0;white-space:pre-wrap}b{font-weight:400}"
    )
    for word, colour in {"critical": "#ff5f6d", "high": "#ff9e64", "medium": "#e0c15a", "low": "#8fb8ff"}.items():
        body = re.sub(rf"\b({word})\b(?=  )", rf'<b style="color:{colour}">\1</b>', body, flags=re.IGNORECASE)
    page = folder / "terminal.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><style>{style}</style><pre>{body}</pre>", encoding="utf-8")
    return page


def report(folder: Path) -> Path:
    """The page for a review, of the recording."""
    page = folder / "report.html"
    done = _kmwatch("report", "-c", str(RECORDING / "complete.yaml"), "--from", *_logs(), "--html", str(page))
    assert done.returncode == 0, done.stderr
    return page


def _kmwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmwatch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)


def _logs() -> Sequence[str]:
    first, *rest = (str(RECORDING / f"{log}.gz") for log in LOGS)
    return [first, *(word for path in rest for word in ("--from", path))]


def _page(path: Path, data: object) -> Path:
    chart = (files("kmwatch.report") / "assets" / "chart.umd.min.js").read_text(encoding="utf-8")
    page = _PAGE.read_text(encoding="utf-8")
    told = json.encode(data).decode().replace("<", "\\u003c")
    path.write_text(page.replace("DATA;", f"{told};").replace("CHART", chart, 1), encoding="utf-8")
    return path


async def _photograph(pages: dict[str, tuple[Path, int, int]]) -> None:
    async with chromium() as browser:
        for name, (path, width, height) in pages.items():
            page = await browser.open(path.as_uri())
            await page.screenshot(width)  # lays it out at this width first
            await asyncio.sleep(1)
            picture = await page.screenshot(width, height=height)
            (PICTURES / f"{name}.png").write_bytes(picture)
            assert page.messages == [], page.messages


if __name__ == "__main__":
    main()
