"""Alerts appended to a file, one line each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from kmwatch.core.model import Finding
from kmwatch.ports import ConfigurationError, SinkError, TransientError
from kmwatch.sinks.thread import OwnThread
from kmwatch.wire.formats import format_named, render_all

_OPERATOR = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EROFS,
        errno.ELOOP,
        errno.ENXIO,
    )
)  # errors that no waiting cures
_CLOSE = 5.0  # seconds
_LOCK_TRIES, _LOCK_WAIT = 100, 0.05  # and seconds between two of them
_TAIL = 64 * 1024  # octets read at a time when looking for the last newline


class FileSink:
    """Appends each batch with one write and one fsync: what `send` acknowledged survives a power failure.

    - The file is made with mode 0600; an existing one keeps its mode.
    - A batch is written whole or, as far as a crash permits, not at all: after an error the file is cut back
      to where it was. A torn last line that a crash left is cut off before the next batch. It was never
      acknowledged, so it comes again. A last line that is not ours is left alone: ConfigurationError.
    - After log rotation (moved, removed or truncated) the next batch goes to the path as it is then.
    - An advisory lock is held while writing, so a second process may append to the same file.
    """

    def __init__(self, name: str, path: str | Path, *, format: str = "ocsf") -> None:  # noqa: A002 - the configuration's word
        """Take the configured values; the file is opened by the first `send`.

        Raises:
            ValueError: there is no such format.
        """
        self.name = name
        self._path = Path(path)
        self._format = format_named(format)
        self._fd: int | None = None
        self._thread = OwnThread(f"file {name}")

    async def send(self, findings: Sequence[Finding]) -> None:
        """Append, in order; return when the disk has them.

        Raises:
            TransientError: disk full and the like.
            ConfigurationError: the path cannot be written, or is no file of alerts.
            PermanentError: a finding cannot be rendered.
        """
        lines = render_all(lambda finding: self._format.render(finding, None), findings)
        await self._thread.run(partial(self._append, b"".join([line + b"\n" for line in lines])))

    async def close(self) -> None:
        """Release the file, unless a disk that hangs still holds it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE):
                await self._thread.run(self._release)
        self._thread.stop()

    def _release(self) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _append(self, data: bytes) -> None:
        try:
            fd = self._current()
            with _locked(fd):
                self._write(fd, data, self._mend(fd))
        except OSError as error:
            self._release()
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> SinkError:
        kind = ConfigurationError if error.errno in _OPERATOR else TransientError
        return kind(f"{self._path}: {error.strerror or error}")

    def _current(self) -> int:
        """The file that is at the path now, opened if need be."""
        if self._fd is not None:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(self._path.stat(), os.fstat(self._fd)):
                    return self._fd
            self._release()
        self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        # O_NONBLOCK: a FIFO without a reader answers with an error and does not hang.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        is_new = not self._path.exists()
        fd = os.open(self._path, flags, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ConfigurationError(f"{self._path}: is not a regular file")
        if is_new:
            _sync_directory(self._path.parent)
        return fd

    def _mend(self, fd: int) -> int:
        """Cut off a torn last line and return where the next begins."""
        size = os.fstat(fd).st_size
        end = _line_end(fd, size)
        if end == size:
            return size
        tail = os.pread(fd, len(self._format.prefix), end)
        if not self._format.prefix.startswith(tail):
            raise ConfigurationError(
                f"{self._path}: ends in an unfinished line that is no {self._format.name} alert of kmwatch; "
                "is this the right file?"
            )
        os.ftruncate(fd, end)
        return end

    def _write(self, fd: int, data: bytes, start: int) -> None:
        try:
            view = memoryview(data)
            while view:  # one write, unless the disk takes only a part
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, start)
            raise


@contextlib.contextmanager
def _locked(fd: int) -> Iterator[None]:
    for _ in range(_LOCK_TRIES):  # bounded: a writer that was stopped in mid-write must not hang us too
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(_LOCK_WAIT)
    else:
        raise TransientError("another process holds this file; give each its own")
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _line_end(fd: int, size: int) -> int:
    """Offset after the last newline, 0 if there is none."""
    end = size
    while end > 0:
        start = max(0, end - _TAIL)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _sync_directory(path: Path) -> None:
    """Make the new name itself survive a power failure."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
