"""A log of the HSM that does not show everything: which detections it can still support."""

from __future__ import annotations

from typing import Final

from kmwatch.config.backend_log import Hsm
from kmwatch.config.problems import Level, Problem
from kmwatch.config.settings import Settings
from kmwatch.config.source import Document, Where

_CLOUDHSM: Final = "cloudhsm"
_WITHOUT: Final = {  # what a log may lack -> what then cannot speak
    "read": "payloads read: KMW-035 and KMW-040 stay silent, and no legacy read is settled by it",
    "unwrap": "keys loaded: KMW-036 sees logins only",
    "login": "logins: KMW-036 and KMW-038 see none",
    "extract": "keys read out: KMW-037 stays silent",
    "refused": "refusals: KMW-038 sees logins of security officers only",
    "change": "changes of keys, users or rights: KMW-039 stays silent",
}
_BUILT_IN: Final = {_CLOUDHSM: ("read",), "azure": ("login",)}


def shows_reads(settings: Settings) -> bool:
    """Whether the log of the backend has a record of each payload read, as far as the configuration tells."""
    hsm = settings.backend_log.hsm
    if hsm is None:
        return all(source.form != _CLOUDHSM for source in settings.sources)
    return "read" not in lacking(hsm)


def lacking(hsm: Hsm) -> tuple[str, ...]:
    """What such a log does not show, of what matters here."""
    operations = hsm.operations
    if operations is None:
        return _BUILT_IN.get(hsm.form or "", ())
    without = [name for name in ("read", "unwrap", "login", "extract", "change") if getattr(operations, name) is None]
    return (*without, *(("refused",) if hsm.refused is None else ()))


def lint_backend(settings: Settings, document: Document) -> list[Problem]:
    """Warn of what the log of the backend cannot show.

    Args:
        settings: the configuration, which is valid.
        document: for lines.
    """
    if settings.witnesses.backend == "absent":
        return []
    hsm = settings.backend_log.hsm
    found: list[tuple[Where, str, str]] = []
    if hsm is not None:
        where: Where = ("backend_log", "hsm")
        found = [(where, "backend_log.hsm", _WITHOUT[name]) for name in lacking(hsm)]
    for index, source in enumerate(settings.sources):
        if source.form == _CLOUDHSM and (hsm is None or hsm.form != _CLOUDHSM):
            found += [(("sources", index), f"sources[{index}]", _WITHOUT["read"])]
    return [
        Problem(document.file, document.line(where), shown, f"the log shows no {what}", Level.WARNING)
        for where, shown, what in found
    ]
