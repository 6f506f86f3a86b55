"""Finding -> Elastic Common Schema document, for Elasticsearch, OpenSearch and whatever reads them.

- `event.kind` is alert for an enforced create or update, event for a close or a shadow finding, metric for a heartbeat.
- `@timestamp` is the event time of what triggered the line, `event.id` the line's id, `kmwatch.finding_uid` the
  finding's.
- ECS fields tell of the request that triggered the line; `kmwatch.evidences` has every request the line adds.
- Like OCSF: the bytes are those of the values, a character that could harm a terminal or split a line is a JSON escape,
  and a lone surrogate is replaced by visible text.
"""

from __future__ import annotations

import msgspec

from kmwatch.core.health import Health
from kmwatch.core.model import Activity, Citation, Finding, Mode, Secret, Severity
from kmwatch.wire import ecs_model as m
from kmwatch.wire.attack import TECHNIQUES
from kmwatch.wire.common import PRODUCT, VENDOR, VERSION, ip_version, iso, leading, split_operation
from kmwatch.wire.escape import encodable, json_line
from kmwatch.wire.health import health
from kmwatch.wire.shrink import LEVELS, Cut, map_text, shrink

PREFIX = b'{"@timestamp":'
_ACTIVITIES = {Activity.CREATE: "create", Activity.UPDATE: "update", Activity.CLOSE: "close"}
# event.severity is the source's own number; Elastic's detection engine uses these.
_SEVERITIES = {
    Severity.INFORMATIONAL: 10,
    Severity.LOW: 21,
    Severity.MEDIUM: 47,
    Severity.HIGH: 73,
    Severity.CRITICAL: 99,
}
_OBSERVER = m.Observer(vendor=VENDOR, product=PRODUCT, version=VERSION, type="key-manager-monitor")
_encoder = msgspec.json.Encoder()


def to_ecs(finding: Finding, max_bytes: int | None = None) -> bytes:
    """Return the finding as one JSON line without its newline; the same finding gives the same bytes.

    Args:
        finding: what to say.
        max_bytes: wish of a receiver with a size limit; lists and texts are then cut, and `kmwatch.truncated` says so.
            Where even the barest form is larger, that form is returned: the caller decides.

    Raises:
        OverflowError: a time lies outside the years 1 to 9999.
    """
    line = _encode(finding, None)
    if max_bytes is None or len(line) <= max_bytes:
        return line
    for entries, text in LEVELS:
        line = _encode(*shrink(finding, entries, text))
        if len(line) <= max_bytes:
            break
    return line


def _encode(finding: Finding, cut: Cut | None) -> bytes:
    try:
        return json_line(_encoder.encode(_document(finding, cut)))
    except UnicodeEncodeError:  # a lone surrogate somewhere
        return json_line(_encoder.encode(_document(map_text(finding, encodable), cut)))


def _document(f: Finding, cut: Cut | None) -> m.Document:
    request = leading(f)
    return m.Document(
        timestamp=iso(f.time),
        ecs=m.Ecs(),
        message=f.message,
        event=_event(f, request),
        rule=m.Rule(id=f.rule, name=f.title, version=str(f.rule_version), ruleset=PRODUCT, reference=f.runbook),
        observer=_OBSERVER,
        kmwatch=_own(f, cut),
        threat=_threat(f.techniques),
        source=None if request is None else _source(request),
        user=None if request is None else _user(request),
        cloud=None if request is None or request.project_id is None else m.Cloud(m.Project(request.project_id)),
        http=None if request is None else _http(request),
        url=None if request is None else m.Url(split_operation(request.operation)[1]),
        user_agent=None if request is None or request.agent is None else m.UserAgent(request.agent),
        related=_related(f),
        tags=f.flags,
    )


def _event(f: Finding, request: Citation | None) -> m.Event:
    alert = f.mode is Mode.ENFORCE and f.activity is not Activity.CLOSE
    is_health = isinstance(f, Health)
    return m.Event(
        kind="metric" if is_health else "alert" if alert else "event",
        category=("process",) if is_health else ("intrusion_detection",),
        type=("info",),
        id=f.line_uid,
        code=f.rule,
        action=f.title,
        severity=_SEVERITIES[f.severity],
        module=PRODUCT,
        dataset=f"{PRODUCT}.{'health' if is_health else 'findings'}",
        provider=PRODUCT,
        start=iso(f.start_time),
        end=iso(f.end_time),
        outcome=_outcome(request),
        reason=f.reason,
    )


def _outcome(request: Citation | None) -> str | None:
    if request is None:
        return None
    if request.status is None:
        return "unknown"
    return "success" if request.status < 400 else "failure"  # noqa: PLR2004 - RFC 9110 section 15


def _source(request: Citation) -> m.Source | None:
    address = request.address
    return None if address is None else m.Source(address=address, ip=address if ip_version(address) else None)


def _user(request: Citation) -> m.User | None:
    if request.user_id is None and request.user_name is None:
        return None
    return m.User(id=request.user_id, name=request.user_name)


def _http(request: Citation) -> m.Http:
    method = split_operation(request.operation)[0]
    return m.Http(
        request=None if request.request_id is None and method is None else m.Request(request.request_id, method),
        response=None if request.status is None else m.Response(request.status),
    )


def _related(f: Finding) -> m.Related | None:
    addresses = tuple(dict.fromkeys([c.address for c in f.citations if c.address and ip_version(c.address)]))
    users = dict.fromkeys(user for c in f.citations for user in (c.user_id, c.user_name) if user)
    if not addresses and not users:
        return None
    return m.Related(addresses, tuple(users))


def _threat(techniques: tuple[str, ...]) -> m.Threat | None:
    if not techniques:
        return None
    known = [TECHNIQUES[uid] for uid in techniques if uid in TECHNIQUES]
    tactics = {technique.tactic_id: technique.tactic for technique in known}
    return m.Threat(
        framework="MITRE ATT&CK",
        technique=m.Named(techniques, tuple([technique.name for technique in known])),
        tactic=m.Named(tuple(tactics), tuple(tactics.values())) if tactics else None,
    )


def _own(f: Finding, cut: Cut | None) -> m.Own:
    near = f.nearest
    return m.Own(
        finding_uid=f.uid,
        activity=_ACTIVITIES[f.activity],
        severity=f.severity.name.lower(),
        mode=f.mode,
        counts=f.counts,
        event_time=iso(f.time),
        declaration=f.declaration,
        nearest=None if near is None else near.declaration,
        failed_field=None if near is None else near.failed_field,
        expected=None if near is None else near.expected,
        actual=None if near is None else near.actual,
        caller=f.caller,
        subject=f.subject,
        event_ids=f.event_ids,
        evidences=tuple([_evidence(c) for c in f.citations]),
        secrets=tuple([_secret(s) for s in f.secrets]),
        flags=f.flags,
        truncated=cut,
        health=health(f.report) if isinstance(f, Health) else None,
    )


def _secret(s: Secret) -> m.Secret:
    return m.Secret(s.id, s.name, s.type, s.project_id, s.creator_id, s.deleted, s.containers)


def _evidence(c: Citation) -> m.Evidence:
    return m.Evidence(
        event_id=c.event_id,
        event_time=iso(c.event_time),
        kind=c.kind,
        operation=c.operation,
        target_type=c.target_type,
        address_source=c.address_source,
        target_id=c.target_id,
        status=c.status,
        request_id=c.request_id,
        user_id=c.user_id,
        user_name=c.user_name,
        project_id=c.project_id,
        address=c.address,
        agent=c.agent,
        flags=c.flags,
    )
