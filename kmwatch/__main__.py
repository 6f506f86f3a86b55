"""`python -m kmwatch` and the `kmwatch` script."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; `health` without loading any other. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["health"]:
        from kmwatch.health import main as health  # noqa: PLC0415

        return health(given[1:])
    from kmwatch.cli import main as command  # noqa: PLC0415

    return command(given)


if __name__ == "__main__":
    sys.exit(main())
