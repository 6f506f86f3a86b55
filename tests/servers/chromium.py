"""A real Chromium without a window, driven over its DevTools protocol: what a page does in it, and how it looks."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

_START_SECONDS = 60
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip
_ENDPOINT = re.compile(r"DevTools listening on (ws://\S+)")


@dataclass
class Page:
    """One open page, and all that it did."""

    send: Any
    session: str
    requests: list[str] = field(default_factory=list)  # URLs that it asked for, itself included
    messages: list[str] = field(default_factory=list)  # of the console, exceptions and refusals of its policy
    dialogs: list[str] = field(default_factory=list)

    async def call(self, method: str, **params: object) -> Any:  # noqa: ANN401
        return await self.send(method, params, self.session)

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def media(self, *, kind: str = "", dark: bool = False) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", media=kind, features=features)
        await asyncio.sleep(0.2)

    async def screenshot(self, width: int = 1360, top: int = 0, height: int = 0) -> bytes:
        """A picture (PNG) of the page, whole unless `height` says how much of it."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        whole = await self.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": width, "height": height or whole, "scale": 1}
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(found["data"])

    async def pdf(self) -> bytes:
        """The page as it is printed."""
        found = await self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(found["data"])


class Chromium:
    """A running browser with an empty profile."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._pages: dict[str, Page] = {}
        self._loaded: dict[str, asyncio.Event] = {}

    async def open(self, url: str) -> Page:
        """Open a page, and wait until it and all its scripts have run."""
        target = await self._send("Target.createTarget", {"url": "about:blank"})
        session = (await self._send("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True}))[
            "sessionId"
        ]
        page = Page(self._send, session)
        self._pages[session], self._loaded[session] = page, asyncio.Event()
        for domain in ("Page", "Network", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded[session].wait(), _START_SECONDS)
        await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return page

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                waiting = self._waiting.pop(told["id"])
                if "error" in told:
                    waiting.set_exception(RuntimeError(str(told["error"])))
                else:
                    waiting.set_result(told["result"])
            elif told.get("sessionId") in self._pages:
                self._note(told["sessionId"], told["method"], told["params"])

    def _note(self, session: str, method: str, params: dict[str, Any]) -> None:
        page = self._pages[session]
        if method == "Page.loadEventFired":
            self._loaded[session].set()
        elif method == "Network.requestWillBeSent":
            page.requests.append(params["request"]["url"])
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
            page.messages.append(json.dumps(params))
        elif method == "Page.javascriptDialogOpening":
            page.dialogs.append(params["message"])

    async def _send(self, method: str, params: dict[str, object], session: str | None = None) -> Any:  # noqa: ANN401
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message if session is None else {**message, "sessionId": session})
        return await asyncio.wait_for(self._waiting[number], _START_SECONDS)


def executable() -> str:
    """Where Debian's package, or another system's, has put it."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
    )
    assert found, "there is no chromium; ./dev test installs it, as root"
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start one, and end it with all its processes."""
    with TemporaryDirectory(prefix="kmwatch-chromium-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            executable(), *_FLAGS, f"--user-data-dir={profile}", "about:blank",
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={"HOME": profile, "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        draining: asyncio.Task[bytes] | None = None
        try:
            assert process.stderr is not None
            address = await asyncio.wait_for(_address(process.stderr), _START_SECONDS)
            draining = asyncio.create_task(process.stderr.read())
            async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=0) as socket:
                browser = Chromium(socket)
                listening = asyncio.create_task(browser.listen())
                try:
                    yield browser
                finally:
                    with suppress(Exception):
                        await browser._send("Browser.close", {})
                    listening.cancel()
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            if draining is not None:
                await draining


async def _address(errors: asyncio.StreamReader) -> str:
    said = ""
    while line := await errors.readline():
        said += line.decode("utf-8", "replace")
        found = _ENDPOINT.search(said)
        if found:
            return found[1]
    raise RuntimeError(f"chromium did not start: {said[-2000:]}")
