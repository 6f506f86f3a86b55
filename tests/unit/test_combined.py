from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from kmwatch.core.record import AccessRecord, Rejected, RejectReason, Slot
from kmwatch.wire.combined import UNKNOWN, decode
from kmwatch.wire.times import clf

FORMS = Path(__file__).parents[1] / "golden/data/forms"
STAMP = "23/Nov/2026:20:58:41 +0000"
AT = clf(STAMP, UTC)
AGENT = "python-barbicanclient keystoneauth1/5.18.1"


def line(
    request: str = "PUT /v1/secrets/x/acl HTTP/1.1", *, user: str = "-", took: str = "", agent: str = AGENT
) -> str:
    return f'127.0.3.131 - {user} [{STAMP}] "{request}" 200 88{took} "-" "{agent}"'


def read(text: str, slot: int = Slot.ACCESS) -> AccessRecord:
    got = decode(text, UTC, slot)
    assert isinstance(got, AccessRecord), got
    return got


def test_kolla_ansibles_format_tells_how_long_it_took() -> None:
    assert read(line(took=" 49338")) == AccessRecord(
        slot=Slot.ACCESS,
        key="",
        observed_time=AT + 1_049_338,
        event_time=AT,
        began=AT,
        ended=AT + 49_338,
        precision=1_000_000,
        method="PUT",
        path_raw="/v1/secrets/x/acl",
        status=200,
        peer="127.0.3.131",
        agent=AGENT,
        size=88,
    )


def test_without_a_duration_the_times_are_less_precise() -> None:
    got = read(line())
    assert (got.began, got.ended, got.precision, got.agent) == (AT, AT + 1_000_000, UNKNOWN, AGENT)


def test_common_log_format_has_no_agent() -> None:
    got = read(line().split('" "')[0].removesuffix(' "-'))
    assert (got.status, got.size, got.agent) == (200, 88, None)


def test_fields_after_the_agent_are_passed_over() -> None:
    assert read(line() + ' "10.0.0.1, \\x22GET /forged"') == read(line())


def test_a_virtual_host_may_come_first() -> None:
    got = read("keys.example:9311 " + line())
    assert (got.entry, got.peer) == ("keys.example", "127.0.3.131")


def test_the_configuration_says_whether_it_is_a_proxy() -> None:
    assert read(line(), Slot.PROXY).slot == Slot.PROXY


@pytest.mark.parametrize("name", ["apache_combined.log", "apache_kolla_logformat.log"])
def test_every_recorded_line_is_read(name: str) -> None:
    for text in (FORMS / name).read_text(encoding="ascii").split("\n")[:-1]:
        got = read(text)
        assert got.method
        assert got.path_raw.startswith("/")


def test_both_recorded_formats_tell_the_same() -> None:
    def told(name: str) -> list[tuple[str, str, int | None, str | None]]:
        lines = (FORMS / name).read_text(encoding="ascii").split("\n")[:-1]
        return [(got.method, got.path_raw, got.status, got.agent) for got in map(read, lines)]

    assert told("apache_combined.log") == told("apache_kolla_logformat.log")


def test_what_the_server_escaped_is_undone() -> None:
    got = read(line(r"GET /a\"b\\c\xc3\xa9\xff HTTP/1.1", agent=r"x\" \"y\x85\x22\n"))
    assert got.path_raw == '/a"b\\c\u00e9\ufffd'
    assert got.agent == 'x" "y\ufffd"\n'


@pytest.mark.parametrize(
    ("request_line", "path"),
    [
        ("-", "-"),
        (r"\x16\x03\x01", "\x16\x03\x01"),
        ("", ""),
        ("GET", "GET"),
        (r"\x16\x03 x HTTP/1.1", "\x16\x03 x HTTP/1.1"),
    ],
)
def test_what_is_no_request_has_no_method(request_line: str, path: str) -> None:
    got = read(line(request_line))
    assert (got.method, got.path_raw) == ("", path)


def test_http_0_9_names_no_protocol() -> None:
    assert read(line("GET /v1")).path_raw == "/v1"


def test_a_path_may_hold_spaces() -> None:
    assert read(line("GET /a HTTP/1.1 b HTTP/1.1")).path_raw == "/a HTTP/1.1 b"


@pytest.mark.parametrize(
    "user", ["a b", r"x [23/Nov/2020:00:00:00 +0000] \x22GET /forged HTTP/1.1\x22 200 1", r"\"", "x] ["]
)
def test_the_name_a_client_sends_forges_nothing(user: str) -> None:
    got, plain = read(line(user=user)), read(line())
    assert got == plain


def test_an_ipv6_client_cannot_pass_its_address_for_a_virtual_host() -> None:
    assert read(line(user="u v").replace("127.0.3.131", "2001:db8::1:80")).peer == "2001:db8::1:80"


def test_absent_numbers_are_read() -> None:
    got = read(line().replace("200 88", "- -"))
    assert (got.status, got.size) == (None, 0)


def test_a_cut_line_is_rejected() -> None:
    got = decode(line()[:70], UTC)
    assert isinstance(got, Rejected)
    assert got.reason is RejectReason.BAD_LINE


def test_lines_of_others_are_left_to_others() -> None:
    assert decode("127.0.0.1 says hello", UTC) is None
