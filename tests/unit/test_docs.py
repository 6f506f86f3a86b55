"""The reference pages name everything that users can write, call or read, with the defaults of the code."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from aiohttp import web
from prometheus_client import Counter
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kmwatch.cli import _parser
from kmwatch.condition import SinkStatus, Status
from kmwatch.config.callers import CallersFile
from kmwatch.config.load import load
from kmwatch.config.settings import Settings
from kmwatch.config.source import load_yaml
from kmwatch.core.join import Joined
from kmwatch.core.model import (
    DAY,
    HOUR,
    MINUTE,
    Activity,
    Evidence,
    Failure,
    Flag,
    Initiator,
    Kind,
    Micros,
    Mode,
    Outcome,
    Reason,
    Witness,
)
from kmwatch.core.record import Ignored, RejectReason
from kmwatch.core.rules.base import Meta
from kmwatch.core.rules.catalogue import CATALOGUE
from kmwatch.delivery import FailureKind, State
from kmwatch.ports import SinkAccount
from kmwatch.telemetry.http import HttpServer, Readiness
from kmwatch.telemetry.metrics import Metrics
from kmwatch.telemetry.status import Events, Hits, Records, Totals
from kmwatch.wire.cef import to_cef
from kmwatch.wire.event import _Line
from kmwatch.wire.ocsf_model import DetectionFinding, Own
from tests.support.files import TODAY
from tests.support.findings import finding

ROOT = Path(__file__).parents[2]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
NUMBER_OF_PAGES = 7


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def reference(name: str) -> str:
    return page(f"reference/{name}.md")


def rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    return [[cell.strip() for cell in row.split(" | ")] for row in ROW.findall(text)]


def first_cells(text: str) -> set[str]:
    """Everything that stands as code in the first cell of a row."""
    return {name for row in rows(text) for name in CODE.findall(row[0])}


def missing(names: Iterable[str], known: Iterable[str]) -> list[str]:
    return sorted({str(name) for name in names} - set(known))


# ------------------------------------------------------------------------------------------------- commands


def commands() -> dict[str, argparse.ArgumentParser]:
    action = next(a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """All options of a command, and of what stands below it."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(options, action.choices.values()))
    return found - {"-h", "--help"}


def section_of(name: str) -> str:
    return re.split(r"^## ", reference("commands").partition(f"\n## {name}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_has_a_section_that_names_each_of_its_options(name: str) -> None:
    assert f"[`{name}`](#{name})" in reference("commands")
    assert missing(options(commands()[name]), re.findall(r"--?[a-z][a-z-]*", section_of(name))) == []


@pytest.mark.parametrize("name", sorted(commands()))
def test_no_table_of_a_command_tells_of_an_option_that_it_does_not_have(name: str) -> None:
    cells = " ".join(row[0] for row in rows(section_of(name)))
    told = [option for code in CODE.findall(cells) for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code)]
    assert missing(told, options(commands()[name])) == []
    assert [
        option for option in set(told) if option.startswith("--") and told.count(option) > 1 and name != "store"
    ] == []


# --------------------------------------------------------------------------------------------- configuration


def models(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:  # noqa: ANN401
    """The models within an annotation, with how a path leads into them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield suffix, annotation
        return
    inner = get_args(annotation)
    if get_origin(annotation) is tuple:
        suffix, inner = suffix + "[]", inner[:1]
    elif get_origin(annotation) is dict:
        suffix, inner = suffix + ".<name>", inner[1:]
    elif hasattr(annotation, "__metadata__"):
        inner = inner[:1]
    for one in inner:
        yield from models(one, suffix)


def keys(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below a model, as a dotted path."""
    for name, info in model.model_fields.items():
        path = at + (info.alias or name)
        yield path, info
        for suffix, inner in models(info.annotation):
            yield from keys(inner, f"{path}{suffix}.")


def default(info: FieldInfo) -> str:
    """What the table says of a key's default."""
    if info.is_required():
        return "required"
    if info.default_factory is not None:
        return "`{}`"
    return "-" if isinstance(info.default, BaseModel) else _plain(info.default)


def _plain(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        words = [str(item.value if isinstance(item, Enum) else item) for item in value]
        return f"`[{', '.join(words)}]`"
    return f"`{value}`"


@pytest.mark.parametrize(
    ("name", "model"), [("configuration", Settings), ("caller-map", CallersFile)], ids=["configuration", "caller-map"]
)
def test_every_key_has_a_row_with_its_default_and_its_meaning(name: str, model: type[BaseModel]) -> None:
    told = {key: row for row in rows(reference(name)) for key in CODE.findall(row[0])}
    expected = dict(keys(model))
    assert missing(expected, told) == []
    wrong = {key: told[key][1] for key, info in expected.items() if told[key][1] != default(info)}
    assert wrong == {}
    assert [key for key in expected if len(told[key]) < 3 or not told[key][2]] == []


@pytest.mark.parametrize(
    ("name", "model"), [("configuration", Settings), ("caller-map", CallersFile)], ids=["configuration", "caller-map"]
)
def test_no_row_tells_of_a_key_that_is_gone(name: str, model: type[BaseModel]) -> None:
    dotted = {key for key in first_cells(reference(name)) if "." in key}
    assert missing(dotted, dict(keys(model))) == []


# ------------------------------------------------------------------------------------------------- catalogue


def duration(micros: Micros) -> str:
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if micros % unit == 0:
            return f"{micros // unit}{letter}"
    raise ValueError(micros)


@pytest.mark.parametrize("meta", CATALOGUE, ids=lambda meta: str(meta.id))
def test_every_detection_has_a_row_with_its_defaults(meta: Meta) -> None:
    settings = meta.defaults
    window = duration(settings.window) if meta.counts else "-"
    severity, rollup = settings.severity.name.lower(), duration(settings.rollup)
    expected = [meta.title, str(settings.threshold), window, severity, rollup, ", ".join(meta.techniques)]
    row = next(row for row in rows(reference("detections")) if row[0].startswith(f"[{meta.id}]"))
    assert row[1:] == expected


@pytest.mark.parametrize("meta", CATALOGUE, ids=lambda meta: str(meta.id))
def test_every_detection_has_a_section_with_its_reason_a_runbook_and_its_false_positive(meta: Meta) -> None:
    text = reference("detections").partition(f"\n## {meta.id} {meta.title}\n")[2]
    section = re.split(r"^## ", text, flags=re.MULTILINE)[0]
    assert [part for part in ("Why", "On an alert", "Usual false positive") if f"- **{part}**:" not in section] == []


def test_detections_start_enforced_as_the_page_says() -> None:
    assert {meta.defaults.mode for meta in CATALOGUE} == {Mode.ENFORCE}


# -------------------------------------------------------------------------------------------------- outputs


def test_every_reason_of_a_verdict_is_explained() -> None:
    assert missing(Reason, first_cells(reference("caller-map"))) == []


@pytest.mark.parametrize(
    "names",
    [_Line.__struct_fields__, Kind],
    ids=["fields", "kinds"],
)
def test_every_field_and_kind_of_an_event_has_a_row(names: Iterable[str]) -> None:
    assert missing(names, first_cells(reference("events"))) == []


@pytest.mark.parametrize("names", [Outcome, Failure, Evidence, Witness, Initiator.__struct_fields__])
def test_every_word_of_an_event_is_named(names: Iterable[str]) -> None:
    assert missing(names, CODE.findall(reference("events"))) == []


def test_every_flag_of_an_event_has_a_row() -> None:
    assert missing(Flag, first_cells(reference("events"))) == []


def test_every_field_of_an_alert_is_named() -> None:
    words = set(re.findall(r"[a-z_]+", " ".join(CODE.findall(reference("alerts")))))
    fixed = {"activity_name", "category_uid", "category_name", "class_uid", "class_name", "type_name", "severity"}
    assert missing(set(DetectionFinding.__struct_fields__) - fixed, words) == []
    assert missing(Own.__struct_fields__, first_cells(reference("alerts"))) == []
    transitions = {row[0] for row in rows(reference("alerts"))}
    assert missing((activity.name.lower() for activity in Activity), transitions) == []


def test_every_key_of_a_cef_line_is_named() -> None:
    extension = to_cef(finding(citations=2)).split("|")[7]
    found = {key for key in re.findall(r"(?:^| )(\w+)=", extension) if not key.endswith("Label")}
    assert "kmwatchRequestIds" in found
    assert missing(found, first_cells(reference("alerts"))) == []


# -------------------------------------------------------------------------------------------------- metrics


def metric_names() -> set[str]:
    metrics = Metrics()
    counters = {m._name for m in vars(metrics).values() if isinstance(m, Counter)} | {"process_cpu_seconds"}
    return {f"{name}_total" if name in counters else name for name in metrics.names()}


def test_every_metric_has_a_row() -> None:
    assert missing(metric_names(), first_cells(reference("metrics"))) == []


def test_every_metric_has_its_labels_in_its_row() -> None:
    told = {CODE.findall(row[0])[0]: row for row in rows(reference("metrics")) if row[0].startswith("`kmwatch_")}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            name = f"{metric._name}_total" if isinstance(metric, Counter) else metric._name
            assert tuple(CODE.findall(told[name][2])) == metric._labelnames, name


def test_no_example_asks_for_a_metric_there_is_not() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bkmwatch_[a-z_]*[a-z]\b", text)}
    assert missing(asked - {"kmwatch_sink"}, metric_names()) == []


def test_every_reason_to_ignore_or_reject_a_record_is_explained() -> None:
    outcomes = {f"ignored_{reason}" for reason in Ignored} | {f"rejected_{reason}" for reason in RejectReason}
    assert missing(outcomes, first_cells(reference("metrics"))) == []


@pytest.mark.parametrize("names", [Joined, FailureKind])
def test_every_word_of_a_label_is_named(names: Iterable[str]) -> None:
    assert missing(names, CODE.findall(reference("metrics"))) == []


# ----------------------------------------------------------------------------------------------------- http


async def _ready() -> Readiness:
    return Readiness(ready=True)


async def _status() -> Readiness:
    return Readiness(ready=True)


async def test_every_path_of_the_http_endpoint_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []
    get = web.get

    def noted(path: str, *args: Any) -> web.RouteDef:  # noqa: ANN401
        served.append(path)
        return get(path, *args)

    monkeypatch.setattr(web, "get", noted)
    server = HttpServer(Metrics(), _ready, _status)
    await server.start("127.0.0.1", 0)
    await server.close()
    assert len(served) >= 4
    assert missing(served, first_cells(reference("http"))) == []


def test_every_field_of_the_status_is_named() -> None:
    words = set(re.findall(r"[a-z_]+", reference("http")))
    for struct in (Status, SinkStatus, Totals, Records, Events, Hits, SinkAccount):
        assert missing(struct.__struct_fields__, words) == []
    assert missing(State, CODE.findall(reference("http"))) == []


# ------------------------------------------------------------------------------------------ examples and links

EXAMPLES = [
    (path, number, textwrap.dedent(block))
    for path in PAGES
    if path.parent.name != "tutorial"  # its own test follows it to the letter
    if path.name != "inventory.md"  # of databases: tests/integration/test_inventory_database.py
    for number, (_, block) in enumerate(
        re.findall(r"^( *)```yaml\n(.*?)^\1```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    )
    if path not in (ROOT / "README.md", ROOT / "docs" / "guides" / "inventory.md")  # to look at; with real databases
]


def test_there_are_examples_of_both_files() -> None:
    assert {block.splitlines()[0] for _, _, block in EXAMPLES} == {"# kmwatch.yaml", "# callers.yaml"}
    assert {path.parent.name for path, _, _ in EXAMPLES} == {"reference", "guides", "siem"}


@pytest.mark.parametrize(
    ("path", "number", "block"),
    EXAMPLES,
    ids=[f"{path.parent.name}-{path.stem}-{number}" for path, number, _ in EXAMPLES],
)
def test_every_example_loads_within_the_shipped_configuration(
    path: Path, number: int, block: str, tmp_path: Path
) -> None:
    """A part of kmwatch.yaml replaces the keys of the shipped one; callers.yaml replaces the shipped one."""
    del path, number
    shutil.copytree(ROOT / "config", tmp_path / "config")
    folder = tmp_path / "config"
    name = block.splitlines()[0].removeprefix("# ")
    if name == "callers.yaml":
        (folder / name).write_text(block, encoding="utf-8")
    else:
        _write_over(folder / name, block)
    for credential in re.findall(r"file:([\w./-]+)", block):
        (folder / credential).parent.mkdir(parents=True, exist_ok=True)
        (folder / credential).write_text(f"whsec_{'c2VjcmV0' * 4}", encoding="utf-8")  # webhooks ask for this form
    loaded = load(folder / "kmwatch.yaml", {"KMWATCH_KAFKA_PASSWORD": "x", "KEYMANAGER_PASSWORD": "x"}, today=TODAY)
    assert [problem for problem in loaded.problems if "names alone" in problem.message] == []


def _write_over(shipped: Path, block: str) -> None:
    """The shipped file with the sections of an example in place of its own."""
    part = shipped.with_name("part.yaml")
    part.write_text(block, encoding="utf-8")
    document = load_yaml(part, "part", [])
    assert document is not None
    assert isinstance(document.value, dict)
    sections = re.split(r"^(?=[a-z_]+:)", shipped.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = [section for section in sections if section.partition(":")[0] not in document.value]
    shipped.write_text("".join(kept) + block, encoding="utf-8")


def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


def test_sizing_and_growth_use_the_figures_that_were_measured() -> None:
    measured = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    pages = (ROOT / "docs" / "explanation" / "sizing.md", *(ROOT / "docs" / "adr").glob("0009-*.md"))
    for page in pages:
        rates = re.findall(
            r"([0-9]+,[0-9]{3}) (?:records|requests)(?:/s| a\s+second)", page.read_text(encoding="utf-8")
        )
        told = {rate for rate in rates if rate != "1,000"}  # when to build, and no measurement
        assert told, page
        assert missing(told, set(re.findall(r"[0-9]+,[0-9]{3}", measured))) == []


def test_decisions_are_numbered_from_one_without_a_gap_and_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = [line for line in (folder / "README.md").read_text().splitlines() if re.match(r"\d", line)]
    told = []
    for number, path in enumerate(sorted(folder.glob("[0-9]*.md")), 1):
        assert path.name.startswith(f"{number:04}-"), f"{path.name} should be number {number}"
        title = path.read_text().partition("\n")[0].removeprefix(f"# {number}. ")
        told.append(f"{number}. [{title}]({path.name})")
    assert listed == told


def test_every_reference_page_is_there() -> None:
    assert len(list((ROOT / "docs" / "reference").glob("*.md"))) >= NUMBER_OF_PAGES


def test_the_commands_that_the_readme_shows_exist() -> None:
    shown = set(re.findall(r"\./dev ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    known = set(re.findall(r"^([a-z]+)\)", (ROOT / "dev").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= shown
    assert missing(shown, known) == []
