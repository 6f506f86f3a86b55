"""Alerts on standard output: readable text, coloured at a terminal, or a machine's format."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from typing import TextIO

from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError, TransientError
from kmwatch.sinks.thread import OwnThread
from kmwatch.wire.formats import format_named, render_all
from kmwatch.wire.terminal import to_terminal

_PLAIN_WIDTH = 200  # columns where there is no terminal to ask


class StdoutSink:
    """Writes each batch at once and flushes it: what `send` acknowledged, the operating system has.

    A reader that has gone (`kmwatch run | head`) never comes back within this process. That is a
    ConfigurationError: the sink pauses, nothing is set aside as dead, and the alerts wait for the next start.
    """

    def __init__(
        self,
        name: str,
        *,
        format: str | None = None,  # noqa: A002 - the configuration's word
        stream: TextIO | None = None,
        colour: bool | None = None,
        width: int | None = None,
    ) -> None:
        """Take the configured values.

        Args:
            name: of the sink.
            format: ocsf or cef for one line an alert; None for readable text.
            stream: standard output unless given.
            colour: None decides: a terminal, and NO_COLOR empty or not set (no-color.org).
            width: columns; None asks the terminal.

        Raises:
            ValueError: there is no such format.
        """
        self.name = name
        self._format = None if format is None else format_named(format)
        self._stream = stream if stream is not None else sys.stdout
        self._terminal = self._stream.isatty()
        self._colour = (self._terminal and not os.environ.get("NO_COLOR")) if colour is None else colour
        self._width = width
        self._thread = OwnThread(f"stdout {name}")

    async def send(self, findings: Sequence[Finding]) -> None:
        """Write and flush. A broken pipe is a ConfigurationError, other trouble a TransientError."""
        text = "".join(f"{line.decode()}\n" for line in render_all(self._render, findings))
        await self._thread.run(partial(self._write, text))

    async def close(self) -> None:
        """End the thread; the stream is the process's own."""
        self._thread.stop()

    def _render(self, finding: Finding) -> bytes:
        if self._format is not None:
            return self._format.render(finding, None)
        return to_terminal(finding, colour=self._colour, width=self._columns()).encode()

    def _columns(self) -> int:
        if self._width is not None:
            return self._width
        return shutil.get_terminal_size().columns if self._terminal else _PLAIN_WIDTH

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)  # a terminal in an ASCII locale
        try:
            self._stream.write(safe)
            self._stream.flush()
        except BrokenPipeError as error:
            raise ConfigurationError("nobody reads standard output any more; start kmwatch again") from error
        except ValueError as error:  # the stream was closed
            raise ConfigurationError(f"standard output is closed: {error}") from error
        except OSError as error:
            raise TransientError(f"standard output: {error}") from error
