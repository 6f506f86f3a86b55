"""What a command was told to write, as a file or on standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

STDOUT = "-"


@contextmanager
def output(path: Path) -> Iterator[BinaryIO]:
    """Open an output. A new file is for its owner alone: it holds who reads what, as the store does.

    Args:
        path: where to; `-` is standard output.

    Raises:
        OSError: it cannot be written; says which, and what to do. BrokenPipeError: whoever read along has gone.
    """
    try:
        if str(path) == STDOUT:
            require_stdout()
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        else:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None:  # one of ours, which says it all
            raise
        where = "standard output" if str(path) == STDOUT else path
        raise OSError(f"cannot write {where}: {error.strerror}; make room, or name another file") from error


def require_stdout() -> None:
    """Raise OSError if whoever started us has closed it."""
    if sys.stdout is None:
        raise OSError("standard output is closed; name a file instead of -")
