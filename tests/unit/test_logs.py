"""What the log shows on a terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HOSTILE = ["a\x1b]0;x\x07b\u202ec\x9bd\ne", "one\x1b]0;x\x07\u202eword\x9b"]  # a renderer quotes what has blanks
CODE = """
import structlog
from kmwatch.telemetry.logs import configure
configure(form={form!r})
structlog.get_logger("kmwatch").error("failed", error={text!r})
"""


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", ["console", "json"])
def test_a_text_of_somebody_else_moves_no_cursor_and_makes_no_line(form: str, text: str) -> None:
    code = CODE.format(form=form, text=text)  # by itself: there is one log in a process
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr.decode()
    assert said.count("\n") == 1
    assert said.strip("\n").isprintable()
    if form == "json":
        assert json.loads(said)["error"] == text
