from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kmwatch.core.model import Micros
from kmwatch.core.record import AuditRecord, Rejected, RejectReason
from kmwatch.ports import Batch, PositionError, Reassigned, Record, SourceError
from kmwatch.sources.file import FileSource, find
from kmwatch.wire.cadf import MAX_BYTES, decode
from tests.support.audit import START, cadf, envelope


class StillClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def line(number: int = 1, *, form: str = "own") -> bytes:
    value = envelope(cadf(initiator={"request_id": f"req-{number}"})).decode()
    own = {"topic": "t", "partition": 0, "offset": number, "timestamp_ms": START // 1000, "key": None, "value": value}
    kcat = {"topic": "t", "partition": 0, "offset": number, "tstype": "create", "ts": START // 1000, "payload": value}
    return json.dumps(own if form == "own" else kcat).encode() + b"\n"


def source(*paths: Path | str, follow: bool = False, lines: int = 1000, clock: StillClock | None = None) -> FileSource:
    return FileSource([str(path) for path in paths], clock=clock or StillClock(), follow=follow, lines=lines)


async def opened(of: FileSource, positions: Mapping[str, int] | None = None) -> FileSource:
    await of.assigned()
    await of.seek(positions or {})
    return of


async def read_all(of: FileSource, positions: Mapping[str, int] | None = None) -> list[Record]:
    await opened(of, positions)
    out: list[Record] = []
    progress: dict[str, Micros | None] = {}
    while True:
        batch = await of.read(progress)
        out += batch.records
        for record in batch.records:
            progress[record.stream] = record.timestamp
        if batch.ended:
            await of.close()
            return out


def keys(records: Sequence[Record]) -> list[str]:
    decoded = [decode(record.value, record.timestamp) for record in records]
    return [one.key if isinstance(one, AuditRecord) else type(one).__name__ for one in decoded]


async def test_every_line_is_a_record_with_its_number_and_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2))
    got = await read_all(source(path))
    assert [(r.stream, r.offset, r.timestamp) for r in got] == [(f"file:{path}", 0, START), (f"file:{path}", 1, START)]
    assert keys(got) == ["req-1", "req-2"]


@pytest.mark.parametrize(
    "content",
    [line(1), line(1, form="kcat"), envelope(cadf()) + b"\n", json.dumps(cadf()).encode() + b"\n", line(1).strip()],
    ids=["own", "kcat", "envelope", "bare", "no newline at the end"],
)
async def test_every_form_of_a_line_is_known(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    assert keys(await read_all(source(path))) == ["req-1"]


async def test_a_gz_file_reads_like_its_content(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(line(1) + line(2))
    packed.write_bytes(gzip.compress(line(1)) + gzip.compress(line(2)))  # members, as logrotate appends them
    assert keys(await read_all(source(packed))) == keys(await read_all(source(plain)))


async def test_a_directory_gives_the_files_in_a_known_form_and_says_what_it_leaves_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.jsonl").write_bytes(line(2))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line(1)))
    (tmp_path / "haproxy.log").write_bytes(b"Nov 23 haproxy: ...\n")
    (tmp_path / "labels.jsonl").write_bytes(b'{"request_id": "req-1"}\n')
    (tmp_path / "image.gz").write_bytes(b"\x1f\x8bnonsense")
    of = source(tmp_path)
    assert keys(await read_all(of)) == ["req-1", "req-2"]
    assert [Path(name).name for name in of.left_alone] == ["haproxy.log", "image.gz", "labels.jsonl"]


async def test_a_pattern_names_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).write_bytes(line(ord(name[0])))
    assert keys(await read_all(source(tmp_path / "*.jsonl"))) == ["req-97", "req-98"]


async def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].jsonl"
    path.write_bytes(line(1))
    assert keys(await read_all(source(path))) == ["req-1"]


async def test_the_order_of_paths_and_naming_one_twice_make_no_difference(tmp_path: Path) -> None:
    for number, name in enumerate("ab"):
        (tmp_path / name).write_bytes(line(number))
    one = await read_all(source(tmp_path / "a", tmp_path / "b"))
    assert await read_all(source(tmp_path / "b", tmp_path / "a", tmp_path, tmp_path / "b")) == one


@pytest.mark.parametrize("name", ["absent.jsonl", "*.nothing", "log.txt"])
async def test_what_is_not_there_or_in_no_known_form_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.txt").write_bytes(b"a line of some log\n")
    with pytest.raises(SourceError, match=name.replace("*", r"\*")):
        await source(tmp_path / name).assigned()


async def test_a_damaged_gz_file_says_where_it_breaks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(line(n) for n in range(2000)))[:-2000])
    of = await opened(source(path))
    with pytest.raises(SourceError, match=r"damaged after line [1-9]"):
        await _drain(of)
    await of.close()


async def _drain(of: FileSource) -> None:
    while not (await of.read({})).ended:
        pass


@pytest.mark.parametrize("packed", [False, True])
async def test_an_over_long_line_is_one_rejected_record_and_the_next_is_read(tmp_path: Path, *, packed: bool) -> None:
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    content = line(1) + b'{"topic":"' + b"x" * (2 * MAX_BYTES) + b'"}\n' + line(2)
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    got = await read_all(source(path))
    assert keys(got) == ["req-1", "Rejected", "req-2"]
    assert [record.offset for record in got] == [0, 1, 2]
    huge = decode(got[1].value, None)
    assert isinstance(huge, Rejected)
    assert huge.reason is RejectReason.TOO_LARGE


async def test_a_gz_file_damaged_within_an_over_long_line_is_an_error_of_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(line(1) + os.urandom(3 * MAX_BYTES).replace(b"\n", b"") + b"\n", 0)[:-100])
    of = await opened(source(path))
    with pytest.raises(SourceError, match="damaged"):
        await _drain(of)
    await of.close()


async def test_reading_goes_on_at_the_line_that_the_store_names(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(line(n) for n in range(5)))
    got = await read_all(source(path), {f"file:{path}": 3})
    assert [(r.offset, key) for r, key in zip(got, keys(got), strict=True)] == [(3, "req-3"), (4, "req-4")]


async def test_a_file_shorter_than_what_was_read_of_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + line(2))
    of = source(path)
    await of.assigned()
    with pytest.raises(PositionError, match="read 3 lines of it, but it has 2"):
        await of.seek({f"file:{path}": 3})
    await of.close()


async def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(line(1) + line(2))))
    of = source("-")
    got = await read_all(of, {"file:-": 7})
    assert [(r.stream, r.offset) for r in got] == [("file:-", 0), ("file:-", 1)]


async def test_of_several_files_the_one_that_has_got_least_far_is_read_next(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"".join(line(n) for n in range(4)))
    of = await opened(source(tmp_path / "a", tmp_path / "b", lines=1))
    a, b = f"file:{tmp_path}/a", f"file:{tmp_path}/b"
    assert [r.stream for r in (await of.read({a: 5, b: 3})).records] == [b]
    assert [r.stream for r in (await of.read({a: 5, b: 6})).records] == [a]
    assert [r.stream for r in (await of.read({a: 5})).records] == [b]
    await of.close()


async def test_an_ended_file_is_told_as_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(line(1))
    (tmp_path / "b").write_bytes(line(2))
    of = await opened(source(tmp_path))
    assert (await of.read({})).at_end == {f"file:{tmp_path}/a"}
    last = await of.read({f"file:{tmp_path}/a": 1})
    assert last.at_end == {f"file:{tmp_path}/a", f"file:{tmp_path}/b"}
    assert (await of.read({})).ended
    await of.close()


async def test_an_empty_file_is_one_that_has_ended(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert await read_all(source(tmp_path / "a")) == []


# follow


async def following(path: Path) -> FileSource:
    of = await opened(source(path, follow=True))
    assert keys((await of.read({})).records) == ["req-1"]
    assert (await of.read({})).records == []
    return of


async def test_a_followed_file_gives_what_is_appended_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(line(1))
    of = await following(path)
    more = line(2)
    with path.open("ab") as file:
        file.write(more[:50])
        file.flush()
        batch: Batch = await of.read({})
        assert batch.records == []
        assert (batch.ended, batch.at_end) == (False, frozenset({f"file:{path}"}))
        file.write(more[50:])
    got = (await of.read({})).records
    assert ([r.offset for r in got], keys(got)) == ([1], ["req-2"])
    await of.close()


async def test_time_goes_on_while_a_followed_file_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(line(1))
    clock = StillClock()
    of = await opened(source(tmp_path / "a", follow=True, clock=clock))
    await of.read({})
    clock.time = 7.0
    assert (await of.read({})).elapsed == 7_000_000
    await of.close()


async def test_a_new_file_in_a_followed_directory_makes_the_streams_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(line(1))
    of = await following(tmp_path)
    (tmp_path / "b").write_bytes(line(2))
    with pytest.raises(Reassigned):
        await of.read({})
    assert await of.assigned() == [f"file:{tmp_path}/a", f"file:{tmp_path}/b"]
    await of.close()


async def test_a_followed_file_that_is_cut_is_an_error_and_no_silence(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(line(1))
    of = await following(path)
    path.write_bytes(line(2)[:100])
    with pytest.raises(PositionError, match="cut or replaced while it was followed"):
        await of.read({})
    await of.close()


async def test_a_followed_file_that_is_replaced_is_an_error_and_no_silence(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(line(1))
    of = await following(path)
    path.rename(tmp_path / "a.1")
    path.write_bytes(line(2) * 3)
    with pytest.raises(PositionError, match="cut or replaced while it was followed"):
        await of.read({})
    await of.close()


async def test_an_over_long_line_in_a_followed_file_is_one_record_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(line(1))
    of = await following(path)
    with path.open("ab") as file:
        file.write(b"x" * (MAX_BYTES + 100))
        file.flush()
        assert keys((await of.read({})).records) == ["Rejected"]
        assert (await of.read({})).records == []
        file.write(b"x" * 100 + b"\n" + line(2))
    got = (await of.read({})).records
    assert ([r.offset for r in got], keys(got)) == ([2], ["req-2"])
    await of.close()


def test_find_reads_no_more_than_the_first_lines(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"# a remark\n" + line(1) + b"\xff" * 1000)
    assert find([str(path)]) == ([str(path)], [])


def test_a_directory_leaves_alone_recorded_records_of_another_log(tmp_path: Path) -> None:
    line = json.dumps({"topic": "haproxy", "partition": 0, "offset": 1, "value": "Nov 23 haproxy[1]: GET /v1"})
    (tmp_path / "proxy.jsonl").write_text(line + "\n")
    assert find([str(tmp_path)]) == ([], [str(tmp_path / "proxy.jsonl")])


# ----------------------------------------------------------------------------------- dumps of several partitions


def stood(number: int, partition: int, second: int, form: str = "own") -> bytes:
    """A record of that number, written at that second into that partition."""
    of = json.loads(line(number, form=form))
    of |= {"partition": partition, "timestamp_ms" if form == "own" else "ts": START // 1000 + second * 1000}
    return json.dumps(of).encode() + b"\n"


@pytest.mark.parametrize("form", ["own", "kcat"])
async def test_partitions_dumped_one_after_another_are_streams_of_their_own(tmp_path: Path, form: str) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"".join(stood(n, n // 3, n % 3 * 60, form) for n in range(6)))
    of = source(path, lines=1)
    assert await of.assigned() == [f"file:{path}#0", f"file:{path}#1"]
    got = await read_all(of)
    assert sorted((r.stream[-1], r.offset) for r in got) == [("0", 0), ("0", 1), ("0", 2), ("1", 3), ("1", 4), ("1", 5)]
    assert [r.timestamp for r in got] == sorted(r.timestamp or 0 for r in got), "they come in the order of time"


async def test_partitions_that_keep_step_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"".join(stood(n, n % 2, n - n % 2) for n in range(6)))
    assert await source(path).assigned() == [f"file:{path}"]


async def test_one_partition_out_of_order_is_one_stream(tmp_path: Path) -> None:
    """That is how it stood in Kafka, and reading it apart would change nothing."""
    path = tmp_path / "dump.jsonl"
    path.write_bytes(stood(1, 0, 60) + stood(2, 0, 0) + stood(3, 0, 120))
    assert await source(path).assigned() == [f"file:{path}"]


async def test_lines_without_a_partition_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(stood(1, 0, 60) + envelope(cadf()) + b"\n" + stood(2, 1, 0) + b"not a record\n")
    got = await read_all(source(path))
    assert sorted(r.offset for r in got) == [0, 1, 2, 3]


async def test_reading_apart_goes_on_where_each_partition_stood(tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"".join(stood(n, n // 3, n % 3 * 60) for n in range(6)))
    got = await read_all(source(path), {f"file:{path}#0": 3, f"file:{path}#1": 5})
    assert [r.offset for r in got] == [5]


async def test_what_a_client_writes_into_a_log_is_no_partition(tmp_path: Path) -> None:
    """Else whoever can send requests has a log read as many times as he names partitions."""
    path = tmp_path / "uwsgi.log"
    head = "[pid: 7|app: 0|req: 1/1] 127.0.0.1 () {30 vars in 631 bytes} [Mon Nov 23 20:47:53 2026] "
    tail = " => generated 27 bytes in 25 msecs (HTTP/1.1 200) 6 headers in 225 bytes (1 switches on core 0)\n"
    urls = [f'/v1/secrets?"partition":{n},"ts":{9 if n % 2 else 99999},' for n in range(4)]
    path.write_text("".join(f"{head}GET {url}{tail}" for url in urls))
    assert await source(path).assigned() == [f"file:{path}"]


async def test_a_partition_that_comes_after_the_look_at_the_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"".join(stood(n, n // 3, n % 3 * 60) for n in range(6)))
    of = source(path)
    await of.assigned()
    with path.open("ab") as file:
        file.write(stood(6, 2, 0) + b"not a record\n" + stood(8, 1, 200))
    await of.seek({})
    got, progress = [], dict[str, Micros | None]()
    while not (batch := await of.read(progress)).ended:
        got += batch.records
    assert sorted(record.offset for record in got) == list(range(9))
    await of.close()


async def test_a_file_read_as_one_stream_is_read_on_apart_where_that_stood(tmp_path: Path) -> None:
    """It has grown by another partition since, or an earlier release read it."""
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"".join(stood(n, n // 3, n % 3 * 60) for n in range(6)))
    assert [record.offset for record in await read_all(source(path), {f"file:{path}": 3})] == [3, 4, 5]
