r"""Syslog framing: RFC 3164, RFC 5424 (both with octet counting, RFC 6587), and the files rsyslog writes.

    <142>Nov 23 20:48:04 localhost haproxy[32587]: message
    Nov 23 20:48:04 localhost haproxy[32587]: message              RSYSLOG_TraditionalFileFormat
    2026-11-23T20:48:04.123456+00:00 localhost haproxy[1]: message  RSYSLOG_FileFormat
    <134>1 2026-11-23T20:48:04.123Z host haproxy 32587 - [a b="c"] message

The host's name may be missing, as HAProxy leaves it without `log-send-hostname`. The times are the shipper's, and
not used: what is framed has its own.
"""

from __future__ import annotations

import re

_TAG = r"(?:([^ ]*[^ :]) )?([^ :\[\]]{1,128})(?:\[[^\] ]{0,64}\])?: ?"
_legacy = re.compile(
    r"(?:[0-9]{1,10} (?=<))?(?:<[0-9]{1,3}>)?"
    r"(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})) " + _TAG
).match
_structured = re.compile(
    r"(?:[0-9]{1,10} (?=<))?<[0-9]{1,3}>[1-9][0-9]{0,2} [^ ]+ ([^ ]+) ([^ ]+) [^ ]+ [^ ]+ "
    r'(?:-|(?:\[[^ \]="]+(?: [^ \]="]+="[^"\\]*(?:\\.[^"\\]*)*")*\])+)(?: \ufeff?|\Z)',
    re.DOTALL,
).match


def peel(line: str) -> tuple[str | None, str | None, str]:
    """Take off one layer of framing.

    Args:
        line: without a line end.

    Returns:
        Program, host name, and the message. A line without framing is the message itself. Never raises.
    """
    found = _legacy(line)
    if found is not None:
        host, program = found.groups()
        return program, host, line[found.end() :]
    if "<" in line[:12] and (found := _structured(line)) is not None:
        host, program = (None if part == "-" else part for part in found.groups())
        return program, host, line[found.end() :]
    return None, None, line
