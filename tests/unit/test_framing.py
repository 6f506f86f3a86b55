from __future__ import annotations

import pytest

from kmwatch.wire.framing import peel

MESSAGE = '127.0.0.1:1 [23/Nov/2026:20:47:54.006] a b/c "GET /: x HTTP/1.1"'


@pytest.mark.parametrize(
    ("frame", "program", "host"),
    [
        ("<142>Nov 23 20:48:04 localhost haproxy[32587]: ", "haproxy", "localhost"),
        ("Nov 23 20:48:04 localhost haproxy[32587]: ", "haproxy", "localhost"),
        ("Nov  3 20:48:04 ctl01 barbican-uwsgi: ", "barbican-uwsgi", "ctl01"),
        ("<142>Nov 23 20:48:04 haproxy[32587]: ", "haproxy", None),
        ("Nov 23 20:48:04 2001:db8::1 haproxy[1]: ", "haproxy", "2001:db8::1"),
        ("Nov 23 20:48:04 ctl01 docker/abc[1]:", "docker/abc", "ctl01"),
        ("2026-11-23T20:48:04.123456+00:00 host haproxy[1]: ", "haproxy", "host"),
        ("2026-11-23T20:48:04Z host haproxy: ", "haproxy", "host"),
        ("<134>1 2026-11-23T20:48:04.817934+02:00 - haproxy 266980 - - ", "haproxy", None),
        ("<134>1 2026-11-23T20:48:04Z host haproxy 1 ID - \ufeff", "haproxy", "host"),
        (r'<134>1 - host haproxy 1 - [a@1 b="c \"] d" e="\\"][f] ', "haproxy", "host"),
        ("123 <134>1 - host - 1 - - ", None, "host"),
        ("99 <142>Nov 23 20:48:04 localhost haproxy[1]: ", "haproxy", "localhost"),
    ],
)
def test_framing_is_taken_off(frame: str, program: str | None, host: str | None) -> None:
    assert peel(frame + MESSAGE) == (program, host, MESSAGE)


@pytest.mark.parametrize(
    "line",
    [
        MESSAGE,
        "",
        "2026-11-23 20:48:06.843 32595 INFO barbican.api: x",
        "[pid: 1|app: 0|req: 1/1] 127.0.0.1 () x: y",
        "<142>what: is this",
        "Nov 23 haproxy: ...",
    ],
)
def test_a_line_without_framing_is_the_message(line: str) -> None:
    assert peel(line) == (None, None, line)


def test_only_the_outermost_layer_is_taken_off() -> None:
    frame = "Nov 23 20:48:04 relay syslog: "
    assert peel(frame + frame + MESSAGE)[2] == frame + MESSAGE


def test_an_empty_message_is_one() -> None:
    assert peel("<134>1 - host app - - -") == ("app", "host", "")
