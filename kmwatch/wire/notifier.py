"""CADF audit events that travel inside lines of the service's log.

Two ways lead there. The `log` driver of oslo.messaging writes the notification as JSON (logger
oslo.messaging.notification.<event type>). With `use_oslo_messaging = False` keystonemiddleware writes Python's repr
of it itself (keystonemiddleware/audit/_notifier.py, logger keystonemiddleware.audit). What a client wrote stands
inside quoted strings of either, so both are read from their start by grammar and never searched.
"""

from __future__ import annotations

import ast
import re

from kmwatch.core.model import Micros
from kmwatch.core.record import Decoded, Ignored, Rejected, RejectReason
from kmwatch.wire import cadf

MAX_REPR = 256 * 1024  # characters; a server's limit on headers keeps real ones below 64 KiB
_DRIVER = "oslo.messaging.notification."
_AUDIT = "keystonemiddleware.audit"
# As repr writes: no operators, f-strings or bytes, only the escapes it uses; nothing for a compiler to stumble over.
_ESCAPE = r"\\(?:[\\'\"nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00[0-9a-f]{6})"
_STRING = rf"'(?:[^'\\\n]|{_ESCAPE})*+'|\"(?:[^\"\\\n]|{_ESCAPE})*+\""
_HEAD = re.compile(
    rf"Event type: ([A-Za-z0-9_.]{{1,100}}), Context: (?:\{{(?:[^'\"{{}}]|{_STRING})*+\}}|None), Payload: (?={{)"
)
_LITERAL = re.compile(rf"(?:[{{}}\[\](),: ]|{_STRING}|None|True|False|-?[0-9]{{1,20}}(?:\.[0-9]{{1,20}})?)*+")
_UNLIKE_JSON = re.compile(r"[\"\\(]|None|True|False")


def carries(logger: str) -> bool:
    """Whether lines of this logger may carry an audit event."""
    return logger.startswith(_DRIVER) or logger == _AUDIT


def read(logger: str, message: str, stamp: Micros | None) -> Decoded:
    """Read an audit event.

    Args:
        logger: one that `carries` says yes to.
        message: the line's message, of any content.
        stamp: when the transport got it, if known; see `cadf.decode`. The line's own time adds nothing to what the
            event says, and may be in any zone.

    Returns:
        The audit record, or why there is none. Never raises.
    """
    if logger == _AUDIT:
        return _repr(message, stamp)
    if not logger.startswith("audit.", len(_DRIVER)):
        return Ignored.NOT_AUDIT
    return cadf.decode_message(message, stamp)


def _repr(message: str, stamp: Micros | None) -> Decoded:
    if not message.startswith("Event type: "):
        return Ignored.NO_EVIDENCE
    if len(message) > MAX_REPR:
        return Rejected(RejectReason.TOO_LARGE, f"{len(message)} characters; the limit is {MAX_REPR}")
    head = _HEAD.match(message)
    if head is None:
        return Rejected(RejectReason.BAD_LINE, "an audit event's line is cut or damaged")
    payload = message[head.end() :]
    if _UNLIKE_JSON.search(payload) is None:  # then repr differs from JSON in its quotes alone
        same = payload.replace("'", '"')
        found = cadf.decode_message(f'{{"event_type":"{head[1]}","payload":{same}}}', stamp)
        if not isinstance(found, Rejected):
            return found
    if _LITERAL.fullmatch(payload) is None:
        return Rejected(RejectReason.BAD_LINE, "an audit event's payload is no literal, or cut")
    try:
        event = ast.literal_eval(payload)  # its own limit on open brackets is 200
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # TypeError: a dict as a dict's key
        return Rejected(RejectReason.BAD_LINE, "an audit event's payload is no literal")
    return cadf.decode_object({"event_type": head[1], "payload": event}, stamp)
