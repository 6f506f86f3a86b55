"""Where commands write what they were told to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmwatch.output import output


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with output(tmp_path / "out") as file:
        file.write(b"x")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_full_disk_is_told_with_the_name_of_the_output_and_what_to_do() -> None:
    said = re.escape("cannot write /dev/full: No space left on device; make room, or name another file")
    with pytest.raises(OSError, match=said), output(Path("/dev/full")) as file:
        file.write(b"x" * 100_000)


@pytest.mark.parametrize(("to", "said"), [("/dev/full", "cannot write standard output"), (None, "is closed")])
def test_standard_output_that_takes_nothing_is_told(to: str | None, said: str) -> None:
    code = "from pathlib import Path\nfrom kmwatch.output import output\nwith output(Path('-')) as out: out.write(b'x')"
    closed = "" if to else ">&-"
    with Path(to or os.devnull).open("wb") as out:
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode != 0
    assert f"OSError: {said}" in done.stderr.decode() or f"OSError: standard output {said}" in done.stderr.decode()
