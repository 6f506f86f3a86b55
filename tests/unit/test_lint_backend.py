"""A log of the HSM that does not show everything says so before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmwatch.config.lint_backend import shows_reads
from kmwatch.config.load import Loaded, load

PLAIN = """
sources: [{file: {paths: [none.jsonl]}%s}]
witnesses: {cadf: required, backend: %s}
callers: callers.yaml
store: {sqlite: {path: state.db}}
sinks: [{name: screen, stdout: {}}]
%s
"""
OWN = "backend_log: {hsm: {fields: {time: t, operation: o, result: r}, operations: {%s}, ok: [a]%s}}"
ALL = "read: [d], unwrap: [u], login: [l], extract: [e], change: [c]"


def loaded(folder: Path, log: str = "", *, source: str = "", backend: str = "required") -> Loaded:
    (folder / "callers.yaml").write_text("callers: {}\nallow: []\n")
    (folder / "kmwatch.yaml").write_text(PLAIN % (source, backend, log))
    return load(folder / "kmwatch.yaml", {})


@pytest.mark.parametrize(
    ("log", "source", "unsupported"),
    [
        ("backend_log: {hsm: {form: cloudhsm}}", "", ["KMW-035 and KMW-040"]),
        ("", ", form: cloudhsm", ["KMW-035 and KMW-040"]),
        ("backend_log: {hsm: {form: cloudhsm}}", ", form: cloudhsm", ["KMW-035 and KMW-040"]),
        ("backend_log: {hsm: {form: azure}}", "", ["KMW-036 and KMW-038"]),
        ("backend_log: {hsm: {form: pkcs11}}", "", []),
        (OWN % (ALL, ", refused: [x]"), "", []),
        (OWN % (ALL.replace("read: [d], ", ""), ", refused: [x]"), "", ["KMW-035 and KMW-040"]),
        (OWN % ("read: [d]", ""), "", ["KMW-036", "KMW-036 and KMW-038", "KMW-037", "KMW-039", "KMW-038"]),
    ],
)
def test_what_a_log_cannot_show_is_said_with_the_detections_it_cannot_support(
    tmp_path: Path, log: str, source: str, unsupported: list[str]
) -> None:
    found = [problem.render() for problem in loaded(tmp_path, log, source=source).problems]
    assert len(found) == len(unsupported)
    assert all(any(rules in line for line in found) for rules in unsupported)
    assert all(": warning: " in line for line in found)


def test_a_log_that_nobody_expects_is_no_matter(tmp_path: Path) -> None:
    assert loaded(tmp_path, "backend_log: {hsm: {form: cloudhsm}}", backend="absent").problems == ()


@pytest.mark.parametrize(("form", "shows"), [("cloudhsm", False), ("azure", True), ("pkcs11", True)])
def test_the_account_knows_whether_reads_can_be_missing(tmp_path: Path, form: str, shows: bool) -> None:  # noqa: FBT001
    assert shows_reads(loaded(tmp_path, f"backend_log: {{hsm: {{form: {form}}}}}").settings) is shows
