from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from kmwatch.core.record import AuditRecord, Decoded, Ignored, Note, Rejected, RejectReason, ServiceRecord, Slot
from kmwatch.wire.oslo_text import context, decode
from kmwatch.wire.service import NOBODY, Context

ID = "req-a5f4c297-aef2-4ab4-814f-b8dc78ab301e"
GLOBAL = "req-70f343e5-1b8a-486b-82f5-2fe073cb9e25"
WHO = f"[None {ID} user project - - default default]"
CONTEXT, SECRETS, CONTROLLERS = (
    f"barbican.api.{name}" for name in ("middleware.context", "controllers.secrets", "controllers")
)
DENIED = "Secret payload retrieval attempt not allowed - please review your user/project privileges"
END = "Processed request: 200 OK - GET http://127.0.0.1:19313/v1/containers"
AT = int(datetime(2026, 11, 23, 20, 47, 51, tzinfo=UTC).timestamp()) * 1_000_000 + 606_000


def line(message: str, logger: str = CONTEXT, level: str = "INFO", who: str = WHO) -> str:
    return f"2026-11-23 20:47:51.606 32595 {level} {logger} {who} {message}"


def read(text: str) -> Decoded | None:
    return decode(text, UTC, None)


def record(text: str) -> ServiceRecord:
    got = read(text)
    assert isinstance(got, ServiceRecord), got
    return got


def reason(got: Decoded | None) -> RejectReason:
    assert isinstance(got, Rejected), got
    return got.reason


def test_the_end_of_a_request() -> None:
    assert read(line(END)) == ServiceRecord(
        Slot.SERVICE_END, ID, AT, ID, None, "user", "project", "GET", "/v1/containers", 200
    )


@pytest.mark.parametrize(
    ("logger", "level", "message", "note", "detail"),
    [
        (SECRETS, "INFO", "Retrieved secret payload for project: x", Note.PAYLOAD, None),
        (SECRETS, "WARNING", "Decrypted secret abc requested using deprecated API call.", Note.LEGACY, "abc"),
        (
            CONTROLLERS,
            "ERROR",
            f"{DENIED}: oslo_policy.policy.PolicyNotAuthorized: secret:decrypt is disallowed by policy",
            Note.DENIED,
            "secret:decrypt",
        ),
        (
            CONTROLLERS,
            "ERROR",
            "SecretACL(s) Update attempt not allowed - please review your user/project privileges",
            Note.DENIED,
            None,
        ),
    ],
)
def test_the_notes_of_controllers(logger: str, level: str, message: str, note: Note, detail: str | None) -> None:
    got = record(line(message, logger, level))
    assert (got.slot, got.note, got.detail, got.key) == (Slot.SERVICE_NOTE, note, detail, ID)


def test_the_zone_is_the_services() -> None:
    got = decode(line(END), ZoneInfo("Europe/Berlin"), None)
    assert isinstance(got, ServiceRecord)
    assert got.observed_time == AT - 3600 * 1_000_000


@pytest.mark.parametrize(
    ("bracket", "who"),
    [
        ("-", NOBODY),
        (f"None {ID} user project - - d d", Context(ID, None, "user", "project")),
        (f"{GLOBAL} {ID} user project - - d d", Context(ID, GLOBAL, "user", "project")),
        (f"- {ID} - - - - - -", Context(ID)),
        (f"{GLOBAL} {ID} user project - d d", Context(ID, GLOBAL, "user", "project")),
        (f"{ID} user project - d d", Context(ID, None, "user", "project")),
        (f"{ID} user project", None),
        (f"None {ID} user project - - d d more", None),
        ("SQL: SELECT 1", None),
        ("", None),
    ],
)
def test_whose_request_it_is_by_the_formats_of_all_releases(bracket: str, who: Context | None) -> None:
    assert context(bracket) == who


def test_a_global_request_id_is_kept_as_a_hint_and_is_no_key() -> None:
    got = record(line(END, who=f"[{GLOBAL} {ID} user project - - d d]"))
    assert (got.key, got.request_id, got.global_request_id) == (ID, ID, GLOBAL)


@pytest.mark.parametrize(
    ("message", "logger", "level", "why"),
    [
        ("Begin processing request None", CONTEXT, "INFO", Ignored.STALE_CONTEXT),
        ("Rejecting request", "keystonemiddleware.auth_token", "INFO", Ignored.STALE_CONTEXT),
        (END, "keystonemiddleware.auth_token._cache", "INFO", Ignored.STALE_CONTEXT),
        ("Deleted secret for project: x", SECRETS, "INFO", Ignored.NO_EVIDENCE),
        ("Webob error seen: x attempt not allowed", CONTROLLERS, "ERROR", Ignored.NO_EVIDENCE),
        ("Scheduled", "barbican.queue.client", "INFO", Ignored.NO_EVIDENCE),
        (END, CONTEXT, "DEBUG", Ignored.NO_EVIDENCE),
        ("Retrieved secret payload for project: x", SECRETS, "DEBUG", Ignored.NO_EVIDENCE),
        ("GET http://keystone", "keystoneauth.session", "DEBUG", Ignored.NO_EVIDENCE),
        ("Lock acquired", "nova.compute.manager", "INFO", Ignored.OTHER_SERVICE),
        ("{}", "oslo.messaging.notification.compute.instance.update", "INFO", Ignored.NOT_AUDIT),
    ],
)
def test_what_is_no_evidence_says_why(message: str, logger: str, level: str, why: Ignored) -> None:
    assert read(line(message, logger, level)) is why


def test_no_line_with_a_stale_context_blames_anybody_whatever_it_says() -> None:
    for message in (
        f"Begin processing request {END}",
        f"Begin processing request x] {END}",
        "Begin processing request",
    ):
        assert read(line(message)) is Ignored.STALE_CONTEXT


def test_lines_of_a_traceback_are_continuations() -> None:
    for rest in ("Traceback (most recent call last):", "", "  File x", "[SQL: INSERT INTO x] ", "[parameters: (1, 2)]"):
        assert read(f"2026-11-23 20:47:51.606 32595 ERROR {CONTROLLERS} {rest}") is Ignored.CONTINUATION
    assert read(f"2026-11-23 20:47:51.606 32595 ERROR {CONTROLLERS}") is Ignored.CONTINUATION


# Clients


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("a b", "/v1/secrets/x/payload"),
        ("status=404 - DELETE http", "/v1/secrets/x/payload"),
        ("h/elsewhere?x=", "/v1/secrets/x/payload"),
        ("h\x85\x0b\x0c\x1c\x1b[31m", "/v1/secrets/x/payload"),
        ("h/v1/secrets/other/payload?", None),
        ("h/v1?", None),
    ],
)
def test_a_host_header_does_not_choose_the_path(host: str, path: str | None) -> None:
    got = record(line(f"Processed request: 200 OK - GET http://{host}/v1/secrets/x/payload"))
    assert got.path_raw == path
    assert got.flags == (() if path else ("path_ambiguous",))
    assert (got.method, got.status) == ("GET", 200)


@pytest.mark.parametrize("query", ["?/v1/secrets/y", "?a=http://h/v1/", "?/v1"])
def test_a_query_that_names_a_second_secret_makes_the_path_ambiguous(query: str) -> None:
    got = record(line(f"Processed request: 200 OK - GET http://h/v1/secrets/x/payload{query}"))
    assert (got.path_raw, got.flags) == (None, ("path_ambiguous",))


@pytest.mark.parametrize("tail", ["/v1", "/v1/", "/v1?limit=1", "/v1/secrets/v1x/payload"])
def test_paths_that_only_look_alike_are_whole(tail: str) -> None:
    assert record(line(f"Processed request: 200 OK - GET http://h{tail}")).path_raw == tail


def test_a_mount_of_another_name_is_no_path_of_the_api() -> None:
    assert record(line("Processed request: 200 OK - GET http://h/v10/secrets")).flags == ("path_ambiguous",)


def test_a_method_may_be_any_word() -> None:
    assert record(line("Processed request: 405 Method Not Allowed - PAY-LOAD http://h/v1/x")).method == "PAY-LOAD"


# Damage


def test_a_line_that_is_cut_is_never_taken_for_a_request() -> None:
    for length in range(len("2026-11-23 20:47:51.606"), len(line(END)) - len("/v1/containers")):
        assert reason(read(line(END)[:length])) is RejectReason.BAD_LINE, length


def test_a_line_cut_before_its_time_ends_is_of_no_form() -> None:
    assert read("2026-11-23 20:4") is None
    assert read("ault default] Processed request: 200 OK - GET http://h/v1/secrets") is None


@pytest.mark.parametrize(
    ("message", "logger", "level"),
    [
        ("Processed requ", CONTEXT, "INFO"),
        ("Processed request: 20", CONTEXT, "INFO"),
        ("Processed request: 200 OK - GET", CONTEXT, "INFO"),
        ("Processed request: 200 OK - GET http://127.0.0.1:1931", CONTEXT, "INFO"),
        ("Retrieved secret pay", SECRETS, "INFO"),
        ("Decrypted secret abc requested using", SECRETS, "WARNING"),
        ("Decrypted secr", SECRETS, "WARNING"),
        ("", CONTEXT, "INFO"),
    ],
)
def test_a_message_that_is_cut_is_rejected(message: str, logger: str, level: str) -> None:
    assert reason(read(line(message, logger, level))) is RejectReason.BAD_LINE


@pytest.mark.parametrize(
    "first",
    [
        line("Retrieved secret pay", SECRETS),
        line("Retrieved secret payload for proj", SECRETS),
        line("Decrypted secret a", SECRETS, "WARNING"),
        line("", who="[None req-a5f4c297-aef2"),
        "2026-11-23 20:47:51.606 32595 INFO barb",
    ],
)
def test_a_line_cut_with_the_next_behind_it_is_rejected(first: str) -> None:
    assert reason(read(first + line(END))) is RejectReason.BAD_LINE


@pytest.mark.parametrize("cut", ["http://127.0.0.1", "http://h/v", "http://h/v1", "http://h/v1/secrets/x"])
def test_a_url_cut_with_the_next_line_behind_it_gives_no_path(cut: str) -> None:
    got = record(line(f"Processed request: 200 OK - GET {cut}") + line(END))
    assert (got.key, got.method, got.path_raw, got.status) == (ID, "GET", None, 200)


def test_a_method_cut_with_the_next_line_behind_it_is_none() -> None:
    got = record(line("Processed request: 200 OK - DEL") + line(END))
    assert (got.key, got.method, got.path_raw, got.status) == (ID, None, None, 200)


def test_a_shippers_record_of_a_line_and_its_traceback_is_that_line() -> None:
    trace = (
        f"\n2026-11-23 20:47:51.606 32595 ERROR {CONTROLLERS} Traceback (most recent call last):\n  x\n[SQL: SELECT]"
    )
    whole = line(DENIED, CONTROLLERS, "ERROR")
    assert record(whole + trace) == record(whole)


def test_a_shippers_record_of_several_lines_is_rejected_and_says_what_to_do() -> None:
    got = read(line(END) + "\n" + line(END))
    assert reason(got) is RejectReason.BAD_LINE
    assert isinstance(got, Rejected)
    assert "send each" in got.detail


def test_a_stamp_that_is_no_time() -> None:
    assert reason(read(line(END).replace("-11-", "-13-"))) is RejectReason.BAD_TIME


@pytest.mark.parametrize("who", ["[-]", "[None - user project - - d d]", "[user project]", "(x)"])
def test_evidence_of_nobodys_request_is_rejected(who: str) -> None:
    assert reason(read(line(END, who=who))) is RejectReason.BAD_LINE


@pytest.mark.parametrize(
    "other",
    [
        "",
        "2026-11-23 20:47:51 UTC [31] LOG:  x",
        "2026-11-23T20:47:51.606 32595 INFO x",
        "[pid: 1|app: 0|req: 3/3] 127.0.0.1",
        "127.0.0.1 - - [23/Nov/2026:20:58:41 +0000]",
    ],
)
def test_other_logs_are_left_to_others(other: str) -> None:
    assert read(other) is None


def test_an_audit_event_of_the_log_driver_is_an_audit_record() -> None:
    event = (
        '{"event_type": "audit.http.response", "payload": {"id": "1", "action": "read", "outcome": "success", '
        '"eventTime": "2026-11-23T20:47:51.5+0000", "requestPath": "/v1/secrets"}}'
    )
    got = read(line(event, "oslo.messaging.notification.audit.http.response"))
    assert isinstance(got, AuditRecord)
    assert got.slot == Slot.CADF_RESPONSE
