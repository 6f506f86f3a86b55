"""How Sphinx makes pages of this folder: `./dev docs`. Nothing is fetched, neither when building nor when reading."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

from kmwatch import __version__

project = "kmwatch"
project_copyright = "the kmwatch authors, Apache License 2.0"
version = release = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns: list[str] = []
nitpicky = True
nitpick_ignore_regex: list[tuple[str, str]] = []

# Headings get the anchors that GitHub gives them, so that one link serves in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
highlight_language = "text"

html_theme = "furo"
html_title = "kmwatch"
html_static_path: list[str] = []
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None  # the same sources make the same pages

# A Markdown file of the repository that is no page, such as the changelog: its name instead of a link.
_TEXT = r"\[((?:[^\[\]]|\[[^\]]*\])+)\]"
_OUTSIDE = re.compile(
    _TEXT + r"\((?:\.\./)+((?:deploy/|CHANGELOG|CONTRIBUTING|README|SECURITY)[\w./-]*\.md)(?:#[\w-]+)?\)"
)


def _without_links_out(_app: Sphinx, _name: str, source: list[str]) -> None:
    source[0] = _OUTSIDE.sub(r"\1 (`\2`)", source[0])


def setup(app: Sphinx) -> None:
    """Sphinx calls it."""
    app.connect("source-read", _without_links_out)
