"""Finding -> OCSF 1.8.0 Detection Finding (class 2004): kmwatch's canonical form of an alert.

A heartbeat is an Application Lifecycle (class 6002) with activity 99, "Heartbeat".

Choices where the schema leaves room:
- `status_id` is New for create and update, since "In Progress" says that somebody is reviewing. A close is
  Other with the status "Closed": "Resolved" would claim a review and a remedy that never happened.
- `is_alert` (profile security_control) is true for an enforced create or update; a close and a shadow
  finding are no call to act.
- `unmapped.kmwatch` always has all its keys, so that scripts need no guards; elsewhere absent means unknown.
- The bytes are those of the values; a character that could harm a terminal or split a line stands as a JSON
  escape. A lone surrogate, which no JSON reader agrees on, is replaced by visible text.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec.structs import replace

from kmwatch.core.health import Health
from kmwatch.core.model import Activity, Citation, Finding, Mode, Secret
from kmwatch.wire import ocsf_model as m
from kmwatch.wire.attack import ATTACK_VERSION, TECHNIQUES
from kmwatch.wire.common import (
    ACTIVITY_WORDS,
    PRODUCT,
    SEVERITY_WORDS,
    VENDOR,
    VERSION,
    ip_version,
    iso,
    shown_operation,
    split_operation,
)
from kmwatch.wire.escape import encodable, json_line
from kmwatch.wire.health import health
from kmwatch.wire.shrink import LEVELS, Cut, map_text, shrink

_PROFILES = ("security_control",)
_PRODUCT = m.Product(name=PRODUCT, vendor_name=VENDOR, version=VERSION)
_HTTP_METHODS = frozenset(("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"))
_BEHIND = frozenset(("host", "backend"))  # kinds of citations that are no API requests
_MILLI = 1000  # microseconds
_encoder = msgspec.json.Encoder()


def to_ocsf(finding: Finding, max_bytes: int | None = None) -> bytes:
    """Return the finding as one JSON line without its newline; the same finding gives the same bytes.

    Args:
        finding: what to say.
        max_bytes: wish of a receiver with a size limit. Lists and texts are then cut, newest entries last to
            go, and `metadata.is_truncated` and `unmapped.kmwatch.truncated` say so. Where even the barest
            form is larger, that form is returned: the caller decides.

    Raises:
        OverflowError: a time lies outside the years 1 to 9999.
    """
    line = _encode(finding, None)
    if max_bytes is None or len(line) <= max_bytes:
        return line
    size_kb = -(-len(line) // 1024)
    for entries, text in LEVELS:
        small, cut = shrink(finding, entries, text)
        line = _encode(small, (cut, size_kb))
        if len(line) <= max_bytes:
            break
    return line


def _encode(finding: Finding, cut: tuple[Cut, int] | None) -> bytes:
    try:
        return json_line(_encoder.encode(_event(finding, cut)))
    except UnicodeEncodeError:  # a lone surrogate somewhere
        return json_line(_encoder.encode(_event(map_text(finding, encodable), cut)))


def _event(f: Finding, cut: tuple[Cut, int] | None) -> m.DetectionFinding | m.ApplicationLifecycle:
    return _lifecycle(f) if isinstance(f, Health) else _finding(f, cut)


def _lifecycle(f: Health) -> m.ApplicationLifecycle:
    """A heartbeat. It lists nothing that could be cut."""
    ready = f.report.ready
    return m.ApplicationLifecycle(
        activity_id=99,
        activity_name="Heartbeat",
        category_uid=6,
        category_name="Application Activity",
        class_uid=6002,
        class_name="Application Lifecycle",
        type_uid=600299,
        type_name="Application Lifecycle: Other",
        time=f.time // _MILLI,
        severity_id=f.severity,
        severity=SEVERITY_WORDS[f.severity],
        status_id=1 if ready else 2,
        status="Success" if ready else "Failure",
        message=f.message,
        metadata=m.Metadata(version=m.OCSF_VERSION, uid=f.line_uid, product=_PRODUCT, profiles=()),
        app=_PRODUCT,
        unmapped=m.UnmappedHealth(health(f.report)),
    )


def _finding(f: Finding, cut: tuple[Cut, int] | None) -> m.DetectionFinding:
    time = f.time // _MILLI
    closed = f.activity is Activity.CLOSE
    return m.DetectionFinding(
        activity_id=f.activity,
        activity_name=ACTIVITY_WORDS[f.activity],
        category_uid=2,
        category_name="Findings",
        class_uid=2004,
        class_name="Detection Finding",
        type_uid=200400 + f.activity,
        type_name=f"Detection Finding: {ACTIVITY_WORDS[f.activity]}",
        time=time,
        start_time=f.start_time // _MILLI,
        end_time=f.end_time // _MILLI,
        severity_id=f.severity,
        severity=SEVERITY_WORDS[f.severity],
        status_id=99 if closed else 1,
        status="Closed" if closed else "New",
        is_alert=f.mode is Mode.ENFORCE and not closed,
        message=f.message,
        count=max(f.counts.events, 1),  # a finding about the feed itself cites no request
        metadata=_metadata(f, cut),
        finding_info=m.FindingInfo(
            uid=f.uid,
            title=f.title,
            analytic=m.Analytic(uid=f.rule, name=f.title, type_id=1, type="Rule", version=str(f.rule_version)),
            attacks=_attacks(f.techniques),
            first_seen_time=f.start_time // _MILLI,
            last_seen_time=f.end_time // _MILLI,
            src_url=f.runbook,
        ),
        evidences=tuple([_evidence(citation) for citation in f.citations]),
        resources=tuple([_resource(secret) for secret in f.secrets]),
        observables=_observables(f),
        unmapped=m.Unmapped(kmwatch=_own(f, cut)),
    )


def _metadata(f: Finding, cut: tuple[Cut, int] | None) -> m.Metadata:
    metadata = m.Metadata(version=m.OCSF_VERSION, uid=f.line_uid, product=_PRODUCT, profiles=_PROFILES)
    return metadata if cut is None else replace(metadata, is_truncated=True, untruncated_size=cut[1])


@lru_cache(maxsize=256)
def _attacks(techniques: tuple[str, ...]) -> tuple[m.Attack, ...]:
    return tuple([_attack(technique) for technique in techniques])


def _attack(uid: str) -> m.Attack:
    """A technique that the table does not know is still named by its id."""
    parent, dot, _ = uid.partition(".")
    known = TECHNIQUES.get(uid)
    if known is None:
        own, above, tactic = m.Named(uid=uid), m.Named(uid=parent), None
    else:
        own = m.Named(uid=uid, name=known.name)
        above = m.Named(uid=parent, name=known.parent)
        tactic = m.Named(uid=known.tactic_id, name=known.tactic)
    return m.Attack(
        tactic=tactic,
        technique=above if dot else own,
        sub_technique=own if dot else None,
        version=ATTACK_VERSION if known is None else known.version,
    )


def _evidence(c: Citation) -> m.Evidence:
    method, path = split_operation(c.operation)
    is_ip = c.address is not None and ip_version(c.address) != 0
    return m.Evidence(
        uid=c.event_id,
        name=c.kind,
        api=m.Api(
            operation=shown_operation(c),
            request=None if c.request_id is None else m.Request(uid=c.request_id),
            response=None if c.status is None else m.Response(code=c.status),
        ),
        actor=_actor(c),
        src_endpoint=_endpoint(c.address, is_ip=is_ip),
        http_request=None
        if c.kind in _BEHIND
        else m.HttpRequest(
            http_method=method if method in _HTTP_METHODS else None,
            url=m.Url(path=path),
            user_agent=c.agent,
        ),
        resources=() if c.target_id is None else (m.Resource(uid=c.target_id, type=c.target_type),),
        data=m.EvidenceData(
            event_time=iso(c.event_time),
            address_source=c.address_source,
            address=c.address,
            flags=c.flags,
        ),
    )


def _actor(c: Citation) -> m.Actor | None:
    if c.user_id is None and c.user_name is None and c.project_id is None:
        return None
    return m.Actor(user=m.User(uid=c.user_id, name=c.user_name, account=_project(c.project_id)))


@lru_cache(maxsize=1024)
def _project(project_id: str | None) -> m.Account | None:
    return None if project_id is None else m.Account(uid=project_id, type_id=99, type="OpenStack Project")


def _endpoint(address: str | None, *, is_ip: bool) -> m.Endpoint | None:
    if address is None:
        return None
    return m.Endpoint(ip=address) if is_ip else m.Endpoint(name=address)


def _resource(secret: Secret) -> m.Resource:
    owner = None
    if secret.creator_id is not None or secret.project_id is not None:
        owner = m.User(uid=secret.creator_id, account=_project(secret.project_id))
    return m.Resource(
        uid=secret.id,
        name=secret.name,
        type="secret",
        owner=owner,
        role_id=1,
        role="Target",
        data=_secret_data(secret),
    )


def _secret_data(secret: Secret) -> m.SecretData | None:
    if secret.type is None and not secret.deleted and not secret.containers:
        return None
    return m.SecretData(secret_type=secret.type, deleted=secret.deleted, containers=secret.containers)


def _observables(f: Finding) -> tuple[m.Observable, ...]:
    """Each address, user and secret once, so that a SIEM can pivot without knowing the class."""
    seen: dict[tuple[str, str], m.Observable] = {}
    for c in f.citations:
        if c.address and ip_version(c.address):
            key = ("evidences[].src_endpoint.ip", c.address)
            seen.setdefault(key, m.Observable(name=key[0], type_id=2, type="IP Address", value=c.address))
        if c.user_id:
            key = ("evidences[].actor.user.uid", c.user_id)
            seen.setdefault(key, m.Observable(name=key[0], type_id=31, type="User Object: uid", value=c.user_id))
    for secret in f.secrets:
        key = ("resources[].uid", secret.id)
        seen.setdefault(key, m.Observable(name=key[0], type_id=10, type="Resource UID", value=secret.id))
    return tuple(seen.values())


def _own(f: Finding, cut: tuple[Cut, int] | None) -> m.Own:
    nearest = f.nearest
    return m.Own(
        mode=f.mode,
        reason=f.reason,
        declaration=f.declaration,
        nearest=None if nearest is None else nearest.declaration,
        failed_field=None if nearest is None else nearest.failed_field,
        expected=None if nearest is None else nearest.expected,
        actual=None if nearest is None else nearest.actual,
        caller=f.caller,
        counts=f.counts,
        event_ids=f.event_ids,
        flags=f.flags,
        event_time=iso(f.time),
        subject=f.subject,
        silence=f.silence,
        related=f.related,
        truncated=None if cut is None else cut[0],
    )
