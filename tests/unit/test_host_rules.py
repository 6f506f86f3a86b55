"""Who touches the master key, the database and the configuration: KMW-041 to KMW-044, from lines to findings."""

from __future__ import annotations

from random import Random

import pytest

from kmwatch.core.behind import Window
from kmwatch.core.model import SECOND, Severity
from kmwatch.core.state import Memory, Row
from tests.support.hosted import KEY, ROTATION, at, cited, created, engine, event, findings, read, recorded

PYTHON = "/usr/bin/python3.11"
SERVICE = {"user": "barbican", "login": "unset", "exe": PYTHON}
STARTED = event(1, f"{KEY} 5 NORMAL", **SERVICE)  # the service has shown which file it is


@pytest.mark.parametrize("name", ["audit.log", "laurel.jsonl"])
def test_every_act_of_the_recording_is_found_in_either_form_and_nothing_else(name: str) -> None:
    found = findings(recorded(name), [ROTATION])
    assert cited(found, "KMW-041") == {708, 719, 729, 736, 785, 791, 794}
    assert cited(found, "KMW-042") == {749, 782, 810, 815, 820}
    assert cited(found, "KMW-043") == {825}
    assert cited(found, "KMW-044") == {799, 801}


def test_announced_work_is_listed_as_information() -> None:
    work = [line for line in findings(recorded("audit.log"), [ROTATION]) if line.reason == "maintenance"]
    assert {line.severity for line in work} == {Severity.INFORMATIONAL}
    assert {event_id for line in work for event_id in line.event_ids} == {"host:1795477914.343:833"}
    assert "SEC-9" in work[0].message


def test_the_same_work_without_a_window_is_an_alarm() -> None:
    assert 833 in cited(findings(recorded("audit.log")), "KMW-042")


def test_a_declared_reader_that_opens_the_key_is_silent() -> None:
    assert created(findings(STARTED)) == []


@pytest.mark.parametrize(
    "who",
    [
        {**SERVICE, "login": "eve"},  # a person who wears the service's account
        {**SERVICE, "exe": "/usr/bin/cat"},
        {**SERVICE, "user": "www-data"},
        {"user": "root", "login": "unset", "exe": "/usr/bin/tar"},
    ],
)
def test_whoever_differs_from_the_declared_reader_in_one_thing_is_found(who: dict[str, str]) -> None:
    found = findings([*STARTED, *event(2, f"{KEY} 5 NORMAL", **who)])
    assert created(found) == ["KMW-041"]
    assert found[0].severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("kek.conf 5 NORMAL", {"cwd": "/etc/barbican"}),
        ("/etc/../etc//barbican/./kek.conf 5 NORMAL", {}),
        ("/home/eve/link 5 NORMAL", {}),
        ("kek.conf 5 NORMAL", {"dirfd": "4"}),  # begins in another open folder: tar
        ("anything 5 NORMAL", {"dirfd": "4"}),
    ],
)
def test_the_file_is_known_whatever_it_is_called(path: str, where: dict[str, str]) -> None:
    assert cited(findings([*STARTED, *event(2, path, **where)]), "KMW-041") == {2}


def test_another_file_with_the_same_inode_number_on_another_device_is_none_of_ours() -> None:
    other = [line.replace(b"dev=fe:00", b"dev=fe:01") for line in event(2, "/tmp/x 5 NORMAL")]  # noqa: S108
    assert created(findings([*STARTED, *other])) == []


def test_an_inode_that_is_used_again_after_the_file_is_gone_is_forgotten() -> None:
    gone = event(2, f"{KEY} 5 DELETE", syscall="unlink")
    found = findings([*STARTED, *gone, *event(3, "/home/eve/x 5 NORMAL")])
    assert cited(found, "KMW-042") == {2}
    assert cited(found, "KMW-041") == set()


def test_a_renamed_key_is_followed() -> None:
    moved = event(2, f"{KEY} 5 DELETE", "/etc/barbican/old 5 CREATE", syscall="renameat2")
    assert cited(findings([*STARTED, *moved, *event(3, "/etc/barbican/old 5 NORMAL")]), "KMW-041") == {3}


def test_a_new_key_renamed_into_place_is_the_key_from_then_on() -> None:
    placed = event(2, "/etc/barbican/n 6 DELETE", f"{KEY} 5 DELETE", f"{KEY} 6 CREATE", syscall="rename", login="ops1")
    found = findings([*STARTED, *placed, *event(3, "/home/eve/s 6 NORMAL")])
    assert (cited(found, "KMW-042"), cited(found, "KMW-041")) == ({2}, {3})


def test_a_refused_attempt_counts_and_a_file_that_is_not_there_does_not() -> None:
    refused = event(2, f"{KEY} 5 NORMAL", success="no", code="-13")
    missing = event(3, f"{KEY} 0 UNKNOWN", success="no", code="-2")
    found = findings([*STARTED, *refused, *missing])
    assert cited(found, "KMW-041") == {2}
    assert found[0].reason == "refused"


@pytest.mark.parametrize("syscall", ["fchmodat", "fchownat", "setxattr", "truncate", "linkat"])
def test_changes_of_the_key_file_are_tampering_by_whomever(syscall: str) -> None:
    assert cited(findings(event(2, f"{KEY} 5 NORMAL", syscall=syscall, **SERVICE)), "KMW-042") == {2}


def test_a_key_opened_for_writing_is_tampering() -> None:
    assert cited(findings(event(2, f"{KEY} 5 NORMAL", flags="0x80002")), "KMW-042") == {2}


def test_the_mode_of_its_folder_counts_and_listing_it_does_not() -> None:
    listed, opened = event(2, "/etc/barbican 9 NORMAL"), event(3, "/etc/barbican 9 NORMAL", syscall="chmod")
    assert cited(findings([*listed, *opened]), "KMW-042") == {3}


def test_configuration_is_for_editors_and_the_database_for_readers() -> None:
    ours = [
        *event(2, "/etc/barbican/policy.yaml 7 NORMAL", flags="0x1", login="ops1"),
        *event(3, "/var/lib/barbican/b.sqlite 8 NORMAL", flags="0x2", **SERVICE),
        *event(4, "/etc/barbican/policy.yaml 7 NORMAL", flags="0x0"),
    ]
    theirs = [
        *event(5, "/etc/barbican/policy.yaml 7 NORMAL", flags="0x1"),
        *event(6, "/var/lib/barbican/b.sqlite 8 NORMAL", login="ops1"),
    ]
    found = findings([*ours, *theirs])
    assert cited(found, "KMW-044") == {5, 6}
    severities = {finding.reason: finding.severity for finding in found}
    assert severities == {"configuration": Severity.MEDIUM, "database": Severity.HIGH}


@pytest.mark.parametrize(
    "said",
    [
        "CONFIG_CHANGE op=remove_rule key=k res=1",
        "CONFIG_CHANGE audit_enabled=0 old=1 res=1",
        "DAEMON_END op=terminate",
    ],
)
def test_weakening_the_audit_is_found(said: str) -> None:
    kind, _, rest = said.partition(" ")
    line = f"type={kind} msg=audit(1795477901.002:2): auid=7 {rest}".encode()
    assert cited(findings([line]), "KMW-043") == {2}


@pytest.mark.parametrize(
    "said", ["op=add_rule key=k res=1", "op=remove_rule key=k res=0", "audit_enabled=1 old=1 res=1"]
)
def test_what_weakens_nothing_is_silent(said: str) -> None:
    assert created(findings([f"type=CONFIG_CHANGE msg=audit(1795477901.002:2): auid=7 {said}".encode()])) == []


def numbered(serials: list[int]) -> list[bytes]:
    return [line for serial in serials for line in event(serial, "/etc/hosts 1 NORMAL")]


def test_missing_serial_numbers_are_loss_once_they_have_been_consecutive() -> None:
    found = findings(numbered([*range(1, 150), *range(153, 160), 200_000]))
    assert created(found) == ["KMW-043"]
    assert "3 events" in found[0].message


def test_a_feed_that_was_never_consecutive_says_nothing_by_its_gaps() -> None:
    assert created(findings(numbered([*range(1, 50), *range(60, 80), 200_000]))) == []


def test_records_come_twice_and_count_once() -> None:
    lines = event(2, f"{KEY} 5 NORMAL")
    host = engine()
    host.take("s", read([*lines, *lines]))
    host.advance(["s"])
    host.work(100)
    host.flush()
    account = host.account.streams["s"]
    assert (account.consumed, account.joined, account.duplicate) == (6, 3, 3)
    assert host.account.behind == {"host": 1}


@pytest.mark.parametrize("seed", range(8))
def test_order_within_the_lateness_repetition_and_batches_make_no_difference(seed: int) -> None:
    random, lines = Random(seed), recorded("audit.log")  # noqa: S311  (a shuffle, no secret)
    straight = {line.line_uid for line in findings(lines, [ROTATION])}
    mixed = [*lines, *random.sample(lines, 40)]
    times = {
        line: record.observed_time + random.randrange(8 * SECOND)
        for line, record in zip(mixed, read(mixed), strict=True)
    }
    mixed.sort(key=times.__getitem__)
    assert {line.line_uid for line in findings(mixed, [ROTATION], batch=random.randint(1, 60))} == straight


@pytest.mark.parametrize("cut", [1, 17, 60, 120])
def test_a_restart_in_the_middle_makes_no_difference(cut: int) -> None:
    records = read(recorded("audit.log"))
    straight = {line.line_uid for line in findings(recorded("audit.log"))}
    first, rows, out = engine(), {}, []
    memory = Memory(first)
    first.take("s", records[:cut])
    first.advance()
    out += first.work(1000)[0].findings
    row: Row
    for row in memory.changes():
        rows[row.kind, row.key] = row
    second = engine()
    Memory(second).restore(row for row in rows.values() if row.value is not None)
    second.take("s", records[cut:])
    second.advance()
    out += second.work(1000)[0].findings
    out += second.flush().findings
    assert {line.line_uid for line in out} == straight


def test_a_window_covers_its_own_time_and_people_only() -> None:
    window = Window("w", at(2), at(3), None, ("ops1",), None)
    lines = [line for serial in (1, 2, 4) for line in event(serial, f"{KEY} 5 NORMAL", syscall="chmod", login="ops1")]
    other = event(3, f"{KEY} 5 NORMAL", syscall="chmod", login="eve")
    assert cited(findings([*lines, *other], [window]), "KMW-042") == {1, 3, 4}


@pytest.mark.parametrize("syscall", ["openat2", "777"])
def test_a_call_that_does_not_show_whether_it_writes_is_no_way_round_the_watch_of_a_folder(syscall: str) -> None:
    found = findings(event(1, "/etc/barbican/barbican.conf 9 NORMAL", syscall=syscall))
    assert created(found) == ["KMW-044"]
