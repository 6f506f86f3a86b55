"""KMW-034: somebody changed how the Key Manager itself works: quotas, preferred secret stores, transport keys."""

from __future__ import annotations

from collections.abc import Iterable

from kmwatch.core.model import HOUR, Failure, Kind, Mode, Outcome, Severity
from kmwatch.core.rules.base import Case, Hit, Meta, Settings, Stateless, brief, person

META = Meta(
    "KMW-034",
    1,
    "key-administration",
    ("T1098",),
    Settings(1, 0, Severity.MEDIUM, Mode.ENFORCE, HOUR),
    counts=False,
    matched=True,
)
_WHAT = {
    "quota": "the quota of a project",
    "secret_store": "where new secrets are stored",
    "transport_key": "the keys that wrap secrets on their way",
}


class KeyAdministration(Stateless):
    """A declaration whose actions include administration names an administrator: told too, as information.

    A quota can lock a project out and opens nothing, so it is never more than low.
    """

    meta = META

    def __init__(self, settings: Settings) -> None:
        """Take the severity of the graver changes."""
        self._severity = settings.severity

    def applies(self, kind: Kind, outcome: Outcome, failure: Failure | None) -> bool:
        """Successful changes."""
        return kind is Kind.ADMINISTRATION and outcome is Outcome.SUCCESS and failure is None

    def observe(self, case: Case) -> Iterable[Hit]:
        """Hit, as gravely as the change is."""
        event, match = case.event, case.match
        declared = match is not None and match.explained is True
        most = Severity.INFORMATIONAL if declared else Severity.LOW if event.target.type == "quota" else self._severity
        verb = "removed" if event.method == "DELETE" else "changed"
        who = "a declared administrator" if declared else "no declared administrator"
        what = _WHAT.get(event.target.type, "a setting")
        message = f"{person(event)}, {who}, {verb} {what}: {brief(event.path)}"
        reason = "declared" if declared else event.target.type
        return (Hit(case.caller, (case.citation,), message, match, reason, min(most, self._severity)),)
