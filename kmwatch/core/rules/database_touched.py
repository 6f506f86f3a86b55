"""KMW-044: the Key Manager's database file was opened, or its configuration changed, by an undeclared process.

The database holds every secret wrapped; with the master key, or an HSM's session, that is all it takes. Configuration
decides which plugin, which policy, and whether there is an audit trail. ATT&CK: T1005, T1565.001.
"""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.behind import Role
from kmwatch.core.host.files import Act
from kmwatch.core.model import HOUR, Mode, Severity
from kmwatch.core.rules.base import Hit, Meta, Settings
from kmwatch.core.rules.hosted import HostCase, NoRequests, hit

META = Meta(
    "KMW-044",
    1,
    "database-touched",
    ("T1005", "T1565.001"),
    Settings(1, 0, Severity.HIGH, Mode.ENFORCE, HOUR),
    counts=False,
)


class DatabaseTouched(NoRequests):
    """The database counts by its declared name: a renamed copy of it is not followed."""

    meta = META

    def on_host(self, case: HostCase) -> Iterable[Hit]:
        """Hit once on each event, on the gravest file of it."""
        process, files = case.event.process, case.behind.host
        touched = [touch for touch in case.touches if touch.role is Role.DATABASE and not files.reads(process)]
        if touched:
            verb = "was refused" if touched[0].refused else "opened or changed"
            return (hit(case, touched[0], f"{verb} the database file {touched[0].path!a}", "database"),)
        touched = [touch for touch in case.touches if touch.role is Role.CONFIG and touch.act is not Act.READ]
        if touched and not files.edits(process):
            verb = "was refused to change" if touched[0].refused else "changed"
            message = f"{verb} the configuration file {touched[0].path!a}"
            return (hit(case, touched[0], message, "configuration", min(Severity.MEDIUM, META.defaults.severity)),)
        return ()
