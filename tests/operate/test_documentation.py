"""The documentation becomes pages without a warning, and leads to pictures of what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import CHECKOUT

DOCS = CHECKOUT / "docs"


@pytest.mark.timeout(600)
def test_the_documentation_is_built_without_a_warning_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    """Every link and anchor within it leads somewhere, every page is reached; no page loads from elsewhere."""
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*command, "--doctree-dir", str(tmp_path / "trees"), str(DOCS), str(tmp_path / "pages")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    pages = list((tmp_path / "pages").rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    loads = re.compile(r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=\"(?:https?:)?//[^\"]*\"")
    assert {found for page in pages for found in loads.findall(page.read_text(encoding="utf-8"))} == set()


def test_every_picture_is_shown_somewhere() -> None:
    texts = [page.read_text(encoding="utf-8") for page in (CHECKOUT / "README.md", *DOCS.rglob("*.md"))]
    pictures = {path.name for path in (DOCS / "pictures").glob("*.png")}
    assert pictures == {"demo.png", "operator.png", "report.png", "soc.png"}
    assert {name for name in pictures if not any(f"pictures/{name}" in text for text in texts)} == set()
