"""Lines of the Key Manager's own log -> ServiceRecord, whatever form they were written in (barbican, all releases).

Few lines are evidence: those of barbican.api.middleware.context and of two controllers. Their context (request id,
user, project) is the service's word. Two kinds of lines carry the context of the request before, which may be an
innocent's: "Begin processing request" and all of keystonemiddleware.auth_token. They are never believed.

A client writes into these messages: the method, the URL's authority (its Host header, raw, with spaces and slashes)
and the URL's query. So a message is read from its start, by the service's own words, and the URL from the mount
point of the API; where the URL names that more than once, nobody can say which one is the service's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from kmwatch.core.model import Flag, Micros
from kmwatch.core.record import Decoded, Ignored, Note, Rejected, RejectReason, ServiceRecord, Slot
from kmwatch.wire import notifier

_CONTEXT = "barbican.api.middleware.context"
_SECRETS = "barbican.api.controllers.secrets"
_CONTROLLERS = "barbican.api.controllers"
_TELLING = frozenset({_CONTEXT, _SECRETS, _CONTROLLERS})
_STALE = "keystonemiddleware.auth_token"
_BEGIN = "Begin processing request"
_END = "Processed request: "
_PAYLOAD = "Retrieved secret payload"
_LEGACY = re.compile(r"Decrypted secret ([^ ]{1,64}) requested using deprecated API call\.(?:: |\Z)")
_LEGACY_HEAD = "Decrypted secret "
# The operation is one of Barbican's own (letters, spaces, brackets); a message that quotes a client says "issue seen"
# before the quotation. The policy follows where oslo.log appends the error's summary.
_DENIED = re.compile(
    r"[A-Za-z() ]{1,80} attempt not allowed - please review your user/project privileges"
    r"(?:: (?:oslo_policy\.policy\.)?PolicyNotAuthorized: ([A-Za-z0-9_:-]{1,64}) is disallowed by policy)?\Z"
)
_GLUED = re.compile(r"[0-9]{2}\.[0-9]{3} [0-9]{1,10} [A-Z]{1,16} [^ ]{1,200} \[")
_STATUS = {str(code): code for code in range(100, 600)}
_MOUNT = re.compile(r"/v1(?=[/?]|\Z)")  # urlmap's: exact, never encoded, ends the element
_OTHERS = frozenset(  # the first element of the loggers of OpenStack's other services
    [
        "aodh",
        "blazar",
        "ceilometer",
        "cinder",
        "cloudkitty",
        "cyborg",
        "designate",
        "glance",
        "gnocchi",
        "heat",
        "horizon",
        "ironic",
        "keystone",
        "magnum",
        "manila",
        "masakari",
        "mistral",
        "murano",
        "neutron",
        "nova",
        "octavia",
        "placement",
        "sahara",
        "senlin",
        "swift",
        "tacker",
        "trove",
        "vitrage",
        "watcher",
        "zaqar",
    ]
)


class Context(Struct, frozen=True, gc=False):
    """Whose request a line speaks of, as the service says; None where it does not."""

    request_id: str | None = None
    global_request_id: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    user_name: str | None = None
    project_name: str | None = None
    roles: tuple[str, ...] = ()


NOBODY: Final = Context()


@lru_cache(maxsize=1024)
def sift(logger: str, level: str) -> Ignored | None:
    """Say from logger and level alone what is no evidence, which are most lines of a DEBUG log.

    Args:
        logger: the name of the logger.
        level: of the line, in capitals.

    Returns:
        Why the line is no evidence, or None if its message decides.
    """
    if logger in _TELLING:
        return Ignored.NO_EVIDENCE if level == "DEBUG" else None
    if logger.startswith(_STALE):
        return Ignored.STALE_CONTEXT
    if notifier.carries(logger):
        return None
    return Ignored.OTHER_SERVICE if logger.partition(".")[0] in _OTHERS else Ignored.NO_EVIDENCE


def read(
    logger: str, level: str, message: str, at: Micros | None, who: Context, stamp: Micros | None = None
) -> Decoded:
    """Read a line that `sift` lets pass.

    Args:
        logger: the name of the logger.
        level: of the line, in capitals.
        message: what the service said, of any content.
        at: when, or None if the line's stamp is none.
        who: the line's context.
        stamp: when the line's transport got it, if known; only for audit events, see `cadf.decode`.

    Returns:
        The record, or why there is none. Never raises.
    """
    if logger == _CONTEXT:
        return _context(level, message, at, who)
    if logger == _SECRETS:
        return _secrets(level, message, at, who)
    if logger == _CONTROLLERS:
        if level != "ERROR" or (found := _DENIED.match(message)) is None:
            return Ignored.NO_EVIDENCE
        return _note(Note.DENIED, found[1], at, who)
    return notifier.read(logger, message, stamp)


def bad_line(detail: str) -> Rejected:
    """A line of a known form that is cut or damaged."""
    return Rejected(RejectReason.BAD_LINE, detail)


_BAD_TIME: Final = Rejected(RejectReason.BAD_TIME, "the line's stamp is no time")
_TWO_LINES: Final = bad_line("two lines in one, the first of them cut")


def named(value: str | None) -> str | None:
    """The value, or None for how Python and oslo.log write that there is none."""
    return None if value is None or value in ("", "-", "None") else value


def _context(level: str, message: str, at: Micros | None, who: Context) -> Decoded:
    if message.startswith(_BEGIN):  # what follows is a client's header, so nothing there means anything
        return Ignored.STALE_CONTEXT
    if level != "INFO":
        return Ignored.NO_EVIDENCE
    if message.startswith(_END):
        return _end(message, at, who)
    return _unknown(message, _END, _BEGIN)


def _end(message: str, at: Micros | None, who: Context) -> Decoded:
    start = len(_END)
    status = _STATUS.get(message[start : start + 3])
    dash = message.find(" - ", start + 3)  # the reason phrase is the service's, and has none
    method, _, url = message[dash + 3 :].partition(" ")
    host = url.find("://") + 3
    if status is None or dash < 0 or host < 3 or url.find("/", host) < 0:  # noqa: PLR2004  (not found)
        return bad_line("no status, method and whole URL after 'Processed request'")
    if who.request_id is None:
        return bad_line("'Processed request' without a request id")
    if at is None:
        return _BAD_TIME
    path = _path(url, host)
    sure = path is not None or url.startswith("http")  # else the line may be cut within the method
    return ServiceRecord(
        Slot.SERVICE_END,
        who.request_id,
        at,
        who.request_id,
        who.global_request_id,
        who.user_id,
        who.project_id,
        method if sure else None,
        path,
        status,
        None,  # note
        None,  # detail
        who.user_name,
        who.project_name,
        who.roles,
        () if path is not None else (Flag.PATH_AMBIGUOUS,),
    )


def _path(url: str, host: int) -> str | None:
    """What follows the authority, if only one reading is possible.

    Both what stands before the true path (the Host header) and what follows it (query, later elements) are the
    client's, so a second "/v1" anywhere makes either the true one. Every URL of the API has one; without it the
    line is cut, or of a deployment that we do not know. A cut line with the next one behind it is no better.
    """
    start = url.find("/v1", host)
    if url.find("/v1", start + 1) < 0 and url[start + 3 : start + 4] == "/" and "[" not in url:  # nearly every URL
        return url[start:] if start > 0 else None
    found = _MOUNT.search(url)
    if found is None or found.start() < host or _MOUNT.search(url, found.end()) is not None or _is_glued(url):
        return None
    return url[found.start() :]


def _secrets(level: str, message: str, at: Micros | None, who: Context) -> Decoded:
    if level == "INFO":
        if not message.startswith(_PAYLOAD):
            return _unknown(message, _PAYLOAD)
        return _TWO_LINES if _is_glued(message) else _note(Note.PAYLOAD, None, at, who)
    if level != "WARNING":
        return Ignored.NO_EVIDENCE
    if (found := _LEGACY.match(message)) is not None:
        return _note(Note.LEGACY, found[1], at, who)
    return bad_line("the message is cut") if message.startswith(_LEGACY_HEAD) else _unknown(message, _LEGACY_HEAD)


def _unknown(message: str, *known: str) -> Decoded:
    """A message that says nothing of note, unless it is the beginning of one that would."""
    if _is_glued(message):
        return _TWO_LINES
    return bad_line("the message is cut") if any(one.startswith(message) for one in known) else Ignored.NO_EVIDENCE


def _is_glued(message: str) -> bool:
    """Whether the head of another line stands in it, as after a log was cut, or a client's imitation of that."""
    return " [" in message and _GLUED.search(message) is not None


def _note(note: Note, detail: str | None, at: Micros | None, who: Context) -> Decoded:
    if who.request_id is None:
        return bad_line(f"a note of {note.value} without a request id")
    if at is None:
        return _BAD_TIME
    return ServiceRecord(
        Slot.SERVICE_NOTE,
        who.request_id,
        at,
        who.request_id,
        who.global_request_id,
        who.user_id,
        who.project_id,
        None,  # method
        None,  # path
        None,  # status
        note,
        detail,
        who.user_name,
        who.project_name,
        who.roles,
    )
