"""Lines of oslo.log as JSON: its JSONFormatter, its FluentFormatter, and what kolla-ansible's fluentd parses of text.

The three hold the same words as the text does under other names. JSON lines alone tell names and roles, and
`created`, which is Unix time where all other stamps lack a zone.
"""

from __future__ import annotations

from datetime import tzinfo

import msgspec
from msgspec import Struct

from kmwatch.core.model import SECOND, Micros
from kmwatch.core.record import Decoded
from kmwatch.wire import oslo_text, service
from kmwatch.wire.service import Context, bad_line, named
from kmwatch.wire.times import LATEST, naive

_SEVERAL = "several lines of a log in one record; have the shipper send each as a record"


class _Who(Struct, gc=False):
    """oslo.context's values for logs; what else there is depends on the release."""

    request_id: str | None = None
    global_request_id: str | None = None
    user: str | None = None
    project_id: str | None = None
    tenant: str | None = None  # before 2022
    user_name: str | None = None
    project_name: str | None = None
    roles: list[str] | None = None


class _Line(Struct, gc=False):
    name: str
    message: str
    levelname: str = ""
    level: str = ""  # FluentFormatter
    created: float | None = None
    asctime: str = ""
    time: str = ""  # FluentFormatter
    error_summary: str | None = None
    context: _Who | None = None


class _Parsed(Struct, gc=False):
    """The fields of ansible/roles/fluentd/templates/conf/input/00-global.conf.j2."""

    module: str = msgspec.field(name="python_module")
    payload: str = msgspec.field(default="", name="Payload")
    level: str = msgspec.field(default="", name="log_level")
    stamp: str | None = msgspec.field(default=None, name="Timestamp")
    request_id: str | None = None
    global_request_id: str | None = None
    user_id: str | None = None
    tenant_id: str | None = None


_line = msgspec.json.Decoder(_Line).decode
_parsed = msgspec.json.Decoder(_Parsed).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def decode(value: bytes, zone: tzinfo, stamp: Micros | None) -> Decoded:
    """Read one object of JSONFormatter or FluentFormatter.

    Args:
        value: a JSON object, mended where it had to be; see `envelope.peel`.
        zone: in which the service writes times, for FluentFormatter.
        stamp: of the transport, if known; see `service.read`.

    Returns:
        The record, or why there is none. Never raises.
    """
    try:
        line = _line(value)
    except _UNREADABLE as error:
        return bad_line(f"JSON of oslo.log, but {str(error)[:200]}")
    level = line.levelname or line.level
    if (why := service.sift(line.name, level)) is not None:
        return why
    message = line.message
    if line.error_summary:  # text has it there
        message = f"{message}: {line.error_summary}"
    who = line.context or _Who()
    return service.read(
        line.name,
        level,
        message,
        _unix(line.created) or _local(line.asctime or line.time, zone),
        Context(
            named(who.request_id),
            named(who.global_request_id),
            named(who.user),
            named(who.project_id) or named(who.tenant),
            named(who.user_name),
            named(who.project_name),
            tuple(who.roles or ()),
        ),
        stamp,
    )


def decode_parsed(value: bytes, zone: tzinfo, stamp: Micros | None) -> Decoded:
    """Read the fields that kolla-ansible's fluentd makes of a text line; arguments and result as for `decode`.

    Its expression eats the `req-` of both ids, leaves the context in the payload where it does not fit, and joins
    the lines of a traceback to the message. Where the expression of a release eats the time as well, the time of the
    transport is the next best.
    """
    try:
        line = _parsed(value)
    except _UNREADABLE as error:
        return bad_line(f"fields of a line of oslo.log, but {str(error)[:200]}")
    if (why := service.sift(line.module, line.level)) is not None:
        return why
    bracket, payload = oslo_text.split(line.payload)
    who: Context | None
    if line.request_id is not None:
        who = Context(
            _whole(line.request_id), _whole(line.global_request_id), named(line.user_id), named(line.tenant_id)
        )
    else:
        who = oslo_text.context("-" if bracket is None else bracket)
    if who is None:
        return bad_line("the context is in a format of its own")
    message = oslo_text.only_line(payload)
    if message is None:
        return bad_line(_SEVERAL)
    at = stamp if line.stamp is None else _local(line.stamp, zone)
    return service.read(line.module, line.level, message, at, who, stamp)


def _whole(request_id: str | None) -> str | None:
    known = named(request_id)
    return known if known is None or known.startswith("req-") else f"req-{known}"


def _unix(seconds: float | None) -> Micros | None:
    """A moment in microseconds, or None for what is no time; 1970 itself is none."""
    return int(seconds * SECOND) if seconds is not None and 0 < seconds < LATEST / SECOND else None


def _local(text: str, zone: tzinfo) -> Micros | None:
    try:
        return naive(text, zone)
    except ValueError:
        return None
