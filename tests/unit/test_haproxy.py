from __future__ import annotations

from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from kmwatch.core.model import Flag
from kmwatch.core.record import AccessRecord, Ignored, Rejected, RejectReason, Slot
from kmwatch.wire.framing import peel
from kmwatch.wire.haproxy import Captures, decode
from kmwatch.wire.times import clf

LINES = Path(__file__).parents[1] / "golden/data/forms/haproxy.log"
AT = clf("23/Nov/2026:20:47:54.006", UTC)
ID = "req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e"
OTHER = "req-00000000-0000-4000-8000-000000000000"
BOTH = Captures(request=("user-agent", "accept"), response=("x-openstack-request-id",))


def line(  # noqa: PLR0913
    request: str = '"GET /v1/quotas HTTP/1.1"',
    *,
    client: str = "127.0.1.101:32957",
    front: str = "front",
    back: str = "back/srv",
    timers: str = "1/2/3/37/60",
    status: str = "200",
    cookie: str = "-",
    captured: str = "",
) -> str:
    head = f"{client} [23/Nov/2026:20:47:54.006] {front} {back} {timers} {status} 290 {cookie} - ---- 3/2/2/2/0 0/0 "
    return head + captured + request


def read(text: str, captures: Captures = Captures()) -> AccessRecord:  # noqa: B008
    got = decode(text, UTC, captures)
    assert isinstance(got, AccessRecord), got
    return got


def test_a_line_gives_the_request_and_when_the_server_had_it() -> None:
    assert read(line()) == AccessRecord(
        slot=Slot.PROXY,
        key="",
        observed_time=AT + 60_000,
        event_time=AT,
        began=AT + 6_000,
        ended=AT + 43_000,
        precision=4000,
        method="GET",
        path_raw="/v1/quotas",
        status=200,
        peer="127.0.1.101",
        tls=False,
        size=290,
        entry="front",
        serial="32957",
    )


def test_every_recorded_line_is_read() -> None:
    for raw in LINES.read_bytes().split(b"\n")[:-1]:
        got = read(peel(raw.decode())[2])
        assert got.path_raw == "<BADREQ>" or got.path_raw.startswith("/")


def test_times_are_in_the_declared_zone() -> None:
    got = decode(line(), timezone(timedelta(hours=2)))
    assert isinstance(got, AccessRecord)
    assert got.event_time == AT - 7_200_000_000


def test_a_timer_that_was_not_reached_counts_nothing() -> None:
    got = read(line(timers="5/-1/-1/-1/20"))
    assert (got.began, got.ended, got.observed_time) == (AT + 5000, AT + 20_000, AT + 20_000)


def test_logasap_marks_are_read() -> None:
    got = read(line(timers="0/0/0/5/+7"))
    assert got.observed_time == AT + 7000


def test_a_tilde_after_the_frontend_is_tls() -> None:
    got = read(line(front="front~"))
    assert (got.tls, got.entry) == (True, "front")


@pytest.mark.parametrize("back", ["front/<NOSRV>", "front/<STATS>", "front/<CACHE>"])
def test_what_haproxy_answers_itself_was_not_served(back: str) -> None:
    assert not read(line(back=back)).served


def test_an_unreadable_request_has_no_method_and_was_not_served() -> None:
    got = read(line('"<BADREQ>"', back="front/<NOSRV>", timers="-1/-1/-1/-1/0", status="400"))
    assert (got.method, got.path_raw, got.served, got.cut) == ("", "<BADREQ>", False, False)


def test_a_connection_without_an_answer_has_no_status() -> None:
    assert read(line(status="-1")).status is None


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ('"GET /v1/secrets/aaaa"', "/v1/secrets/aaaa"),
        ('"GET /v1/secrets/aaaa', "/v1/secrets/aaaa"),
        ('"GET /v1/secrets/aaaa HTTP/1."', "/v1/secrets/aaaa"),
        ('"GET /v1/secrets/aaaa H', "/v1/secrets/aaaa"),
        ('"GET', ""),
    ],
)
def test_a_request_without_its_protocol_is_cut(written: str, path: str) -> None:
    got = read(line(written))
    assert (got.method, got.path_raw, got.cut) == ("GET", path, True)


def test_a_line_that_ends_before_its_request_still_counts() -> None:
    got = read(line("", captured="{Mozilla/5.0 AAAAAAAAAAAAAA"))
    assert (got.peer, got.status, got.path_raw, got.cut) == ("127.0.1.101", 200, "", True)
    assert got.flags == (Flag.REQUEST_UNREADABLE,)


def test_what_haproxy_encodes_is_decoded() -> None:
    assert read(line('"GET /v1/x?q=#22a#22|#23 HTTP/1.1"')).path_raw == '/v1/x?q="a"|#'
    assert read(line('"GET /v1/#C3#A9#FF HTTP/1.1"')).path_raw == "/v1/\u00e9\ufffd"


@pytest.mark.parametrize(
    ("client", "peer"), [("::1:12345", "::1"), ("unix:1", None), ("2001:db8::7:80", "2001:db8::7"), ("host:1", None)]
)
def test_the_peer_is_an_address_or_nothing(client: str, peer: str | None) -> None:
    assert read(line(client=client)).peer == peer


def test_of_two_undeclared_blocks_a_request_id_in_the_second_is_the_services() -> None:
    got = read(line(captured=f"{{curl|{OTHER}}} {{{ID}}} "))
    assert (got.request_id, got.key, got.agent, got.accept) == (ID, ID, None, None)


@pytest.mark.parametrize(
    "captured",
    [f"{{{ID}}} ", f"{{{ID}}} {{}} ", f"{{a}} {{x{ID}}} ", f"{{a}} {{{ID}|{OTHER}}} ", f"{{a}} {{{ID.upper()}}} "],
)
def test_what_a_client_may_have_written_is_no_request_id(captured: str) -> None:
    assert read(line(captured=captured)).request_id is None


def test_declared_captures_give_agent_and_accept() -> None:
    got = read(line(captured=f"{{a#7Cb|text/plain}} {{{ID}}} "), BOTH)
    assert (got.agent, got.accept, got.request_id, got.key, got.flags) == ("a|b", "text/plain", ID, ID, ())


def test_a_single_block_is_of_the_kind_that_is_declared() -> None:
    assert read(line(captured=f"{{{ID}}} "), Captures(response=("x-openstack-request-id",))).request_id == ID
    asked = read(line(captured=f"{{{ID}}} "), Captures(request=("x-openstack-request-id",)))
    assert (asked.request_id, asked.key, asked.global_request_id) == (None, "", ID)
    assert read(line(captured="{} "), Captures(request=("accept",))).accept is None


@pytest.mark.parametrize("captured", ["{a|b|c} {d} ", "{a|b} {c|d} ", "{a|b} "])
def test_captures_that_do_not_fit_the_declaration_are_ignored_as_a_whole(captured: str) -> None:
    got = read(line(captured=captured), BOTH)
    assert Flag.CAPTURE_UNREADABLE in got.flags
    assert got.request_id is None


def test_a_frontend_without_captures_is_no_misfit() -> None:
    assert read(line(), BOTH).flags == ()


def test_a_captured_cookie_with_anything_in_it_neither_hides_nor_forges_a_request() -> None:
    forged = f'x - ---- 1/1/1/1/0 0/0 {{a}} {{{OTHER}}} "GET /forged HTTP/1.1"'
    got = read(line(cookie=forged, captured=f"{{a}} {{{ID}}} "))
    assert (got.path_raw, got.request_id, got.status) == ("/v1/quotas", ID, 200)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:1 [23/Nov/2026:20:47:54.006] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0",
        "127.0.0.1:1 [23/Nov/2026:20:47:54.006] frt/f1: Connection error during SSL handshake",
        "127.0.0.1:1 [23/Nov/2026:20:47:54.006] frt/1: SSL handshake failure",
        "Connect from 10.0.1.2:33312 to 10.0.3.31:8012 (www/HTTP)",
        "Server back/srv1 is DOWN, reason: Layer4 connection problem, info: ...",
        "backend back has no server available!",
        "Proxy front started.",
    ],
)
def test_what_is_no_request_is_said_to_be_none(text: str) -> None:
    assert decode(text, UTC) is Ignored.NOT_A_REQUEST


def test_a_damaged_line_is_rejected() -> None:
    got = decode(line()[:60], UTC)
    assert isinstance(got, Rejected)
    assert got.reason is RejectReason.BAD_LINE


def test_a_time_that_is_none_is_rejected() -> None:
    got = decode(line().replace("23/Nov", "33/Nov"), UTC)
    assert isinstance(got, Rejected)
    assert got.reason is RejectReason.BAD_TIME


def test_lines_of_others_are_left_to_others() -> None:
    assert decode("2026-11-23 20:48:06.843 1 INFO x [-] Server a/b is fine", UTC) is None
