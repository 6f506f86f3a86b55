"""KMW-042: the master key file's mode, owner, name, links or content changed, or those of its folder.

A wider mode or another owner opens it to others; a second link is read under its own name; another content, or the
file taken away, stops the Key Manager at its next start. ATT&CK: T1222.002.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kmwatch.core.behind import Role
from kmwatch.core.host.files import Act, Touch
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import REFUSED, HostCase, NoRequests, hit

META = Meta(
    "KMW-042",
    1,
    "master-key-tampered",
    ("T1222.002",),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
)
_WHAT: Final = {
    Act.CONTENT: "opened it for writing",
    Act.ATTRIBUTES: "changed its mode, owner or attributes",
    Act.NAME: "made, renamed, linked or removed it",
}


class MasterKeyTampered(NoRequests):
    """Nobody may, the service itself included; a rotation is announced (`maintenance`)."""

    meta = META

    def on_host(self, case: HostCase) -> Iterable[Hit]:
        """Hit once on each event that changes a key file: a rename shows it under both names."""
        touch = next(filter(_changes, case.touches), None)
        if touch is None:
            return ()
        what = "folder of the master key file" if touch.role is Role.KEY_FOLDER else "master key file"
        did = "was refused to change it" if touch.refused else _WHAT[touch.act]
        message = f"touched the {what} {touch.path!a} by {case.event.syscall}: {did}"
        return (hit(case, touch, message, REFUSED if touch.refused else touch.act.value),)


def _changes(touch: Touch) -> bool:
    if touch.role is Role.KEY_FOLDER:
        return touch.act in (Act.ATTRIBUTES, Act.NAME)
    return touch.role is Role.KEY and touch.act is not Act.READ
