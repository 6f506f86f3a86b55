"""The records of all witnesses: the bundled recording again and again, each time later and with new request ids."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import AccessRecord, AuditRecord, ServiceRecord
from kmwatch.wire.decode import Reader
from kmwatch.wire.recorded import unwrap
from tests.bench.records import RECORDING

LOGS = ("cadf.jsonl.gz", "service.log.gz", "haproxy.log.gz", "uwsgi.log.gz")
_GAP = 5  # seconds between two copies
_REQUEST_ID = re.compile(rb"req-([0-9a-f]{8})(?=-[0-9a-f]{4}-)")
_STAMPS = {  # by log: how times are written
    "cadf.jsonl.gz": (rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?=\.\d{6})", "%Y-%m-%dT%H:%M:%S"),
    "service.log.gz": (rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?=\.\d{3} )", "%Y-%m-%d %H:%M:%S"),
    "haproxy.log.gz": (rb"(?<=\[)\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?=\.\d{3}\] )", "%d/%b/%Y:%H:%M:%S"),
    "uwsgi.log.gz": (rb"(?<=\[)[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}(?=\] )", "%c"),
}  # fmt: skip


def everything(count: int) -> Iterator[tuple[Micros, bytes]]:
    """Time and value of `count` records, in the order of their times. The same count gives the same records."""
    lines = _recorded()
    begun, ended = lines[0][0], lines[-1][0]
    span = (ended - begun) // SECOND + _GAP
    made = 0
    for copy in range(count // len(lines) + 1):
        later = partial(_later, by=timedelta(seconds=copy * span), copy=copy)
        for at, log, value in lines:
            if made == count:
                return
            made += 1
            yield at + copy * span * SECOND, later(log, value)


def _recorded() -> list[tuple[Micros, str, bytes]]:
    """Every line with a time: its own, or that of the line before it."""
    out: list[tuple[Micros, str, bytes]] = []
    decode = Reader().decode
    for log in LOGS:
        at = 0
        for line in gzip.decompress((RECORDING / log).read_bytes()).split(b"\n")[:-1]:
            value, stamp = unwrap(line)
            found = decode(value, stamp)
            if isinstance(found, AuditRecord | ServiceRecord | AccessRecord):
                at = found.observed_time
            if at:
                out.append((at, log, value))
    out.sort(key=lambda item: item[0])
    return out


def _later(log: str, value: bytes, *, by: timedelta, copy: int) -> bytes:
    pattern, form = _STAMPS[log]

    def moved(found: re.Match[bytes]) -> bytes:
        text = found[0].decode()
        at = datetime.strptime(text.replace(" ", "T", 1) if log == LOGS[0] else text, form).replace(tzinfo=UTC)
        return (at + by).strftime(form).encode()

    renamed: Callable[[re.Match[bytes]], bytes] = lambda found: b"req-%08x" % ((int(found[1], 16) + copy) & 0xFFFFFFFF)  # noqa: E731
    return _REQUEST_ID.sub(renamed, re.sub(pattern, moved, value)) if copy else value
