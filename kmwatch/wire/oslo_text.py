"""Lines of oslo.log as text, in its default formats (oslo_log/_options.py, formatters.ContextFormatter).

    2026-11-23 20:47:51.606 32595 INFO barbican.api.middleware.context [None req-a5f4c297-... <user> <project>
    - - default default] Processed request: 200 OK - GET http://127.0.0.1:19313/v1/containers

The brackets hold the request's global id, its id, and the identity: user, project, domain, system scope, and the
domains of both; releases before 2018 wrote no global id, those before 2023 no system scope. Below the line of an
exception each line of its traceback has the same head with the word ERROR, and no brackets. At DEBUG the function
follows the message, which does not matter: no line of that level is evidence.
"""

from __future__ import annotations

import re
from datetime import tzinfo
from functools import lru_cache

from kmwatch.core.model import Micros
from kmwatch.core.record import Decoded, Ignored
from kmwatch.wire import service
from kmwatch.wire.service import NOBODY, Context, bad_line, named
from kmwatch.wire.times import naive

_STAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}"
_HEAD = r"[0-9]{1,10} ([A-Z]{1,16}) ([^ \n]{1,200})"
_line = re.compile(rf"({_STAMP}) {_HEAD}(?: |\Z)(?:\[([^\]\[\n]*)\](?: |\Z))?").match
_begin = re.compile(rf"{_STAMP}(?: [0-9]{{1,10}}(?: |\Z)| ?\Z)").match
_context_begins = re.compile(r"\[(?:-|None |req-|\Z)").match
_bracketed = re.compile(r" ?\[([^\]\n]*)\] ?").match
_another = re.compile(rf"\n{_STAMP} {_HEAD} \[(?:-|(?:None|-|req-[^ \]]*) [^\]\n]*)\]").search
_IDENTITY = (5, 6)  # words of an identity, without and with the system scope


def decode(line: str, zone: tzinfo, stamp: Micros | None) -> Decoded | None:
    """Read one line.

    Args:
        line: without a line end; a shipper may have put the lines of a traceback below it.
        zone: in which the service writes times.
        stamp: of the transport, if known; see `service.read`.

    Returns:
        The record, why there is none, or None if it is no line of oslo.log. Never raises.
    """
    if line[4:5] != "-":
        return None
    found = _line(line)
    if found is None:
        return _misfit() if _begin(line) else None
    written, level, logger, bracket = found.groups()
    if bracket is None:
        cut = _context_begins(line, found.end())
        return Ignored.CONTINUATION if level == "ERROR" and not cut else _misfit()
    if (why := service.sift(logger, level)) is not None:
        return why
    who = context(bracket)
    if who is None:  # such as "[SQL: ...]" in a traceback
        return Ignored.CONTINUATION if level == "ERROR" and not _context_begins(f"[{bracket}") else _misfit()
    message = only_line(line[found.end() :])
    if message is None:
        return bad_line("several lines of a log in one record; have the shipper send each as a record")
    try:
        at: Micros | None = naive(written, zone)
    except ValueError:
        at = None
    return service.read(logger, level, message, at, who, stamp)


@lru_cache(maxsize=1024)
def context(bracket: str) -> Context | None:
    """What stands between the brackets.

    Args:
        bracket: its text.

    Returns:
        Whose request it is, or None if it was written in a format of the operator's own: then no word can be
        told from another.
    """
    if bracket == "-":
        return NOBODY
    words = bracket.split(" ")
    if len(words) > 1 and words[1].startswith("req-"):
        made = words.pop(0)
    elif words[0].startswith("req-"):
        made = ""
    else:
        return None
    if len(words) - 1 not in _IDENTITY:
        return None
    return Context(words[0], named(made), named(words[1]), named(words[2]))


def split(payload: str) -> tuple[str | None, str]:
    """Brackets that still stand before a message, without them None, and the message."""
    found = _bracketed(payload)
    return (None, payload.removeprefix(" ")) if found is None else (found[1], payload[found.end() :])


def only_line(message: str) -> str | None:
    """The message without the lines of a traceback below it, or None if one of those is another log line.

    The service writes no line end into a message of those that are evidence; whoever joins lines is a shipper.
    """
    if "\n" not in message:
        return message
    return None if _another(message) else message.partition("\n")[0]


def _misfit() -> Decoded:
    return bad_line("a line of oslo.log, cut, damaged, or in a format of its own")
