"""View -> one HTML page that needs no server and no network, and in which nothing but its own code can run.

The page's own style and scripts are named by their hashes in its Content-Security-Policy; whatever else a name or a
path may smuggle in is not on that list. Jinja escapes every value, and the chart's data is JSON in a block that no
browser executes; the charts draw on canvas, where text is never markup.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import BaseLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from kmwatch.report.view import View

CHART = "chart.umd.min.js"
_ASSETS = files("kmwatch.report") / "assets"
_SOURCE_MAP = "//# sourceMappingURL"  # would have developer tools ask for a file that is not there


def render(view: View) -> str:
    """The page."""
    style, chart, script = _asset("page.css"), _asset(CHART).partition(_SOURCE_MAP)[0], _asset("page.js")
    policy = "; ".join((
        "default-src 'none'",
        f"script-src '{_hash(chart)}' '{_hash(script)}'",
        f"style-src '{_hash(style)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ))  # fmt: skip
    return _template().render(
        view=view,
        policy=policy,
        style=Markup(style),  # noqa: S704  (ours)
        chart=Markup(chart),  # noqa: S704  (ours)
        script=Markup(script),  # noqa: S704  (ours)
        data=Markup(_inert(view.chart)),  # noqa: S704  (inert, see there)
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("page.html"))


def _inert(data: bytes) -> str:
    """JSON in which no character can end the block it stands in, or begin markup."""
    text = data.decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
