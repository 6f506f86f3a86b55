"""`python -m kmwatch` and the `kmwatch` script."""

from __future__ import annotations

import sys

from kmwatch.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
