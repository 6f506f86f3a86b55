"""Whatever a client writes: a line says what the server saw, and decoding never raises."""

from __future__ import annotations

import json
import re

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from kmwatch.core.record import AccessRecord, Decoded, Ignored, Rejected
from kmwatch.wire.decode import FORMS, Options, Reader
from kmwatch.wire.event import iso
from kmwatch.wire.framing import peel
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.recorded import known, readable, unwrap

STAMP = "23/Nov/2026:20:47:54"
CAPTURES = Captures(("user-agent", "accept"), ("x-openstack-request-id",))
reader = Reader(Options(captures=CAPTURES))
# What a client may send, and the pieces of lines that it would like to be taken for the server's.
PIECES = [
    *' "|{}#[]()\\',
    "\\x22",
    "#22",
    "HTTP/1.1",
    " => generated 1 bytes in 1 msecs (HTTP/1.1 404) 1 headers in 1 bytes (1 switches on core 0)",
    ' - - [23/Nov/2020:00:00:00 +0000] "GET /forged HTTP/1.1" 200 1',
    "{req-00000000-0000-4000-8000-000000000000}",
    " 0/0/0/1/1 200 1 - - ---- 1/1/1/1/0 0/0 ",
    "<BADREQ>",
    "Traceback (most recent call last):",
]
raw = st.lists(st.sampled_from(PIECES) | st.binary(max_size=4).map(lambda b: b.decode("latin-1")), max_size=8).map(
    "".join
)
words = raw.map(lambda text: re.sub(r"[\s\x00-\x20]", "", text) or "x")  # no server takes a target with spaces


def haproxy_encoded(text: str, also: str = "") -> str:
    return "".join(f"#{ord(c):02X}" if ord(c) < 32 or ord(c) >= 127 or c in '"#' + also else c for c in text)


def escaped(text: str) -> str:
    """As nginx does."""
    return "".join(f"\\x{ord(c):02X}" if ord(c) < 32 or ord(c) >= 127 or c in '"\\' else c for c in text)


def as_sent(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")


def decoded(line: str) -> Decoded:
    return reader.decode(line.encode("latin-1"), None)


def holds(got: Decoded) -> None:
    assert isinstance(got, Ignored | Rejected) or msgspec.msgpack.encode(got)
    if isinstance(got, AccessRecord):
        assert 0 <= got.event_time <= got.began <= got.ended <= got.observed_time
        assert iso(got.observed_time).endswith("Z")
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(got), type=AccessRecord) == got
    if isinstance(got, Rejected):
        assert len(got.detail) <= 300


@given(words, raw, raw)
def test_haproxy(path: str, agent: str, accept: str) -> None:
    got = decoded(
        f"127.0.1.1:5 [{STAMP}.006] f b/s 0/0/0/37/37 201 290 - - ---- 3/2/2/2/0 0/0 "
        f"{{{haproxy_encoded(agent, '{|}')}|{haproxy_encoded(accept, '{|}')}}} {{}} "
        f'"PUT /{haproxy_encoded(path)} HTTP/1.1"'
    )
    holds(got)
    assert isinstance(got, AccessRecord)
    assert (got.method, got.path_raw, got.status, got.peer) == ("PUT", as_sent(f"/{path}"), 201, "127.0.1.1")
    assert (got.agent or "", got.accept or "", got.request_id) == (as_sent(agent), as_sent(accept), None)


@given(words)
def test_uwsgi(path: str) -> None:
    got = decoded(
        f"[pid: 1|app: 0|req: 3/3] 127.0.1.1 () {{30 vars in 546 bytes}} [Mon Nov 23 20:48:03 2026] PUT /{path} => "
        "generated 87 bytes in 6 msecs (HTTP/1.1 201) 6 headers in 256 bytes (1 switches on core 0)"
    )
    holds(got)
    assert isinstance(got, AccessRecord)
    assert (got.method, got.path_raw, got.status, got.peer) == ("PUT", as_sent(f"/{path}"), 201, "127.0.1.1")


@given(raw, words, raw, raw)
def test_combined(user: str, path: str, referer: str, agent: str) -> None:
    got = decoded(
        f'127.0.1.1 - {escaped(user)} [{STAMP} +0000] "PUT /{escaped(path)} HTTP/1.1" 201 88 '
        f'"{escaped(referer)}" "{escaped(agent)}"'
    )
    holds(got)
    assert isinstance(got, AccessRecord)
    assert (got.method, got.path_raw, got.status, got.peer) == ("PUT", as_sent(f"/{path}"), 201, "127.0.1.1")
    assert got.agent == (None if agent == "-" else as_sent(agent))


HEADS = [
    b"",
    b"<142>Nov 23 20:48:04 a b: ",
    f"127.0.1.1:5 [{STAMP}.006] f b/s ".encode(),
    f"127.0.1.1:5 [{STAMP}.006] f b/s 0/0/0/37/37 200 290 - - ".encode(),
    b"[pid: 1|app: 0|req: 3/3] ",
    f'127.0.1.1 - - [{STAMP}] "'.encode(),
    b'{"message": "',
]


@given(st.sampled_from(HEADS), st.binary(max_size=200), st.sampled_from([None, *FORMS]))
@example(b'{"message": "', b"{" * 5000, None)
def test_any_bytes_in_any_form(head: bytes, rest: bytes, form: str | None) -> None:
    value = head + rest
    holds(Reader(Options(form=form, captures=CAPTURES)).decode(value, None))
    unwrap(value)
    known(value)
    readable(value)
    peel(value.decode("latin-1"))


@given(st.sampled_from(HEADS), st.binary(max_size=100))
def test_a_shipper_changes_nothing(head: bytes, rest: bytes) -> None:
    line = (head + rest).decode("utf-8", "replace")
    if not line.lstrip().startswith("{"):
        assert reader.decode(json.dumps({"message": line}).encode(), None) == reader.decode(line.encode(), None)
