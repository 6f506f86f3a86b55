"""Every detection and every alert has a page that a person can follow at night."""

from __future__ import annotations

import re

import pytest

from kmwatch.core.rules.base import Meta
from kmwatch.core.rules.catalogue import CATALOGUE
from tests.operate.expressions import RUNBOOKS, alerts

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(RUNBOOKS.glob("*.md"))}
_TITLES = {meta.id: f"{meta.id} {meta.title}" for meta in CATALOGUE} | {alert.name: alert.name for alert in alerts()}


@pytest.mark.parametrize("meta", CATALOGUE, ids=lambda meta: str(meta.id))
def test_each_detection_has_a_runbook(meta: Meta) -> None:
    assert meta.id in PAGES, f"write docs/runbooks/{meta.id}.md: what it means, true or false, what to do first"


@pytest.mark.parametrize("name", sorted(_TITLES.keys() & PAGES.keys()))
def test_a_runbook_bears_the_name_of_what_it_is_for_and_says_what_to_do_first(name: str) -> None:
    page = PAGES[name]
    assert page.splitlines()[0] == f"# {_TITLES[name]}"
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["True or false", "What to do first"]
    first = page.partition("## What to do first")[2]
    assert re.findall(r"^(\d+)\. ", first, re.MULTILINE)[0] == "1"


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+)\.md\)", PAGES["README"]))
    assert linked == PAGES.keys() - {"README"}
