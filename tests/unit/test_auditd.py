"""auditd's lines and laurel's objects: the same event, whatever the form and the envelope."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmwatch.core.host.gather import merged
from kmwatch.core.record import HostRecord, Rejected, RejectReason
from kmwatch.wire.auditd import decode
from kmwatch.wire.decode import Reader
from tests.support.hosted import event, read, recorded


def whole(lines: list[bytes]) -> dict[str, HostRecord]:
    parts: dict[str, list[HostRecord]] = {}
    for record in read(lines):
        parts.setdefault(record.event_id, []).append(record)
    return {event_id: merged(records) for event_id, records in parts.items()}


def test_both_forms_of_a_recording_tell_the_same_events() -> None:
    raw, objects = whole(recorded("audit.log")), whole(recorded("laurel.jsonl"))
    assert len(raw) > 20
    assert raw.keys() == objects.keys()
    for event_id, one in raw.items():
        other = objects[event_id]
        assert (one.process, one.syscall, one.success, one.exit, one.flags_opened) == (
            other.process, other.syscall, other.success, other.exit, other.flags_opened,
        )  # fmt: skip
        assert (one.cwd, one.changes, one.from_cwd) == (other.cwd, other.changes, other.from_cwd)
        assert sorted(one.paths, key=str) == sorted(other.paths, key=str)


def test_a_name_with_a_line_end_quotes_and_a_forged_field_stays_one_name() -> None:
    names = {path.name for one in whole(recorded("audit.log")).values() for path in one.paths}
    assert '/etc/barbican/a\nb "c" name=kek.conf' in names


def test_a_process_cannot_forge_a_field_by_its_name() -> None:
    line = (
        r'type=SYSCALL msg=audit(1.000:5): syscall=257 success=yes pid=4 auid=7 uid=8 exe="/x success=no uid=0" key="k"'
    )
    record = decode(line)
    assert isinstance(record, HostRecord)
    assert record.process is not None
    assert (record.success, record.process.uid, record.process.exe) == (True, ("8",), "/x success=no uid=0")


@pytest.mark.parametrize(
    ("number", "arch", "name"),
    [
        ("257", "c000003e", "openat"),
        ("56", "c00000b7", "openat"),
        ("90", "c000003e", "chmod"),
        ("15", "40000003", "chmod"),  # the 32-bit entry of the same machine
        ("9999", "c000003e", "9999"),
    ],
)
def test_without_enriched_names_a_system_call_is_known_by_its_number(number: str, arch: str, name: str) -> None:
    record = decode(
        f"type=SYSCALL msg=audit(1.000:5): arch={arch} syscall={number} success=yes exit=3 pid=1 auid=4294967295"
    )
    assert isinstance(record, HostRecord)
    assert record.syscall == name
    assert record.process is not None
    assert record.process.login == ("unset",)


def test_a_shippers_envelope_names_the_machine_and_changes_nothing_else() -> None:
    line = event(1, "/etc/barbican/kek.conf 5 NORMAL")[2].decode()
    filebeat = json.dumps({"@timestamp": "2026-11-23T23:51:41Z", "host": {"name": "ctl01"}, "message": line})
    syslog = f"Nov 23 23:51:41 ctl01 audisp-syslog: {line}"
    plain = decode(line)
    assert isinstance(plain, HostRecord)
    for shipped in (filebeat, syslog):
        record = Reader().decode(shipped.encode(), None)
        assert isinstance(record, HostRecord)
        assert (record.node, record.paths, record.event_id) == ("ctl01", plain.paths, plain.event_id)


def test_an_object_of_laurel_in_an_envelope_is_read() -> None:
    inner = recorded("laurel.jsonl")[0].decode()
    record = Reader().decode(json.dumps({"host": "ctl01", "message": inner}).encode(), None)
    assert isinstance(record, HostRecord)
    assert record.node == "ctl01"


def test_a_line_whose_head_is_damaged_is_rejected_and_not_guessed() -> None:
    found = Reader().decode(b"type=PATH msg=audit(12x): name=1", None)
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.BAD_LINE


def test_a_time_beyond_the_calendar_is_rejected() -> None:
    found = Reader().decode(b"type=PATH msg=audit(99999999999.000:1): item=0", None)
    assert isinstance(found, Rejected)
    assert found.reason is RejectReason.BAD_TIME


def test_command_lines_are_not_kept() -> None:
    secret = "hunter2"
    line = f"type=PROCTITLE msg=audit(1.000:5): proctitle={secret.encode().hex().upper()}"
    argument = f'type=EXECVE msg=audit(1.000:5): argc=2 a0="mysql" a1="-p{secret}"'
    assert secret not in repr(decode(line)) + repr(decode(argument))
    assert secret.encode().hex().upper() not in repr(decode(line))


@given(st.text(max_size=80), st.sampled_from(["SYSCALL", "PATH", "CWD", "CONFIG_CHANGE", "UNKNOWN[1399]"]))
def test_any_text_after_a_head_is_read_or_refused(text: str, kind: str) -> None:
    found = Reader().decode(f"type={kind} msg=audit(1.000:5): {text}".encode("utf-8", "replace"), None)
    assert isinstance(found, HostRecord | Rejected)


@given(
    st.dictionaries(
        st.sampled_from(["SYSCALL", "PATH", "CWD", "CONFIG_CHANGE"]), st.none() | st.text() | st.lists(st.integers())
    )
)
def test_any_content_of_laurels_object_is_read_or_refused(content: dict[str, object]) -> None:
    found = Reader().decode(json.dumps({"ID": "1.000:5", **content}).encode(), None)
    assert isinstance(found, HostRecord | Rejected)


HEAD = "msg=audit(1.000:5):"


def test_what_io_uring_does_is_told_like_the_system_call_it_stands_for() -> None:
    line = f"type=URINGOP {HEAD} uring_op=36 success=yes exit=0 items=2 ppid=1 pid=9 uid=0 euid=0 key=(null)"
    record = decode(line)
    assert isinstance(record, HostRecord)
    assert (record.syscall, record.success) == ("unlinkat", True)
    told = laurel({"ID": "1.000:5", "URINGOP": {"uring_op": 36, "success": "yes", "uid": 0, "euid": 0}})
    assert (told.syscall, told.types) == ("unlinkat", ("URINGOP",))


@pytest.mark.parametrize(("flags", "meant"), [("02", 2), ("0o100001", 0o100001), ("x", None), ("", None)])
def test_the_flags_of_openat2_have_a_record_of_their_own(flags: str, meant: int | None) -> None:
    record = decode(f"type=OPENAT2 {HEAD} oflag={flags} mode=0 resolve=0x0")
    assert isinstance(record, HostRecord)
    assert record.flags_opened == meant
    told = laurel({"ID": "1.000:5", "SYSCALL": {"SYSCALL": "openat2"}, "OPENAT2": {"oflag": flags}})
    assert told.flags_opened == meant


def test_old_kernels_call_the_type_of_a_name_otherwise() -> None:
    record = decode(f'type=PATH {HEAD} item=0 name="/a" inode=1 dev=fe:00 objtype=DELETE')
    assert isinstance(record, HostRecord)
    assert record.paths[0].nametype == "DELETE"


def laurel(content: dict[str, object]) -> HostRecord:
    found = Reader().decode(json.dumps(content).encode(), None)
    assert isinstance(found, HostRecord)
    return found
