"""The report's page: what it shows, that nothing but its own code can run in it, and how it is written."""

from __future__ import annotations

import json
import stat
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmwatch.cli import main
from kmwatch.core.ledger import Extent, More, Read, Use, row_of
from kmwatch.core.model import DAY, Match, Nearest, Reason, Secret
from kmwatch.core.review import Terms, review
from kmwatch.report.build import build
from kmwatch.report.gather import Gathered
from kmwatch.report.page import CHART, render
from kmwatch.wire.escape import visible
from tests.support.audit import RECORDING, START, declared, event
from tests.support.findings import HOSTILE, hostile
from tests.support.reads import read

SHA256_OF_CHART = "87364cc2b2a76a6684929e7d6b80b18a897794db38400caff1fcf1791c6925d2"
SCRIPT = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}${7*7}\"'&lt;b&gt;"
VOID = {"meta", "br", "img"}


class Tree(HTMLParser):
    """Elements with their attributes and texts, and which of them are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.blocks: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in {"script", "style"}:
            self.blocks.setdefault(self._open[-1], []).append(data)
        else:
            self.texts.append(data)

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def page(text: str = "lb", *, reads: tuple[Read, ...] = ()) -> str:
    """A page in which every text that a stranger may choose is this one."""
    inventory = [Secret(text, text, text, text, text, expires=START), Secret("quiet", text, None, text, text)]
    declarations = declared(inventory=inventory)
    gathered = Gathered(declarations, None, None)
    near = Nearest("own", "agents", text, text)
    gathered.read(row_of(event(1, secret=text, user=text, address=text), Match(None, Reason.AGENT, nearest=near)))
    for one in reads:
        gathered.read(one)
    gathered.finding(hostile(1, text))
    remarks = review(inventory, {text: Use(1, START, START)}, START - DAY, START, Terms())
    return render(build(gathered, remarks, Extent(1, START, 0), START))


PLAIN = Tree(page()).tags()


def test_the_bundled_library_is_the_one_that_was_chosen() -> None:
    assert sha256((files("kmwatch.report") / "assets" / CHART).read_bytes()).hexdigest() == SHA256_OF_CHART


def test_the_policy_names_the_pages_own_code_by_hash_and_allows_nothing_else() -> None:
    tree = Tree(page())
    policy = next(a["content"] or "" for tag, a in tree.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    data, *scripts = tree.blocks["script"]
    hashes = [" ".join(f"'sha256-{b64encode(sha256(s.encode()).digest()).decode()}'" for s in some)
              for some in (scripts, tree.blocks["style"])]  # fmt: skip
    assert rules == {
        "default-src": "'none'", "script-src": hashes[0], "style-src": hashes[1], "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    assert json.loads(data)["findings"]


def test_the_page_asks_for_nothing() -> None:
    tree = Tree(page())
    asking = [a for _, a in tree.elements if {"src", "srcset", "action", "style"} & a.keys()]
    assert asking == []
    assert all((a["href"] or "").startswith("#") for _, a in tree.elements if "href" in a)
    assert "sourceMappingURL" not in page()


@pytest.mark.parametrize("text", [SCRIPT, HOSTILE, "\u2028<!--<script>", "]]>", "x" * 5000])
def test_text_of_an_attacker_makes_no_element_and_stays_readable(text: str) -> None:
    tree = Tree(page(text))
    assert tree.tags() == PLAIN
    assert not any(name.startswith("on") for _, attributes in tree.elements for name in attributes)
    assert any(visible(text, 80) in shown for shown in tree.texts)


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=40) | st.text("<>&\"'/!-scriptSCRIPT \u2028{}%#", min_size=1))
def test_no_text_whatever_changes_what_the_page_is_made_of(text: str) -> None:
    tree = Tree(page(text))
    assert tree.tags() == PLAIN
    assert len(tree.blocks["script"]) == 3
    assert json.loads(tree.blocks["script"][0])["rules"]
    page(text).encode()


def test_reads_that_fail_for_one_reason_stand_together() -> None:
    more = More(Reason.NETWORK, "alice", Nearest("own", "networks", "10.0.0.0/24", "x"))
    far = [read(n, explained=False, address=f"10.9.0.{n}", more=more) for n in range(1, 4)]
    tree = Tree(page(reads=tuple(far)))
    assert sum(a.get("class") == "group" for _, a in tree.elements) == 2
    assert "3 reads of 1 secret" in tree.texts
    assert all(any(f"10.9.0.{n}" in shown for shown in tree.texts) for n in range(1, 4))


# The command


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "review.html"
    arguments = ["-c", str(RECORDING / "kmwatch.yaml"), "--from", str(RECORDING / "cadf.jsonl.gz"), "--html", str(path)]
    assert main(["report", *arguments]) == 0
    return path


def test_only_its_owner_may_read_the_page(written: Path) -> None:
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert [path.name for path in written.parent.iterdir()] == ["review.html"]


def test_the_recordings_hostile_names_are_text(written: Path) -> None:
    tree = Tree(written.read_text(encoding="utf-8"))
    assert tree.tags() <= PLAIN | {"h3"}
    names = [json.loads(line)["name"] for line in (RECORDING / "inventory.jsonl").read_bytes().splitlines()]
    odd = [name for name in names if name and visible(name) != name and len(visible(name)) < 80]
    assert len(odd) >= 5
    for name in odd:
        assert any(visible(name) in text for text in tree.texts), name


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-c", str(RECORDING / "kmwatch.yaml"), "--from", str(RECORDING / "cadf.jsonl.gz")]
    assert main(["report", *arguments, "--html", str(tmp_path / "no" / "r.html")]) == 3
    assert "cannot write" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
