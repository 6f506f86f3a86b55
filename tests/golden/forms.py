"""What decoding says of each line of `data/forms`, written out for people to read and for tests to compare.

`python -m tests.golden.forms` writes `data/forms.tsv` anew. Read the difference before you commit it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kmwatch.core.record import Decoded, Ignored, Rejected, ServiceRecord
from kmwatch.wire.decode import Options, Reader
from kmwatch.wire.haproxy import Captures
from kmwatch.wire.recorded import unwrap

HERE = Path(__file__).parent / "data"
FORMS = HERE / "forms"
TOLD = HERE / "forms.tsv"
reader = Reader(Options(captures=Captures(("user-agent", "accept"), ("x-openstack-request-id",))))


def lines(name: str) -> list[bytes]:
    """The lines of a file, split at nothing but LF."""
    return (FORMS / name).read_bytes().split(b"\n")[:-1]


def decoded(name: str) -> list[Decoded]:
    """What the lines of a file say."""
    return [reader.decode(*unwrap(line + b"\n")) for line in lines(name)]


def services(name: str) -> list[ServiceRecord]:
    """The service log's evidence in a file."""
    return [one for one in decoded(name) if isinstance(one, ServiceRecord)]


def told(one: Decoded) -> str:
    """One line's meaning: its kind, and every field that says something."""
    if isinstance(one, Ignored):
        return f"ignored {one}"
    if isinstance(one, Rejected):
        return f"rejected {one.reason}: {one.detail}"
    fields = ((name, getattr(one, name)) for name in one.__struct_fields__)
    shown = {name: msgspec.to_builtins(value) for name, value in fields if value not in (None, "", (), False)}
    return f"{one.__struct_config__.tag} {msgspec.json.encode(shown).decode()}"


def table() -> str:
    """All of it: name of the file, number of the line, meaning."""
    names = sorted(path.name for path in FORMS.iterdir())
    rows = (f"{name}\t{n}\t{told(one)}\n" for name in names for n, one in enumerate(decoded(name), start=1))
    return "".join(rows)


if __name__ == "__main__":
    TOLD.write_text(table(), encoding="utf-8")
