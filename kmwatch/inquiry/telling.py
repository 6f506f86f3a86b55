"""An explanation for a person: labelled lines that read from the question to the evidence."""

from __future__ import annotations

from collections.abc import Iterator

from kmwatch.core.declaration import Declarations
from kmwatch.core.model import Initiator
from kmwatch.inquiry.explanation import Explanation, Permitted, Said, Verdict
from kmwatch.wire.escape import visible

_WORD = 80
_LABEL = 11
_HOLDS = {True: "yes", False: "no", None: "unknown"}
_SOURCES = {
    "ledger": "from the ledger: what each witness said is not kept; a replay with --from shows it",
    "finding": "from the finding alone: its request is not in the ledger of retrievals",
    "record": "from the pasted record alone: other witnesses, and the requests before it, are not known",
}


def tell(one: Explanation, declarations: Declarations) -> str:
    """The lines, with a line end at the end. Text of an attacker is escaped."""
    lines = [_headline(one), *_lines(one, declarations)]
    return "\n".join(lines) + "\n"


def _headline(one: Explanation) -> str:
    status = "" if one.status is None else f" -> {one.status}"
    return f"{one.event_time[:10]} {one.event_time[11:23]}Z  {one.kind}  {visible(one.operation, 200)}{status}"


def _lines(one: Explanation, declarations: Declarations) -> Iterator[str]:
    yield _labelled("request", f"{_word(one.request_id or 'no id')} (event {_word(one.event_id)})")
    yield _labelled("caller", _caller(one.initiator, declarations))
    yield _labelled("secret", _secret(one, declarations))
    yield from _verdict(one.verdict)
    yield from _permitted(one.permitted)
    yield from _witnesses(one)
    for finding in one.findings:
        yield _labelled("finding", f"{finding.rule} {finding.title} ({finding.severity}) {_word(finding.uid)}")
    if one.source in _SOURCES:
        yield _labelled("note", _SOURCES[one.source])


def _caller(who: Initiator, declarations: Declarations) -> str:
    user = _named(who.user_id, who.user_name)
    project = _named(who.project_id, who.project_name or declarations.directory.project_name(who.project_id))
    parts = [f"{user}, project {project}"]
    if who.roles:
        parts.append(f"roles {_word(', '.join(who.roles))}")
    parts.append("no address" if who.address is None else f"from {_word(who.address)} (says: {who.address_source})")
    if who.agent:
        parts.append(f"agent {_word(who.agent)}")
    return "; ".join(parts)


def _secret(one: Explanation, declarations: Declarations) -> str:
    secret, directory = one.secret, declarations.directory
    if secret is None:
        return f"{_word(one.target)}, which the inventory does not know" if one.target else "none"
    owner = _named(secret.project_id, directory.project_name(secret.project_id))
    creator = _named(secret.creator_id, directory.user_name(secret.creator_id))
    gone = "; deleted" if secret.deleted else ""
    kind = _word(secret.type or "type unknown")
    return f'"{_word(secret.name or "")}" ({_word(secret.id)}), {kind}, of project {owner}, created by {creator}{gone}'


def _verdict(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None:
        yield _labelled("verdict", "none: nothing in the caller map speaks of such a request")
        return
    word = {True: "explained", False: "not explained", None: "cannot be decided"}[verdict.explained]
    by = "" if verdict.declaration is None else f", {'by' if verdict.explained else 'entry'} {verdict.declaration}"
    caller = "" if verdict.caller is None else f", caller {verdict.caller}"
    why = "" if verdict.explained else f": {verdict.reason}"
    yield _labelled("verdict", f"{word}{why}{by}{caller}")
    if verdict.note:
        yield _labelled("", f"({verdict.note})")
    near = verdict.nearest
    if near is not None:
        got = "nothing" if near.actual is None else _word(near.actual)
        yield _labelled(
            "nearest", f"{near.declaration} fails on {near.failed_field}: expected {_word(near.expected)}, got {got}"
        )


def _permitted(permitted: Permitted | None) -> Iterator[str]:
    if permitted is None:
        return
    told = {
        True: f"yes, by {' and '.join(permitted.by)}",
        False: "by no way that is known: inventory, ACL or roles have changed since, or the policy is another",
        None: f"only by {' or '.join(permitted.left)}, which what is known does not tell",
    }[permitted.permitted]
    yield _labelled("entitled", told)
    for ground in permitted.grounds:
        yield _labelled("", f"{ground.rule:<15} {_HOLDS[ground.holds]:<8} {visible(ground.why, 200)}")


def _witnesses(one: Explanation) -> Iterator[str]:
    flags = f"; flags: {', '.join(map(_word, one.flags))}" if one.flags else ""
    if one.evidence is not None:
        yield _labelled("evidence", f"{one.evidence}{flags}")
    for number, said in enumerate(one.witnesses):
        yield _labelled("" if number else "witnesses", _said(said, _known(one)))


def _known(one: Explanation) -> dict[str, str | None]:
    """What stands above already: a witness is quoted on it only where it says otherwise."""
    who = one.initiator
    return {
        "request_id": one.request_id, "user_id": who.user_id, "user_name": who.user_name,
        "project_id": who.project_id, "project_name": who.project_name, "roles": ", ".join(who.roles),
        "agent": who.agent, "address_source": "audit",
    }  # fmt: skip


def _said(said: Said, known: dict[str, str | None]) -> str:
    part = "" if said.part is None else f" {said.part}"
    time = "" if said.time is None else f" {said.time[11:26]}"
    told = {name: value for name, value in said.facts.items() if known.get(name) != value}
    same = "the same caller" if "user_id" in said.facts and not {"user_id", "project_id"} & told.keys() else ""
    facts = "  ".join([*(f"{name}={visible(value, 120)}" for name, value in told.items()), same])
    return f"{said.witness}{part}{time}  {facts}".rstrip()


def _named(ident: str | None, name: str | None) -> str:
    if ident is None:
        return "unknown" if name is None else _word(name)
    return _word(ident) if name is None else f"{_word(name)} ({_word(ident)})"


def _word(text: str) -> str:
    return visible(text, _WORD)


def _labelled(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}".rstrip()
