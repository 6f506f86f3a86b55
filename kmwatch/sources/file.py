"""Files and standard input: Kafka records as JSON lines, and plain logs; .gz too. A file's offset is its line number.

Of several files the one that has got least far in event time is read next, so that the order in which they are named
makes no difference and little has to wait. A dump whose partitions do not keep step is read as one stream for each
(parts.py).
"""

from __future__ import annotations

import asyncio
import gzip
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from kmwatch.clock import Clock
from kmwatch.core.model import SECOND, Micros
from kmwatch.ports import Batch, Begun, Decode, PositionError, Reassigned, Record, SourceError
from kmwatch.sources.parts import apart, partition_of
from kmwatch.wire.cadf import MAX_BYTES
from kmwatch.wire.recorded import known, readable, unwrap

STDIN = "-"
_SNIFFED_LINES = 20
_LINES, _BYTES = 1000, 8 * 1024 * 1024  # of one read
_POLL = 0.2


class _Part(NamedTuple):
    """A file, or what it has of one partition."""

    path: str
    partition: int | None = None
    whole: bool = True
    others: frozenset[int | None] | None = None  # of one part: read what is in none of these, too

    def has(self, line: bytes) -> bool:
        """Whether the line is of this part. One that came since the look at the file is of the first part."""
        if self.whole:
            return True
        partition = partition_of(line)
        return partition == self.partition if self.others is None else partition not in self.others

    @property
    def stream(self) -> str:
        """Its name."""
        return f"file:{self.path}" if self.whole else f"file:{self.path}#{self.partition}"


class _Reader:
    """One file being read, or one partition of it. `line` is the number of the next line, from 0."""

    def __init__(self, part: _Part, *, follow: bool) -> None:
        self.path, self.line, self.ended = part.path, 0, False
        self._part = part
        self._follow = follow
        self._file = _open(part.path)
        self._rest = b""
        self._overlong = False  # the rest of a line beyond any record's size is still to be skipped

    def skip(self, lines: int) -> None:
        while self.line < lines:
            if not self._next():
                raise PositionError(
                    f"{self.path}: the store has read {lines} lines of it, but it has {self.line}; it was cut or"
                    " replaced. Give the new file another name, or start with a store of its own"
                )

    def read(self, most: int) -> list[tuple[int, bytes]]:
        out: list[tuple[int, bytes]] = []
        size = 0
        while len(out) < most and size < _BYTES:
            line = self._next()
            if line is None:
                break
            if not self._part.has(line):
                continue
            out.append((self.line - 1, line))
            size += len(line)
        return out

    def close(self) -> None:
        self._file.close()

    def check_in_place(self) -> None:
        """Raise if a followed file was cut or another took its name: what it got since would never be read."""
        if not self._follow:
            return
        try:
            here, there = os.fstat(self._file.fileno()), Path(self.path).stat()
        except FileNotFoundError:
            return  # moved away; a new one is noticed when it is there
        except OSError as error:
            raise SourceError(f"{self.path}: {error}") from error
        same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        if not same or (not self.path.endswith(".gz") and there.st_size < self._file.tell()):
            raise PositionError(
                f"{self.path}: it was cut or replaced while it was followed, after line {self.line}. Give the new"
                " file another name, or start with a store of its own"
            )

    def _next(self) -> bytes | None:
        if self._overlong and not self._skip_rest_of_line():
            self.ended = True
            return None
        line = self._rest + self._readline(MAX_BYTES + 2)
        self._rest = b""
        if not line or (self._follow and not line.endswith(b"\n") and len(line) <= MAX_BYTES):
            self.ended, self._rest = True, line  # in a followed file the rest of the line is still to come
            return None
        self.ended = False
        self._overlong = len(line) > MAX_BYTES and not line.endswith(b"\n")
        if self._overlong:
            self._skip_rest_of_line()
        self.line += 1
        return line

    def _skip_rest_of_line(self) -> bool:
        while more := self._readline(MAX_BYTES):
            if more.endswith(b"\n"):
                break
        self._overlong = not more and self._follow
        return not self._overlong

    def _readline(self, most: int) -> bytes:
        try:
            return self._file.readline(most)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise SourceError(f"{self.path}: damaged after line {self.line}: {error}; fetch it again") from error
        except OSError as error:
            raise SourceError(f"{self.path}: {error}") from error


class FileSource:
    """See `ports.Source`. Streams are named file:<path>."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        clock: Clock,
        follow: bool = False,
        lines: int = _LINES,
        decode: Decode | None = None,
    ) -> None:
        """Describe what to read.

        Args:
            paths: files, patterns, directories (of which every file in a known form is read), or "-".
            clock: for the pace of event time at the end of followed files.
            follow: wait for more at the end of a file instead of ending.
            lines: most lines of one read.
            decode: how records are read; see `ports.Batch`.
        """
        self._paths, self._clock, self._follow, self._lines = list(paths), clock, follow, lines
        self._decode = decode
        self._readers: dict[str, _Reader] = {}
        self._chosen: list[str] = []
        self._parts: list[_Part] = []
        self._moved = clock.monotonic()
        self.left_alone: list[str] = []

    def claimed(self, number: int) -> None:
        """Files know no other readers."""

    async def assigned(self) -> list[str]:
        """Find the files; raises SourceError for what is not there or in no known form."""
        self._chosen, self.left_alone = await asyncio.to_thread(find, self._paths, self._decode)
        self._parts = await asyncio.to_thread(_parts, self._chosen, follow=self._follow)
        return [part.stream for part in self._parts]

    async def seek(self, positions: Mapping[str, int]) -> Begun:
        """Open every file and skip what the store has."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}
        for part in self._parts:
            stdin = part.path == STDIN
            reader = await asyncio.to_thread(_Reader, part, follow=self._follow and not stdin)
            self._readers[part.stream] = reader
            read = positions.get(part.stream, positions.get(_Part(part.path).stream, 0))  # in parts, or once as a whole
            await asyncio.to_thread(reader.skip, 0 if stdin else read)
        return Begun()

    async def read(self, progress: Mapping[str, Micros | None]) -> Batch:
        """Read on in the file that has got least far."""
        tried: set[str] = set()
        while len(tried) < len(self._readers):
            stream = min(
                (name for name in self._readers if name not in tried),
                key=lambda name: (_reached(progress.get(name)), name),
            )
            reader = self._readers[stream]
            if reader.ended and not self._follow:
                tried.add(stream)
                continue
            lines = await asyncio.to_thread(reader.read, self._lines)
            if lines:
                self._moved = self._clock.monotonic()
                return Batch(_records(stream, lines), self._ends(), decode=self._decode)
            tried.add(stream)
        return await self._nothing()

    async def hold(self, seconds: float) -> None:
        """Files wait."""
        await asyncio.sleep(seconds)
        self._moved = self._clock.monotonic()

    async def committed(self, positions: Mapping[str, int]) -> None:
        """Nobody else asks."""

    def lag(self) -> Mapping[str, int]:
        """Unknown for files."""
        return {}

    async def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()
        self._readers = {}

    async def _nothing(self) -> Batch:
        if not self._follow:
            return Batch([], self._ends(), ended=True)
        await asyncio.sleep(_POLL)
        for reader in self._readers.values():
            reader.check_in_place()
        found, _ = await asyncio.to_thread(find, self._paths, self._decode)
        if found != self._chosen:
            raise Reassigned
        return Batch([], self._ends(), int((self._clock.monotonic() - self._moved) * SECOND))

    def _ends(self) -> frozenset[str]:
        return frozenset(name for name, reader in self._readers.items() if reader.ended)


def find(paths: Sequence[str], decode: Decode | None = None) -> tuple[list[str], list[str]]:
    """The files that paths name, sorted and each once, and those of directories that are in no known form.

    `decode` knows what the configuration says of forms.

    Raises:
        SourceError: a path names nothing, cannot be read, or is a file in no known form.
    """
    chosen: set[str] = set()
    left: list[str] = []
    for path in paths:
        if not path:
            raise SourceError("a path is empty; name a file or a directory")  # else it would be the working directory
        names = sorted(glob(path, recursive=True)) if has_magic(path) and not Path(path).exists() else [path]  # noqa: PTH207
        if not names:
            raise SourceError(f"no file matches {path!r}; check sources.file.paths")
        for name in names:
            if name == STDIN or _is_stream(name):
                chosen.add(name)
            elif Path(name).is_dir():
                inside = sorted(str(item) for item in Path(name).rglob("*") if item.is_file())
                fits = [item for item in inside if _sniff(item, readable, decode)]
                chosen.update(fits)
                left.extend(item for item in inside if item not in fits)
            elif _sniff(name, known, decode):
                chosen.add(name)
            else:
                raise SourceError(
                    f"{name}: in no form that this release reads (Kafka records as JSON lines, or a log of the Key"
                    " Manager, uWSGI, Apache, nginx or HAProxy)"
                )
    return sorted(chosen), left


def _parts(paths: Sequence[str], *, follow: bool) -> list[_Part]:
    """Files, or the partitions of those that have to be read apart. Raises SourceError for what cannot be read."""
    parts: list[_Part] = []
    for path in paths:
        once = follow or path == STDIN or _is_stream(path)
        found = [] if once or not _names_partitions(path) else apart(_lines(path))
        others = [frozenset(found[1:]), *[None] * len(found[1:])]
        parts += [_Part(path, p, whole=False, others=o) for p, o in zip(found, others, strict=False)] or [_Part(path)]
    return parts


def _names_partitions(path: str) -> bool:
    return any(partition_of(line) is not None for _, line in zip(range(_SNIFFED_LINES), _lines(path), strict=False))


def _lines(path: str) -> Iterator[bytes]:
    """Its lines, each as far as a record may be long; what is damaged will be said when it is read."""
    try:
        with _open(path) as file:
            while line := file.readline(MAX_BYTES):
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def _is_stream(path: str) -> bool:
    """Whether it is a pipe or a device: what is read of it for a look is gone, so it is taken at its word."""
    given = Path(path)
    return given.exists() and not given.is_file() and not given.is_dir()


def _sniff(path: str, fits: Callable[..., bool], decode: Decode | None) -> bool:
    """Whether one of the first lines fits; an empty file does.

    A file of a directory has to show a record that can be read; one that was named is taken at its form.
    """
    try:
        with _open(path) as file:
            for number in range(_SNIFFED_LINES):
                line = file.readline(MAX_BYTES)
                if not line:
                    return number == 0
                if fits(line) or (decode is not None and fits(line, decode)):
                    return True
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return False
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    return False


def _open(path: str) -> BinaryIO:
    if path == STDIN:
        return sys.stdin.buffer
    if path.endswith(".gz"):
        return cast("BinaryIO", gzip.open(path, "rb"))
    return Path(path).open("rb")


def _reached(at: Micros | None) -> Micros:
    return -(2**62) if at is None else at


def _records(stream: str, lines: Sequence[tuple[int, bytes]]) -> list[Record]:
    return [Record(stream, number, *unwrap(line)) for number, line in lines]
