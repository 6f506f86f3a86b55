"""Inventories in files: JSON lines, CSV, and what `openstack secret list -f json` (or `-f csv`) prints.

The form is told by the content, not by the file's name: a JSON array is the client's list, a first line that is no
JSON object is the head of a CSV table.
"""

from __future__ import annotations

import csv
import io
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from kmwatch.core.model import Secret
from kmwatch.inventory.rows import InventoryError, Row, Snapshot, secret_of

_LARGEST = 1 << 30
_MOST_PROBLEMS = 20
_LONGEST_CELL = 1 << 20
_HREF = re.compile(r".*/secrets/([^/]+)/?")
_LISTED = re.compile(r"[\s;,]+")
_CLIENT = {  # column of the OpenStack client -> key of a row
    "secret href": "id",
    "secret type": "secret_type",
    "created": "created_at",
}
_CELLS = frozenset(Row.__struct_fields__) - {"acl"}

_DECODER = msgspec.json.Decoder(Row)
_CLIENT_DECODER = msgspec.json.Decoder(list[dict[str, object]])

Numbered = Iterator[tuple[int, Secret | None, str]]  # line, secret, what is wrong with it


def read_file(path: Path) -> Snapshot:
    """Read an inventory file.

    A broken row is left out and becomes a problem; of more than twenty, the rest is one problem.

    Raises:
        InventoryError: the file as a whole cannot be read.
    """
    try:
        found = path.stat()
        if stat.S_ISCHR(found.st_mode):  # it may have no end
            raise InventoryError("is a device; name a file")
        if found.st_size > _LARGEST:
            raise InventoryError("is larger than 1 GiB; export live secrets only")
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InventoryError(f"cannot be read ({error.strerror}); check the path and its rights") from error
    return _collected(_rows(content))


def _rows(content: bytes) -> Numbered:
    head = content.lstrip()[:1]
    if head == b"[":
        return _client_list(content)
    if head == b"{" or not _is_table(content):
        return _json_lines(content)
    return _table(content)


def _is_table(content: bytes) -> bool:
    """Whether the first line names an id among comma-separated columns."""
    first = content.lstrip().split(b"\n", 1)[0][:_LONGEST_CELL].decode("utf-8", "replace").rstrip("\r")
    return "id" in {_column(cell.strip('"')) for cell in first.split(",")}


def _collected(rows: Numbered) -> Snapshot:
    secrets: dict[str, Secret] = {}
    broken: list[tuple[int, str]] = []
    for line, secret, message in rows:
        if secret is not None and secret.id in secrets:
            broken.append((line, f"{secret.id} is listed before; keep one line for each secret"))
        elif secret is not None:
            secrets[secret.id] = secret
        else:
            broken.append((line, message))
    problems = broken[:_MOST_PROBLEMS]
    if len(broken) > _MOST_PROBLEMS:
        more = f"{len(broken) - _MOST_PROBLEMS} more lines from here on are broken; export it again"
        problems.append((broken[_MOST_PROBLEMS][0], more))
    return Snapshot(tuple(secrets.values()), problems)


def _json_lines(content: bytes) -> Numbered:
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            yield number, *_decoded(line)


def _decoded(line: bytes) -> tuple[Secret | None, str]:
    """The secret of a line, or what is wrong with it."""
    try:
        return secret_of(_DECODER.decode(line)), ""
    except msgspec.ValidationError as error:
        return None, f"is no secret: {error}; correct or export it again"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, "is not valid JSON; correct or export it again"
    except ValueError as error:
        return None, str(error)


def _client_list(content: bytes) -> Numbered:
    """`openstack secret list -f json`: it tells neither creator nor project, so few selectors can use it."""
    try:
        rows = _CLIENT_DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        message = "is no list of secrets; write what `openstack secret list -f json` prints, or one JSON object a line"
        yield 1, None, message
        return
    for number, row in enumerate(rows, 1):
        cells = {key: value for key, value in row.items() if isinstance(value, str)}
        secret, message = _of_cells(cells)
        yield 1, secret, message and f"secret {number} of the list {message}"


def _table(content: bytes) -> Numbered:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield content.count(b"\n", 0, error.start) + 1, None, "is not UTF-8 text; export it as UTF-8"
        return
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 2
    try:
        for row in reader:
            if None in row or None in row.values():
                yield line, None, "has not as many cells as the head has columns; export it again"
            else:
                yield line, *_of_cells(row)
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, None, f"is not valid CSV ({error}); export it again"


def _column(title: str) -> str:
    found = title.strip().lower()
    return _CLIENT.get(found, found.replace(" ", "_"))


def _of_cells(cells: dict[str, str]) -> tuple[Secret | None, str]:
    """The secret of named texts: an empty one is an absent one, lists are parted by spaces, commas or semicolons."""
    found: dict[str, object] = {}
    for title, cell in cells.items():
        key = _column(title)
        if key not in _CELLS or cell in {"", "None", "NULL"}:
            continue
        if key in {"containers", "acl_users"}:
            found[key] = tuple(part for part in _LISTED.split(cell) if part)
        elif key in {"deleted", "project_access"}:
            found[key] = cell.strip().lower() in {"1", "t", "true", "yes"}
        else:
            found[key] = cell
    href = _HREF.fullmatch(str(found.get("id", "")))
    if href is not None:
        found["id"] = href[1]
    if "id" not in found:
        return None, "has no id; correct or export it again"
    try:
        return secret_of(msgspec.convert(found, Row)), ""
    except ValueError as error:
        return None, str(error)
