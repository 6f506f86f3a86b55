from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest

from kmwatch.config.sources import Form
from kmwatch.core.record import (
    AccessRecord,
    AuditRecord,
    Decoded,
    Ignored,
    Rejected,
    RejectReason,
    ServiceRecord,
    Slot,
)
from kmwatch.sources.file import find
from kmwatch.wire.cadf import MAX_BYTES
from kmwatch.wire.decode import FORMS, Options, Reader
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.recorded import known, readable, unwrap
from tests.support.audit import cadf, envelope

DATA = Path(__file__).parents[1] / "golden/data/forms"
HAPROXY = (
    b"127.0.1.101:32957 [23/Nov/2026:20:47:54.006] front back/srv 0/0/0/37/37 200 290 - - ---- 3/2/2/2/0 0/0 "
    b'{curl|text/plain} {req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e} "GET /v1/quotas HTTP/1.1"'
)
UWSGI = (
    b"[pid: 1|app: 0|req: 3/3] 127.0.0.1 () {30 vars in 546 bytes} [Mon Nov 23 20:48:03 2026] GET /v1/quotas => "
    b"generated 87 bytes in 6 msecs (HTTP/1.1 200) 6 headers in 256 bytes (1 switches on core 0)"
)
COMBINED = b'127.0.0.1 - - [23/Nov/2026:20:58:41 +0000] "GET /v1/quotas HTTP/1.1" 200 88 "-" "curl"'
LINES = [HAPROXY, UWSGI, COMBINED]
SERVICE = (
    b"2026-11-23 20:47:51.606 32595 INFO barbican.api.middleware.context [None req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e"
    b" user project - - default default] Processed request: 200 OK - GET http://127.0.0.1:19313/v1/quotas"
)
SYSLOG = b"<142>Nov 23 20:48:04 ctl01 some-tag[1]: "
reader = Reader()


def read(value: bytes, **options: object) -> Decoded:
    return Reader(Options(**options)).decode(value, None)  # type: ignore[arg-type]


def reason(got: Decoded) -> RejectReason:
    assert isinstance(got, Rejected), got
    return got.reason


def less_host(got: Decoded) -> Decoded:
    assert isinstance(got, AccessRecord), got
    fields = {name: getattr(got, name) for name in got.__struct_fields__}
    return AccessRecord(**{**fields, "host": None})


@pytest.mark.parametrize(("line", "slot"), [(HAPROXY, Slot.PROXY), (UWSGI, Slot.ACCESS), (COMBINED, Slot.ACCESS)])
def test_the_form_of_a_line_is_told_by_itself(line: bytes, slot: int) -> None:
    got = read(line)
    assert isinstance(got, AccessRecord)
    assert (got.slot, got.path_raw) == (slot, "/v1/quotas")


def test_a_notification_is_read_as_it_always_was() -> None:
    for value in (
        envelope(cadf()),
        json.dumps(cadf()).encode(),
        json.dumps({"message": envelope(cadf()).decode()}).encode(),
    ):
        assert isinstance(read(value), AuditRecord)
        assert isinstance(read(value, form="cadf"), AuditRecord)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda line: line + b"\n",
        lambda line: line + b"\r\n",
        lambda line: b" " + line,
        lambda line: SYSLOG + line,
        lambda line: json.dumps({"log": line.decode() + "\n", "stream": "stdout"}).encode(),
        lambda line: json.dumps({"schema": None, "payload": (SYSLOG + line).decode()}).encode(),
        lambda line: SYSLOG + json.dumps({"message": json.dumps({"log": line.decode()})}).encode() + b"\n",
    ],
)
def test_line_ends_framing_and_envelopes_change_nothing(line: bytes, wrap: object) -> None:
    assert callable(wrap)
    assert less_host(read(wrap(line))) == read(line)


def test_the_innermost_name_of_a_host_counts_unless_it_is_localhost() -> None:
    def host(frame: bytes) -> str | None:
        got = read(json.dumps({"host": "relay", "message": (frame + UWSGI).decode()}).encode())
        assert isinstance(got, AccessRecord)
        return got.host

    assert host(SYSLOG) == "ctl01"
    assert host(SYSLOG.replace(b"ctl01", b"localhost")) == "relay"
    assert host(b"") == "relay"


def test_envelopes_beyond_three_are_refused() -> None:
    value = UWSGI.decode()
    for _ in range(3):
        value = json.dumps({"message": value})
    assert isinstance(read(value.encode()), AccessRecord)
    assert reason(read(json.dumps({"message": value}).encode())) is RejectReason.BAD_ENVELOPE


@pytest.mark.parametrize(
    "value",
    [
        b"a line of some log",
        b'{"request_id": "req-1"}',
        b'{"class_uid": 2004, "message": "An unexplained read", "metadata": {"uid": "x"}}',
        b"x " + HAPROXY,
        b"> " + UWSGI,
    ],
)
def test_what_is_in_no_known_form_is_not_guessed(value: bytes) -> None:
    assert reason(read(value)) is RejectReason.UNKNOWN_FORM
    assert not known(value)


@pytest.mark.parametrize("value", [b"", b"\n", b"  \r\n", b'{"message": ""}', b'{"log": "\\n"}', SYSLOG])
def test_blank_lines_are_empty(value: bytes) -> None:
    assert read(value) is Ignored.EMPTY


def test_broken_json_is_no_json() -> None:
    assert reason(read(b'{"message": "')) is RejectReason.NOT_JSON


def test_a_record_beyond_any_size_is_refused() -> None:
    assert reason(read(b"x" * (MAX_BYTES + 1))) is RejectReason.TOO_LARGE


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback (most recent call last):",
        b'  File "/usr/lib/python3/dist-packages/barbican/api.py", line 3, in x',
        b"sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked",
        b"(sqlite3.OperationalError) database is locked",
        b"[SQL: INSERT INTO secrets (name) VALUES (?)]",
        b"(Background on this error at: https://sqlalche.me/e/21/e3q8)",
        b"  warnings.warn(",
    ],
)
def test_the_rest_of_a_message_is_a_continuation(line: bytes) -> None:
    assert read(line) is Ignored.CONTINUATION
    assert not readable(line)


@pytest.mark.parametrize(
    "line",
    [
        b"*** Starting uWSGI 2.0.31 (64bit) on [Mon Nov 23 20:47:41 2026] ***",
        b"%3|1795466871.541|FAIL|rdkafka#producer-1| [thrd:127.0.0.1:1/bootstrap]: Connect failed",
        b"spawned uWSGI worker 1 (pid: 32595, cores: 1)",
    ],
)
def test_a_servers_noise_is_no_request(line: bytes) -> None:
    assert read(line) is Ignored.NOT_A_REQUEST
    assert readable(line)


def test_a_form_that_is_named_is_the_only_one_tried() -> None:
    for form in FORMS:
        for own, line in zip(("haproxy", "uwsgi", "combined", "oslo_text"), [*LINES, SERVICE], strict=True):
            got = read(line, form=form)
            assert isinstance(got, AccessRecord | ServiceRecord) == (form in (own, f"{own}_proxy")), (form, got)
            assert isinstance(got, Rejected) == (form not in (own, f"{own}_proxy"))
        assert isinstance(read(json.dumps(cadf()).encode(), form=form), AuditRecord) == (form == "cadf")


def test_the_configuration_names_the_forms_there_are() -> None:
    assert sorted(get_args(Form)) == sorted(FORMS)


def test_the_service_log_is_told_by_itself_with_framing_and_without() -> None:
    plain = read(SERVICE)
    assert isinstance(plain, ServiceRecord)
    assert plain.path_raw == "/v1/quotas"
    for frame in (SYSLOG, b" ", SYSLOG + b" ", b"2026-11-23T20:47:51.7+00:00 ctl01 barbican-api: "):
        assert read(frame + SERVICE + b"\r\n") == plain
    wrapped = json.dumps({"schema": None, "payload": json.dumps({"log": SERVICE.decode() + "\n"})}).encode()
    assert read(wrapped) == plain


@pytest.mark.parametrize("line", [SERVICE, UWSGI, HAPROXY])
def test_a_stamp_without_a_zone_is_of_the_zone_that_is_configured(line: bytes) -> None:
    here, there = read(line, zone=UTC), read(line, zone=ZoneInfo("Asia/Tokyo"))
    assert isinstance(here, AccessRecord | ServiceRecord)
    assert isinstance(there, AccessRecord | ServiceRecord)
    assert here.observed_time - there.observed_time == 9 * 3600 * 1_000_000


def test_a_web_server_in_front_is_a_proxy_where_that_is_configured() -> None:
    got = read(COMBINED, form="combined_proxy")
    assert isinstance(got, AccessRecord)
    assert got.slot == Slot.PROXY


def test_a_form_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no form 'nonsense'"):
        Reader(Options(form="nonsense"))


def test_declared_captures_are_used() -> None:
    got = read(HAPROXY, captures=Captures(("user-agent", "accept"), ("x-openstack-request-id",)))
    assert isinstance(got, AccessRecord)
    assert got.accept == "text/plain"


def test_raw_bytes_of_clients_hide_nothing() -> None:
    got = read(UWSGI.replace(b"quotas", b"\xff\x85\x0b\x1b"))
    assert isinstance(got, AccessRecord)
    assert got.path_raw == "/v1/\ufffd\ufffd\x0b\x1b"


@pytest.mark.parametrize("path", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_no_recorded_line_is_rejected(path: Path) -> None:
    got = [reader.decode(*unwrap(line + b"\n")) for line in path.read_bytes().split(b"\n")[:-1]]
    assert not [one for one in got if isinstance(one, Rejected)]
    assert any(isinstance(one, AccessRecord | ServiceRecord | AuditRecord) for one in got)


def test_shippers_lines_give_what_the_plain_ones_give() -> None:
    def told(name: str) -> list[Decoded]:
        got = [reader.decode(*unwrap(line)) for line in (DATA / name).read_bytes().split(b"\n")[:-1]]
        return [less_host(one) for one in got if isinstance(one, AccessRecord)]

    assert told("rsyslog_raw.jsonl") == told("haproxy_datagrams.log") == told("haproxy.log")[:5]
    shipped = told("rsyslog_json.jsonl")
    assert [one for one in shipped if isinstance(one, AccessRecord) and one.slot == Slot.PROXY] == told("haproxy.log")[
        :6
    ]
    assert told("filebeat.jsonl") == told("fluentbit.jsonl")


def test_a_recorded_value_that_is_no_utf_8_is_read() -> None:
    raw = UWSGI.replace(b"quotas", b"\xff")
    line = json.dumps({"topic": "t", "timestamp_ms": 5, "value_b64": b64encode(raw).decode()}).encode()
    assert unwrap(line) == (raw, 5000)
    assert readable(line)
    damaged = b'{"topic": "t", "value_b64": "?"}\n'
    assert unwrap(damaged) == (damaged.strip(), None)


def test_a_plain_line_loses_its_end_and_nothing_else() -> None:
    assert unwrap(b" x \r\n") == (b" x ", None)
    assert unwrap(b"x\r") == (b"x\r", None)


def test_a_directory_is_read_for_logs_and_left_alone_otherwise(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.log").write_bytes(b"*** Starting uWSGI 2.0.31 ***\n\n")
    (tmp_path / "haproxy.log").write_bytes(SYSLOG + HAPROXY + b"\n")
    (tmp_path / "access.log").write_bytes(b"\n" + COMBINED + b"\r\n")
    (tmp_path / "callers.yaml").write_bytes(b"callers:\n  nova: {owner: x}\n")
    (tmp_path / "README.md").write_bytes(b"# Title\n\n    code\n*** x\n")
    (tmp_path / "alerts.jsonl").write_bytes(b'{"class_uid": 2004, "message": "An unexplained read"}\n')
    (tmp_path / "labels.jsonl").write_bytes(b'{"path": "/v1/secrets", "status": 200}\n')
    chosen, left = find([str(tmp_path)])
    assert [Path(name).name for name in chosen] == ["access.log", "haproxy.log", "uwsgi.log"]
    assert len(left) == 4
