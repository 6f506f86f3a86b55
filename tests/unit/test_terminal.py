from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from kmwatch.core.model import Activity, Finding, Mode, Severity
from kmwatch.wire.terminal import fit, to_terminal
from tests.support.findings import finding, hostile_findings, texts

SGR = re.compile(r"\x1b\[[0-9;]*m")


def test_an_analyst_reads_who_what_where_and_why_at_a_glance() -> None:
    assert to_terminal(finding(), colour=False).splitlines() == [
        "2026-11-23 23:51:59Z  HIGH  KMW-001 unexplained-read",
        '  alice (ff38bc60) from 203.0.113.9 (proxy): GET /v1/secrets/5ec4e7-1000/payload -> 200, secret "lb-cert"',
        "  network: nearest octavia-lb fails on networks: expected 10.20.0.0/24, got 203.0.113.9",
        "  1 event, 1 secret, 1 address, alert finding-1",
    ]


@pytest.mark.parametrize(("activity", "word"), [(Activity.UPDATE, "update"), (Activity.CLOSE, "closed")])
def test_later_lines_of_a_finding_say_so(activity: Activity, word: str) -> None:
    assert to_terminal(replace(finding(), activity=activity), colour=False).splitlines()[0].endswith(f"  {word}")


def test_a_shadow_finding_says_so() -> None:
    assert "(shadow)" in to_terminal(replace(finding(), mode=Mode.SHADOW), colour=False)


def test_a_finding_without_a_request_tells_its_message() -> None:
    lines = to_terminal(replace(finding(), citations=(), nearest=None), colour=False).splitlines()
    assert lines[1] == "  alice read secret lb-cert from 203.0.113.9, which no declaration allows"


@given(hostile_findings, st.sampled_from(["plain", "colour"]), st.integers(0, 300))
def test_no_line_is_too_wide_and_no_control_character_gets_through(alert: Finding, style: str, width: int) -> None:
    text = SGR.sub("", to_terminal(alert, colour=style == "colour", width=width))
    assert text == to_terminal(alert, colour=False, width=width)
    lines = text.split("\n")
    assert 2 <= len(lines) <= 4
    assert all(fit(line, max(width, 40)) == line for line in lines)
    assert all(character.isprintable() for line in lines for character in line if character.isascii())
    assert not any(character in text for character in "\x85\u2028\u202e\ufeff\U000e0041")


@given(texts, st.integers(2, 60))
def test_wide_characters_count_as_two_columns(text: str, width: int) -> None:
    assert len(fit("中" * len(text), width).rstrip("…")) <= width // 2


@pytest.mark.parametrize("severity", list(Severity))
def test_colour_adds_nothing_but_colour(severity: Severity) -> None:
    alert = replace(finding(), severity=severity)
    coloured = to_terminal(alert, colour=True)
    assert coloured != to_terminal(alert, colour=False)
    assert SGR.sub("", coloured) == to_terminal(alert, colour=False)
