"""The path of a request as the Key Manager sees it, whatever spelling the client chose.

Two layers of the real server take part. The web server (uWSGI, Apache mod_wsgi) drops the authority of an
absolute-form target, percent-decodes once, merges slashes and resolves dot segments. Pecan then strips a known
file extension from the last element and takes a trailing slash or `index` for the object itself. Audit events
show the path after the first layer, access and proxy logs before it; `server_path` is harmless to the former.
"""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import unquote

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_ESCAPE = re.compile(r"%(%|[^%]%|[^%]{0,2})", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{2}").fullmatch
_DIGITS = 2
# The table a bare Python ships, never this machine's /etc/mime.types: the same input must give the same output.
# Suffixes such as .tgz stand for two extensions; Pecan strips them as one.
_TYPES = mimetypes.MimeTypes(filenames=())
_EXTENSIONS = frozenset(_TYPES.types_map[True]) | frozenset(_TYPES.suffix_map)


def server_path(raw: str) -> str:
    """The path after the web server: no authority, no query, decoded once, slashes and dots resolved.

    A trailing slash stays (Pecan decides what it means). Bytes that are no UTF-8 become U+FFFD.
    """
    path = raw
    if "://" in path and (found := _AUTHORITY.match(path)):
        path = path[found.end() :] or "/"
    cut = path.find("?")
    if cut >= 0:
        path = path[:cut]
    if "%" in path:
        path = unquote(_as_read(path) if _BROKEN(path) else path, errors="replace")
    if "//" in path or "/." in path:
        path = _resolve(path)
    return path


def _as_read(path: str) -> str:
    """Escapes that are none, as uWSGI reads them (core/utils.c, http_url_decode).

    A `%` right after the beginning of an escape stands for itself, wrong digits make a zero byte, and one that is cut
    short at the end is dropped: `/payload%` and `/payload%7` are `/payload`. Apache and nginx refuse such paths.
    """
    return _ESCAPE.sub(lambda found: _read_escape(found[1]), path)


def _read_escape(digits: str) -> str:
    if digits.endswith("%"):
        return "%25"
    if len(digits) < _DIGITS:
        return ""
    return f"%{digits}" if _HEX(digits) else "%00"


def _resolve(path: str) -> str:
    out: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            del out[-1:]
        elif part not in ("", "."):
            out.append(part)
    slash = "/" if out and parts[-1] in ("", ".", "..") else ""
    return "/" + "/".join(out) + slash


def elements(path: str, *, served: bool) -> list[str]:
    """The elements Pecan routes by: extension, trailing slash and `index` removed.

    Args:
        path: as `server_path` gives it.
        served: the request succeeded. An extension that the server's own MIME table knew is then known to have
            been one, even if ours does not list it.

    Returns:
        The elements, without empty ones.
    """
    parts = [part for part in path.split("/") if part]
    if not parts:
        return parts
    last = parts[-1]
    dot = last.rfind(".")
    if dot > 0 and last[:dot].strip(".") and (served or last[dot:].lower() in _EXTENSIONS):
        parts[-1] = last[:dot]
    if parts[-1] == "index":
        parts.pop()
    return parts
