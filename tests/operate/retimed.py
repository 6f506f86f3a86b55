"""The bundled recording of all witnesses as if it happened now: for pictures of a daemon at work."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.operate.monitored import LOGS
from tests.support.daemon import RECORDING

_FORMS = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", "%Y-%m-%dT%H:%M:%S.%f", 0),  # audit events
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", "%Y-%m-%d %H:%M:%S.%f", 0),  # their envelope
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}(?!\d)", "%Y-%m-%d %H:%M:%S.%f", 3),  # service log
    (r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3}", "%d/%b/%Y:%H:%M:%S.%f", 3),  # proxy log
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "%a %b %d %H:%M:%S %Y", 0),  # access log
)
_TIMES = [(re.compile(pattern), form, cut) for pattern, form, cut in _FORMS]
_KAFKA = re.compile(r'"timestamp_ms": (\d+)')
_SYSLOG = re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d")
_QUIET = timedelta(minutes=5)  # what is further away than this, such as an expiry, is no time of a request


class Line(NamedTuple):
    """A line and when it is to be written."""

    at: datetime
    log: str
    text: bytes


def retimed(begin: datetime) -> list[Line]:
    """Every line of every log, by when it is due: the first at `begin`, the rest as far from it as they were."""
    raw = {name: _lines(name) for name in LOGS}
    start = next(at for text in raw["service.log"] for at in _times(text))
    near = [at for lines in raw.values() for text in lines for at in _times(text) if abs(at - start) < _QUIET]
    shift = begin - min(near)
    found = []
    for name, lines in raw.items():
        due = begin
        for text in lines:
            due = max((at + shift for at in _times(text) if abs(at - start) < _QUIET), default=due)
            found.append(Line(due, name, _shifted(text, start, shift).encode("utf-8", "surrogateescape")))
    return sorted(found, key=lambda line: line.at)


def _lines(name: str) -> list[str]:
    with gzip.open(RECORDING / f"{name}.gz", "rt", encoding="utf-8", errors="surrogateescape", newline="\n") as log:
        return log.readlines()


def _times(text: str) -> Iterator[datetime]:
    for pattern, form, _ in _TIMES:
        for found in pattern.findall(text):
            yield datetime.strptime(found, form).replace(tzinfo=UTC)


def _shifted(text: str, start: datetime, shift: timedelta) -> str:
    for pattern, form, cut in _TIMES:

        def again(found: re.Match[str], form: str = form, cut: int = cut) -> str:
            at = datetime.strptime(found[0], form).replace(tzinfo=UTC)
            if abs(at - start) >= _QUIET:
                return found[0]
            told = (at + shift).strftime(form)
            return told[:-cut] if cut else told

        text = pattern.sub(again, text)
    if written := _KAFKA.search(text):
        at = int(written[1]) + shift // timedelta(milliseconds=1)
        text = f"{text[: written.start(1)]}{at}{text[written.end(1) :]}"
    if stamp := _SYSLOG.match(text):
        told = datetime.strptime(f"{start.year} {stamp[0]}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC) + shift
        text = told.strftime("%b %e %H:%M:%S") + text[stamp.end() :]
    return text
