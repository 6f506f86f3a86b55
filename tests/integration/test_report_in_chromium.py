"""The report in a real Chromium: it draws, runs nothing but its own code, and asks for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kmwatch.cli import main
from tests.servers.chromium import Chromium, Page, chromium
from tests.support.audit import RECORDING
from tests.support.findings import HOSTILE
from tests.unit.test_report import SCRIPT, page

DRAWN = """(id) => {
    const canvas = document.getElementById(id), pen = canvas.getContext("2d");
    const seen = new Set(new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer));
    return seen.size;
}"""


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the bundled recording, with the names that its attackers chose."""
    path = tmp_path_factory.mktemp("report") / "review.html"
    sources = [word for name in ("cadf", "service", "haproxy", "uwsgi")
               for found in RECORDING.glob(f"{name}*.gz") for word in ("--from", str(found))]  # fmt: skip
    assert main(["report", "-c", str(RECORDING / "complete.yaml"), *sources, "--html", str(path)]) == 0
    return path


async def colours(opened: Page, chart: str) -> int:
    return int(await opened.evaluate(f"({DRAWN})({chart!r})"))


def quiet(opened: Page, path: Path) -> bool:
    """Whether it asked for itself alone, and neither it nor its policy had anything to say."""
    return (opened.requests, opened.messages, opened.dialogs) == ([path.as_uri()], [], [])


async def test_the_recordings_report_draws_its_charts_and_asks_for_nothing(browser: Chromium, review: Path) -> None:
    opened = await browser.open(review.as_uri())
    assert await colours(opened, "chart-findings") > 10
    assert await colours(opened, "chart-reads") > 5
    assert await opened.evaluate("document.querySelectorAll('#unexplained tbody tr:not(.group)').length") == 139
    assert await opened.evaluate("document.body.scrollWidth <= document.documentElement.clientWidth")
    assert quiet(opened, review)


@pytest.mark.parametrize(
    "text", [SCRIPT, HOSTILE, "<img src=http://127.0.0.1:9/x onerror=window.hacked=1>", "javascript:alert(1)"]
)
async def test_a_name_runs_nothing_and_fetches_nothing(browser: Chromium, tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile.html"
    await asyncio.to_thread(path.write_text, page(text), encoding="utf-8")
    opened = await browser.open(path.as_uri())
    assert await opened.evaluate("typeof window.hacked") == "undefined"
    assert await opened.evaluate("document.querySelectorAll('script').length") == 3
    assert await opened.evaluate("document.querySelectorAll('img').length") == 0
    assert await colours(opened, "chart-findings") > 5
    assert quiet(opened, path)


async def test_even_markup_that_got_in_would_not_run(browser: Chromium, tmp_path: Path) -> None:
    """The second wall: what the policy does not name by hash is refused, and the harness sees the refusals."""
    callers: list[object] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    at = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    path = tmp_path / "broken.html"
    smuggled = f"<script>window.hacked = 1</script><img src='{at}' onerror='window.hacked = 1'>"
    await asyncio.to_thread(path.write_text, page().replace("<main>", f"<main>{smuggled}"), encoding="utf-8")
    async with server:
        opened = await browser.open(path.as_uri())
        assert await opened.evaluate("typeof window.hacked") == "undefined"
    assert callers == []
    assert sum("Content Security Policy" in message for message in opened.messages) >= 3


async def test_the_harness_would_see_a_script_run_and_a_request_made(browser: Chromium, tmp_path: Path) -> None:
    path = tmp_path / "control.html"
    control = "<script>console.log('ran'); window.hacked = 1</script><img src='other.png'>"
    await asyncio.to_thread(path.write_text, control, encoding="utf-8")
    opened = await browser.open(path.as_uri())
    assert await opened.evaluate("window.hacked") == 1
    assert (tmp_path / "other.png").as_uri() in opened.requests
    assert any("ran" in message for message in opened.messages)


async def test_it_is_dark_where_the_screen_is_and_light_on_paper(browser: Chromium, review: Path) -> None:
    opened = await browser.open(review.as_uri())
    background = "getComputedStyle(document.body).backgroundColor"
    light = await opened.evaluate(background)
    await opened.media(dark=True)
    dark = await opened.evaluate(background)
    await opened.media(kind="print", dark=True)
    assert (light, dark, await opened.evaluate(background)) == (
        "rgb(246, 247, 249)",
        "rgb(14, 20, 27)",
        "rgb(255, 255, 255)",
    )
    assert (await opened.pdf()).startswith(b"%PDF-")
    assert quiet(opened, review)
