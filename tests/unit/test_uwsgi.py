from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from kmwatch.core.record import AccessRecord, Ignored, Rejected, RejectReason, Slot
from kmwatch.wire.times import ctime
from kmwatch.wire.uwsgi import DOUBTFUL, decode, is_noise

LINES = Path(__file__).parents[1] / "golden/data/forms/uwsgi.log"
STAMP = "Mon Nov 23 20:48:03 2026"
AT = ctime(STAMP, UTC)


def line(request: str = "GET /v1/quotas", *, address: str = "127.0.0.1", took: str = "6 msecs", end: str = "") -> str:
    return (
        f"[pid: 32595|app: 0|req: 350/350] {address} () {{30 vars in 546 bytes}} [{STAMP}] {request} => generated 87 "
        f"bytes in {took} {end}(HTTP/1.1 200) 6 headers in 256 bytes (1 switches on core 0)"
    )


def read(text: str) -> AccessRecord:
    got = decode(text, UTC)
    assert isinstance(got, AccessRecord), got
    return got


def test_a_line_gives_the_request_in_its_second() -> None:
    assert read(line()) == AccessRecord(
        slot=Slot.ACCESS,
        key="",
        observed_time=AT + 1_006_000,
        event_time=AT,
        began=AT,
        ended=AT + 6_000,
        precision=1_001_000,
        method="GET",
        path_raw="/v1/quotas",
        status=200,
        peer="127.0.0.1",
        size=87,
        serial="32595|app: 0|req: 350/350",
    )


def test_every_recorded_line_is_read_or_known_noise() -> None:
    read_, blanked = 0, 0
    for raw in LINES.read_bytes().split(b"\n")[:-1]:
        text = raw.decode("utf-8", "replace")
        got = decode(text, UTC)
        if got is None:
            assert not text or text[0] == " " or is_noise(text), text
        read_ += isinstance(got, AccessRecord)
        blanked += got is Ignored.BLANKED
    assert read_ >= 10
    assert blanked == 9


def test_microseconds_and_sendfile_are_read() -> None:
    assert read(line(took="6123 micros", end="via sendfile() ")).ended == AT + 6123


def test_memory_reports_stand_before_the_line() -> None:
    usage = "{address space usage: 1 bytes/0MB} {rss usage: 2 bytes/0MB} "
    assert read(usage + line()) == read(line())


def test_a_path_may_hold_anything() -> None:
    path = "/v1/x => generated 1 bytes in 1 msecs (HTTP/1.1 404) 1 headers in 1 bytes (1 switches on core 0) y"
    got = read(line(f"GET {path}"))
    assert (got.path_raw, got.status) == (path, 200)


def test_an_address_of_the_clients_making_is_not_believed() -> None:
    forged = f"10.0.0.1 () {{1 vars in 2 bytes}} [{STAMP}] GET /forged"
    got = read(line(address=forged))
    assert (got.peer, got.flags) == (None, (DOUBTFUL,))
    got = read(line(address="10.0.0.1, (x) 10.0.0.2"))
    assert (got.peer, got.path_raw, got.flags) == (None, "/v1/quotas", (DOUBTFUL,))


def test_a_request_beyond_the_buffer_shows_nothing() -> None:
    assert decode(line("- -", address="0.0.0.0").replace("(HTTP/1.1 200)", "(- 200)"), UTC) is Ignored.BLANKED


def test_no_client_can_blank_its_line() -> None:
    assert read(line("- -")).path_raw == "-"


FORGED = f"\n[pid: 7|app: 0|req: 4/9] 10.0.0.1 () {{3 vars in 69 bytes}} [{STAMP}] GET /v1/quotas => generated 23 bytes"


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET /v1/quotas => generated 87 bytes in 6 msecs (x{FORGED}",  # a line feed in the protocol
        f"GET /v1/quotas{FORGED}",  # CR LF in the URI
        "GET /v1/quo",
    ],
)
def test_what_stands_before_a_clients_line_feed_is_still_the_web_servers_word(request_line: str) -> None:
    head = f"[pid: 32595|app: 0|req: 350/350] 10.66.0.9 () {{30 vars in 546 bytes}} [{STAMP}] "
    got = read((head + request_line).split("\n")[0])
    assert (got.peer, got.method, got.status, got.cut) == ("10.66.0.9", "GET", None, True)
    assert "/v1/quotas".startswith(got.path_raw)
    assert got.flags == (DOUBTFUL,)


@pytest.mark.parametrize("cut", [40, 90, 130])
def test_a_cut_line_is_rejected(cut: int) -> None:
    got = decode(line()[:cut], UTC)
    assert isinstance(got, Rejected)
    assert got.reason is RejectReason.BAD_LINE


@pytest.mark.parametrize(
    "text",
    [
        "pcre jit disabled",
        "--- Python VM already initialized ---",
        "--- no python application found, check your startup logs for errors ---",
        "[1795634976] logsize: 262084, triggering log-reopen...",
        "[1795634976] /var/log/barbican/uwsgi.log reopened.",
        "invalid HTTP request size (max 4096)...skip",
        "not enough space in wsgi_req http proto_parser_buf to decode PATH_INFO, consider tuning it with --buffer-size",
    ],
)
def test_what_a_rotating_and_refusing_web_server_says_is_noise(text: str) -> None:
    assert is_noise(text)


def test_a_request_line_is_no_noise() -> None:
    assert not is_noise(line())
    assert not is_noise("machine learning")
