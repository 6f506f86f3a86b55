"""An RFC 5424 parser from its ABNF (section 6), for tests only."""

from __future__ import annotations

import re
from typing import NamedTuple

_PRINT = rb"[!-~]"
_NAME = rb"[!#-<>-\\^-~]{1,32}"  # SD-NAME: PRINTUSASCII but "=", "]" and the quote
_VALUE = rb'(?:\\["\\\]]|[^"\\\]])*'
_MESSAGE = re.compile(
    rb"<(0|[1-9]\d{0,2})>1 "
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z) "
    rb"(" + _PRINT + rb"{1,255}) (" + _PRINT + rb"{1,48}) (" + _PRINT + rb"{1,128}) (" + _PRINT + rb"{1,32}) "
    rb"\[(" + _NAME + rb")((?: " + _NAME + rb'="' + _VALUE + rb'")*)\]'
    rb"(?: (.*))?",
    re.DOTALL,
)
_PARAM = re.compile(rb" (" + _NAME + rb')="(' + _VALUE + rb')"')


class SyslogMessage(NamedTuple):
    facility: int
    severity: int
    timestamp: str
    hostname: str
    app_name: str
    procid: str
    msgid: str
    sd_id: str
    params: dict[str, str]
    msg: bytes


def parse_syslog(message: bytes) -> SyslogMessage:
    """Take one message with one SD-ELEMENT apart. Raises ValueError where it departs from the grammar."""
    found = _MESSAGE.fullmatch(message)
    if found is None:
        raise ValueError(f"not RFC 5424: {message!r}")
    pri, timestamp, hostname, app_name, procid, msgid, sd_id, params, msg = found.groups()
    facility, severity = divmod(int(pri), 8)
    return SyslogMessage(
        facility,
        severity,
        timestamp.decode(),
        hostname.decode(),
        app_name.decode(),
        procid.decode(),
        msgid.decode(),
        sd_id.decode(),
        {
            name.decode(): re.sub(rb"\\(.)", rb"\1", value, flags=re.DOTALL).decode()
            for name, value in _PARAM.findall(params)
        },
        msg or b"",
    )
