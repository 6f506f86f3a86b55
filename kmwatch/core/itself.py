"""What kmwatch says of itself in the form of a finding, which every sink can carry: no request, caller or secret."""

from __future__ import annotations

from kmwatch.core.model import Activity, Counts, Finding, Micros, Mode, Severity


def about_itself(  # noqa: PLR0913  (independent, by keyword)
    *, uid: str, line_uid: str, rule: str, title: str, time: Micros, message: str, reason: str, subject: str
) -> Finding:
    """A line about nothing but kmwatch itself.

    Args:
        uid: stable for what it is about.
        line_uid: of this line alone.
        rule: none of the catalogue's.
        title: in a word.
        time: when it is said.
        message: one sentence for a person.
        reason: why it is said.
        subject: who says it, or what it is about.
    """
    return Finding(
        uid=uid,
        line_uid=line_uid,
        activity=Activity.CREATE,
        rule=rule,
        rule_version=1,
        title=title,
        severity=Severity.INFORMATIONAL,
        mode=Mode.ENFORCE,
        time=time,
        start_time=time,
        end_time=time,
        message=message,
        reason=reason,
        declaration=None,
        nearest=None,
        caller=None,
        counts=Counts(0, 0, 0),
        citations=(),
        event_ids=(),
        secrets=(),
        techniques=(),
        subject=subject,
    )
