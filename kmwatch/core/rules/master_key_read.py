"""KMW-041: the master key file was opened by somebody who is no declared reader, under whatever name.

Who holds the master key (`simple_crypto`'s kek, or the key files of the HSM's client) and the database needs no API.
A refused attempt counts: there is no honest one. What this cannot see: a read refused at the folder, `stat`, and what
the audit rules do not watch (docs/guides/host-audit.md). ATT&CK: T1552.004.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.behind import Role
from kmwatch.core.host.files import Act
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import REFUSED, HostCase, NoRequests, hit

META = Meta(
    "KMW-041",
    1,
    "master-key-read",
    ("T1552.004",),
    Settings(1, 0, Severity.CRITICAL, Mode.ENFORCE, HOUR),
    counts=False,
)


class MasterKeyRead(NoRequests):
    """Needs `host.key_files` and `host.readers`; a process that the log does not show is no declared reader."""

    meta = META

    def on_host(self, case: HostCase) -> Iterable[Hit]:
        """Hit on each opening of a key file for reading."""
        for touch in case.touches:
            if touch.role is not Role.KEY or touch.act is not Act.READ:
                continue
            if case.behind.host.reads(case.event.process):
                continue
            what = f"{'was refused' if touch.refused else 'opened'} the master key file {touch.path!a}"
            yield hit(case, touch, what, REFUSED if touch.refused else "undeclared_reader")
