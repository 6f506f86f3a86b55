"""Any record -> what it says of a request: the form is told by the record itself, or named by the configuration.

Nothing is remembered between records, so that the same record means the same after a restart. Clients write into
most lines; the form is therefore told by how a record begins, where none of their words can stand, and the first
form that owns the beginning has the last word: a damaged line of one form is never tried as another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Final

from msgspec import Struct

from kmwatch.core.model import Micros
from kmwatch.core.record import Decoded, Ignored, Rejected, RejectReason, Slot
from kmwatch.wire import auditd, cadf, combined, haproxy, hsm, laurel, oslo_json, oslo_text, stock, uwsgi, vault
from kmwatch.wire.cadf import MAX_BYTES
from kmwatch.wire.envelope import DEPTH, Kind, peel
from kmwatch.wire.framing import peel as unframe
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.hsm import Mapping

_TextDecoder = Callable[[str, tzinfo, str | None], Decoded | None]  # line, zone, host; None: of another form
_JsonDecoder = Callable[[bytes, tzinfo, Micros | None], Decoded]  # value, zone, stamp of the transport
_BehindDecoder = Callable[[bytes, str | None], Decoded]  # of logs behind the API: value, host
_NOTIFICATION = b'{"oslo.'  # how oslo.messaging begins every message: the hot path
_JSON_FORMS: Final = {
    "cadf": Kind.CADF,
    "oslo_json": Kind.OSLO_JSON,
    "kolla": Kind.KOLLA,
    "laurel": Kind.LAUREL,
    "vault": Kind.VAULT,
    "pkcs11": Kind.PKCS11,
    "hsm": Kind.OTHER,
}

# What a program prints below a line of its log: tracebacks, and the rest of a message with line ends in it.
_continues = re.compile(
    r"[ \t]|Traceback \(most recent call last\):|During handling of the above exception, another |The above "
    r"exception was the direct cause |\[SQL: |\[parameters: |\(Background on this error at: "
    r"|\((?:[a-z0-9_]+\.)+[A-Za-z]+Error\) "
    r"|(?:FROM|WHERE|(?:LEFT OUTER |INNER )?JOIN|ORDER BY|LIMIT) "
    r"|[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt|Failure|NotFound|Denied)(?:: |\Z)",
    re.ASCII,
).match


class Options(Struct, frozen=True):
    """How the records of a source are read."""

    form: str | None = None  # one of FORMS; None: the record tells
    zone: tzinfo = UTC  # of stamps that name none
    captures: Captures = Captures()  # of HAProxy
    hsm: Mapping | None = None  # what the fields of an HSM's records mean, where no form of ours tells
    journal: bool = False  # an inventory's journal is read too: whoever wrote the file may say whose a secret is


def _as_access(line: str, zone: tzinfo, host: str | None) -> Decoded | None:
    return combined.decode(line, zone, Slot.ACCESS, host)


def _as_proxy(line: str, zone: tzinfo, host: str | None) -> Decoded | None:
    return combined.decode(line, zone, Slot.PROXY, host)


_TEXT_FORMS: Final[dict[str, _TextDecoder]] = {
    "uwsgi": uwsgi.decode,
    "haproxy": lambda line, zone, host: haproxy.decode(line, zone, host=host),
    "combined": _as_access,
    "combined_proxy": _as_proxy,
    "auditd": auditd.decode,
    "cloudhsm": hsm.cloudhsm,
}
_JSON_DECODERS: Final[dict[Kind, _JsonDecoder]] = {
    Kind.OSLO_JSON: oslo_json.decode,
    Kind.KOLLA: oslo_json.decode_parsed,
}
_BEHIND: Final[dict[Kind, _BehindDecoder]] = {
    Kind.LAUREL: laurel.decode,
    Kind.VAULT: vault.decode,
    Kind.PKCS11: lambda value, _: hsm.decode(value, hsm.PKCS11),
}
_SERVICE = "oslo_text"  # the service's own log; tried first, for it has the most lines
FORMS: Final = (*_JSON_FORMS, _SERVICE, *_TEXT_FORMS)
_DETECTED: Final = tuple(form for form in _TEXT_FORMS if form != "combined_proxy")  # in this order


class Reader:
    """Reads the records of one source. Holds options and nothing else."""

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008  (frozen)
        """Take the options; raises ValueError for a form that there is not."""
        form = options.form
        if form is not None and form not in FORMS:
            raise ValueError(f"no form {form!r}; there are {', '.join(FORMS)}")
        self._options, self._form, self._zone = options, form, options.zone
        decoders: dict[str, _TextDecoder] = {**_TEXT_FORMS, "haproxy": self._haproxy}
        self._decoders = [decoders[name] for name in (_DETECTED if form is None else (form,)) if name in decoders]
        self._notifications, self._service = form in (None, "cadf"), form in (None, _SERVICE)

    def decode(self, value: bytes, stamp: Micros | None) -> Decoded:
        """Read one record.

        Args:
            value: the record's bytes, of any content. A line end of text may be left at its end.
            stamp: when the broker or producer says it was written, if known; see `cadf.decode`.

        Returns:
            The record, or why there is none; what is in no known form is UNKNOWN_FORM, never guessed. Never raises.
        """
        if self._notifications and value[:7] == _NOTIFICATION:
            return cadf.decode(value, stamp)
        if len(value) > MAX_BYTES:
            return Rejected(RejectReason.TOO_LARGE, f"{len(value)} bytes; the limit is {MAX_BYTES}")
        if self._options.journal and value.startswith(stock.BEGINS):
            return stock.decode(value)
        return self._any(value, stamp, DEPTH, None)

    def _any(self, value: bytes, stamp: Micros | None, depth: int, host: str | None) -> Decoded:
        """One value at some depth of envelopes; `depth` more may follow. `host` is what those around it name."""
        if value[:1] != b"{" and not value.lstrip().startswith(b"{"):
            return self._line(value.decode("utf-8", "replace"), stamp, depth, host)
        kind, inner, named = peel(value)
        if kind is Kind.SHIPPED:
            if depth == 0:
                return Rejected(RejectReason.BAD_ENVELOPE, f"more than {DEPTH} envelopes in one another")
            if isinstance(inner, str):
                return self._line(inner, stamp, depth - 1, _nearer(named, host), inside=True)
            return self._any(inner, stamp, depth - 1, _nearer(named, host))
        if kind is Kind.BROKEN and self._form not in _JSON_FORMS:  # uWSGI with memory-report begins with a brace
            found = self._line(value.decode("utf-8", "replace"), stamp, 0, host)
            return Rejected(RejectReason.NOT_JSON, "begins as JSON, and is none") if _unknown(found) else found
        return self._json(kind, inner, value, stamp, host)

    def _json(self, kind: Kind, mended: bytes | str, value: bytes, stamp: Micros | None, host: str | None) -> Decoded:
        form = self._form
        if form == "cadf" or (form is None and kind is Kind.CADF):
            return cadf.decode(value, stamp)
        behind = _BEHIND.get(kind)
        if behind is not None and not isinstance(mended, str) and (form is None or _JSON_FORMS.get(form) is kind):
            return behind(mended, host)
        mapped = self._options.hsm
        if kind is Kind.OTHER and mapped is not None and form in (None, "hsm") and isinstance(mended, bytes):
            return hsm.decode(mended, mapped)
        decode = _JSON_DECODERS.get(kind)
        if decode is None or isinstance(mended, str) or (form is not None and _JSON_FORMS.get(form) is not kind):
            return Rejected(RejectReason.UNKNOWN_FORM, _unknown_to(form, "JSON"))
        return decode(mended, self._zone, stamp)

    def _line(self, whole: str, stamp: Micros | None, depth: int, host: str | None, *, inside: bool = False) -> Decoded:
        """One line of text, with or without framing. `inside` an envelope it may be JSON as it stands."""
        if not whole or whole.isspace():
            return Ignored.EMPTY
        if inside and whole.lstrip().startswith("{"):
            return self._any(whole.encode("utf-8", "replace"), stamp, depth, host)
        if whole[-1] in "\n\0":
            whole = whole.rstrip("\0").removesuffix("\n").removesuffix("\r")
        if self._service and whole[4:5] == "-" and whole[10:11] == " ":  # framed lines do not begin like this
            found = oslo_text.decode(whole, self._zone, stamp)
            if found is not None:
                return found
        return self._framed(whole, stamp, depth, host)

    def _framed(self, whole: str, stamp: Micros | None, depth: int, host: str | None) -> Decoded:
        """One line without its end, with or without framing."""
        _, named, message = unframe(whole)
        host = _nearer(named, host)
        line = message[1:] if message[:1] == " " else message  # how rsyslog hands on what follows a tag
        if not line:
            return Ignored.EMPTY
        if line[0] == "{" and depth > 0:
            return self._any(line.encode("utf-8", "replace"), stamp, depth - 1, host)
        if (told := self._told(line, stamp, host)) is not None:
            return told
        if uwsgi.is_noise(line):
            return Ignored.NOT_A_REQUEST
        if _continues(message):
            return Ignored.CONTINUATION
        return Rejected(RejectReason.UNKNOWN_FORM, _unknown_to(self._form, "text"))

    def _told(self, line: str, stamp: Micros | None, host: str | None) -> Decoded | None:
        """What the first form says that the line is of."""
        zone = self._zone
        if self._service and (found := oslo_text.decode(line, zone, stamp)) is not None:
            return found
        for decode in self._decoders:
            if (found := decode(line, zone, host)) is not None:
                return found
        return None

    def _haproxy(self, line: str, zone: tzinfo, host: str | None) -> Decoded | None:
        return haproxy.decode(line, zone, self._options.captures, host)


def _nearer(named: str | None, around: str | None) -> str | None:
    """Who wrote the line: the innermost envelope knows best, unless it only says that it was itself."""
    return around if named is None or (named == "localhost" and around) else named


def _unknown(found: Decoded) -> bool:
    return isinstance(found, Rejected) and found.reason is RejectReason.UNKNOWN_FORM


def _unknown_to(form: str | None, what: str) -> str:
    return f"{what} in no form that is known" if form is None else f"{what}, but not in the form {form!r}"
