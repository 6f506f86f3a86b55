"""`./dev image`: build the image and try it. Ends with 1 if anything is not as it must be."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path

from tests.image.build import BASE, IMAGE, build, root_of, size
from tests.image.inside import Inside
from tests.image.trial import TRIALS


def main() -> int:
    """Build and try; returns the exit code."""
    if os.geteuid() != 0:
        sys.stderr.write("image: only root can make a Debian and mount; with Docker: docker build -t kmwatch .\n")
        return 1
    build()
    base, whole = size(BASE), size(IMAGE)
    sys.stdout.write(f"{IMAGE}: {whole / 1e6:.0f} MB, of which {base / 1e6:.0f} MB are its base\n")
    failed = 0
    with root_of(IMAGE) as root:
        for trial in TRIALS:
            with tempfile.TemporaryDirectory(prefix="kmwatch-image-") as folder:
                name = trial.__name__.replace("_", " ")
                try:
                    sys.stdout.write(f"ok    {name}: {trial(Inside(root, Path(folder)))}\n")
                except AssertionError:
                    failed += 1
                    sys.stdout.write(f"WRONG {name}\n{traceback.format_exc()}")
                sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
